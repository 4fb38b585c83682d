"""Data in pieces, and what each of several processes reads of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmmcli.data.source import Source
from gmmcli.data.source_blocks import Missing, SourceBlocks
from gmmcli.errors import InputError
from gmmcli.passes.block import Block, Share
from tests.data.conftest import stdin

pytestmark = pytest.mark.usefixtures("budget")
ROWS = [11, 0, 5, 23]  # of the record batches or row groups of a file
PARTS = [1, 2, 3, 7, 100]


def rows_of(count: int) -> pa.Table:
    x = np.random.default_rng(count).normal(size=(2, count))
    x[1, ::7] = np.nan
    return pa.table({"a": x[0], "b": x[1], "t": pa.array([f"t{i}" for i in range(count)], pa.string())})


def write(path: Path) -> str:
    """A file of some pieces, in the format of its suffix."""
    tables = [rows_of(count) for count in ROWS]
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
    elif path.suffix in (".arrow", ".arrows"):
        with (pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream)(path, tables[0].schema) as writer:
            for table in tables:
                arrays = [column.combine_chunks() for column in table.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
    else:
        lines = [f"{row['a']!r},{row['b']!r},{row['t']}\n" for table in tables for row in table.to_pylist()]
        path.write_text("a,b,t\n" + "".join(lines))
    return str(path)


def same(one: Sequence[Block], other: Sequence[Block]) -> bool:
    return [(b.index, b.first_row, b.x.tolist(), b.weights) for b in one] == [
        (b.index, b.first_row, b.x.tolist(), b.weights) for b in other
    ]


def in_parts(source: Source, parts: int, columns: Sequence[str], missing: Missing = "error") -> list[SourceBlocks]:
    return [source.blocks(columns, missing=missing, share=Share(part, parts)) for part in range(parts)]


@pytest.fixture
def files(tmp_path: Path) -> Callable[[Sequence[str]], Source]:
    def made(suffixes: Sequence[str]) -> Source:
        paths = [write(tmp_path / f"{place}{suffix}") for place, suffix in enumerate(suffixes)]
        return Source(paths, block_rows=4)

    return made


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(
    "suffixes", [[".parquet"], [".arrow"], [".arrows"], [".csv"], [".parquet", ".csv", ".arrow", ".parquet"]]
)
def test_the_shares_of_all_parts_are_the_data(files, suffixes: list[str], parts: int) -> None:
    source = files(suffixes)
    whole = source.blocks(["b", "a"], missing="drop")
    expected = list(whole)
    shares = in_parts(source, parts, ["b", "a"], "drop")
    assert same([block for share in shares for block in share], expected)
    assert [share.rows for share in shares] == [whole.rows] * parts == [39 * len(suffixes)] * parts
    for share in shares:
        assert share.rows_read == share.share_rows
    for name in ("share_rows", "rows_read", "rows_dropped", "bytes_per_reading"):
        assert sum(getattr(share, name) for share in shares) == getattr(whole, name)


def test_shares_are_balanced_by_bytes(files) -> None:
    shares = in_parts(files([".parquet", ".parquet"]), 2, ["a"])
    assert [share.share_rows for share in shares] == [39, 39]
    assert in_parts(files([".arrow"]), 2, ["a"])[0].share_rows == 20


def test_bytes_are_those_of_the_columns_that_are_read(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=20_000)
    table = pa.table({"a": x, "a.b": x, "l": [[1, 2]] * len(x), "w": x})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10_000, use_dictionary=False)
    source = Source([str(tmp_path / "x.parquet")])
    one, two = (source.blocks(names).bytes_per_reading for names in (["a"], ["a", "a.b"]))
    assert 8 * len(x) <= one < 8.1 * len(x)
    assert two == pytest.approx(2 * one, rel=0.01)
    assert source.blocks(["a"], weights="w", share=Share(0, 2)).bytes_per_reading == pytest.approx(one, rel=0.01)


def test_a_part_without_pieces_is_no_error(files) -> None:
    shares = in_parts(files([".parquet"]), 9, ["a"])
    empty = [share for share in shares if not share.share_rows]
    assert len(empty) >= 6
    for share in empty:
        assert list(share) == []
        assert (share.rows_read, share.rows_dropped) == (0, 0)


def test_what_only_all_parts_together_can_tell_is_no_error_of_one() -> None:
    source = stdin(b"w,a\n" + b"0,2\n" * 4 + b"1,\n" * 4)
    first, second = (source.blocks(["a"], "w", "drop", Share(part, 2)) for part in range(2))
    (block,) = first
    assert block.weights is not None
    assert block.weights.tolist() == [0, 0, 0, 0]
    assert list(second) == []
    assert second.rows_dropped == 4
    with pytest.raises(InputError, match="all weights in w are 0"):
        list(source.blocks(["a"], "w", "drop"))


def test_bad_cells_are_counted_over_the_whole_data_by_a_part() -> None:
    source = stdin(b"a,b\n" + b"1,2\n,3\n" * 10)
    with pytest.raises(InputError, match=r"^stdin: 10 missing cells in a: "):
        list(source.blocks(["a", "b"], share=Share(1, 3)))


def test_a_part_reads_no_row_group_of_another(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"a": np.random.default_rng(0).normal(size=2000)})
    pq.write_table(table, path, row_group_size=1000, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56  # of the first row group
    path.write_bytes(content)
    first, second = in_parts(Source([str(path)]), 2, ["a"])
    (block,) = second
    assert (block.index, block.first_row) == (1, 1000)
    np.testing.assert_array_equal(block.x[:, 0].numpy(), table.column("a").to_numpy()[1000:])
    with pytest.raises(InputError, match=r"x\.parquet: cannot be read"):
        list(first)


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(1, 8))
def test_every_piece_is_in_one_part_and_no_part_is_too_large(sizes: list[int], parts: int) -> None:
    shares = [Share(part, parts).among(sizes) for part in range(parts)]
    assert [place for share in shares for place in share] == list(range(len(sizes)))
    if sum(sizes):
        for share in shares:
            assert sum(sizes[share.start : share.stop]) <= sum(sizes) / parts + max(sizes)


@pytest.mark.parametrize("count", range(20))
def test_pieces_of_one_size_are_dealt_evenly(count: int) -> None:
    for sizes in ([5] * count, [0] * count):
        dealt = [len(Share(part, 6).among(sizes)) for part in range(6)]
        assert max(dealt) == -(-count // 6)


def test_a_share_is_one_of_its_parts() -> None:
    for part, parts in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"part {part} of {parts} parts"):
            Share(part, parts)


# ---- the rows of record batches


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("suffix", ["arrow", "arrows"])
def test_rows_of_batches_are_counted(suffix: str, compression: str | None, tmp_path: Path) -> None:
    tables = [rows_of(count) for count in ROWS]
    kind = pa.ipc.new_file if suffix == "arrow" else pa.ipc.new_stream
    path = tmp_path / f"x.{suffix}"
    schema = tables[0].schema.with_metadata({"k": "v" * 100})
    with kind(path, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for table in tables:
            for batch in table.to_batches():
                writer.write_batch(batch, {"of a batch": "x"})
        writer.write_table(rows_of(70_000).cast(schema), max_chunksize=1000)
    assert Source([str(path)]).blocks(["a"]).rows == 70_039
    content = path.read_bytes()
    for cut in (len(content) - 100, 300, 12, 9, 8):
        path.write_bytes(content[:cut])
        try:
            rows = Source([str(path)]).blocks(["a"]).rows
        except InputError as error:
            rows = 0 if re.fullmatch(rf".*x\.{suffix}: .*", str(error)) else -1
        assert 0 <= rows < 70_039


def test_a_damaged_header_is_one_line(tmp_path: Path) -> None:
    content = bytearray(Path(write(tmp_path / "x.arrow")).read_bytes())
    content[-400:-300] = b"\xff" * 100
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.arrow: cannot be read as arrow: [^\n]*$"):
        list(Source([str(tmp_path / "x.arrow")]).blocks(["a"], missing="drop"))


def test_large_batches_are_cut_and_small_ones_joined(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(1000.0)})
    for suffix, kind in ((".arrow", pa.ipc.new_file), (".arrows", pa.ipc.new_stream)):
        path = str(tmp_path / f"x{suffix}")
        with kind(path, table.schema) as writer:
            writer.write_table(table.slice(0, 700), max_chunksize=9)
            writer.write_table(table.slice(700))
        source = Source([path], block_rows=64)
        blocks = [block for share in in_parts(source, 5, ["a"]) for block in share]
        assert [block.first_row for block in blocks] == list(range(0, 1000, 64))
        assert torch.cat([block.x for block in blocks]).flatten().tolist() == list(range(1000))
