"""Folders called `key=value`: their files, and the columns that they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gmmcli.data.columns import ColumnKind
from gmmcli.data.inputs import header
from gmmcli.data.source import Source
from gmmcli.errors import InputError
from gmmcli.passes.block import Share
from tests.data.conftest import cells, kinds, passed

pytestmark = pytest.mark.usefixtures("budget")


def made(folder: Path, files: Mapping[str, Sequence[float]], suffix: str = ".parquet") -> str:
    """Files of a column x, and one of text."""
    for name, values in files.items():
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"x": values, "t": [f"t{value:g}" for value in values]})
        if suffix == ".parquet":
            pq.write_table(table, path)
        else:
            path.write_text("x,t\n" + "".join(f"{row['x']},{row['t']}\n" for row in table.to_pylist()))
    return str(folder)


LAYOUT = {"year=2024/month=05/a": [1.0, 2.0], "year=2023/month=10/a": [4.0], "year=2024/month=05/b": [3.0]}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_folders_are_columns(tmp_path: Path, suffix: str) -> None:
    folder = made(tmp_path, LAYOUT, suffix)
    source = Source([folder])
    assert source.names == ("x", "t", "year", "month")
    assert kinds(source)["year"] is kinds(source)["month"] is ColumnKind.NUMBER
    assert source.select().used == ("x", "year", "month")
    rows = [[4, 2023, 10], [1, 2024, 5], [2, 2024, 5], [3, 2024, 5]]
    assert cells(source, ["x", "year", "month"]) == rows
    assert cells(source, ["month", "x"]) == [[m, x] for x, _, m in rows]
    assert cells(source, ["year"]) == [[y] for _, y, _ in rows]  # no column of the files
    assert header(folder) == source.names
    for typed in (True, False):
        table = passed(source, ["year", "x"], typed)
        assert table.column_names == list(source.names)
        assert table.schema.field("year").type == pa.int64()
        assert table.column("month").to_pylist() == [10, 5, 5, 5]
        assert table.column("t").to_pylist() == ["t4", "t1", "t2", "t3"]
    assert [rows.x.tolist() for rows in source.tables(["year", "x"])] == [
        [[2023, 4]],
        [[2024, 1], [2024, 2]],
        [[2024, 3]],
    ]


def test_values_that_are_no_whole_numbers_are_text(tmp_path: Path) -> None:
    source = Source([made(tmp_path, {"k=1/p=0.5/n=7/a": [1], "k=x/p=1.5/n=__HIVE_DEFAULT_PARTITION__/a": [2]})])
    assert kinds(source)["k"] is kinds(source)["p"] is ColumnKind.TEXT
    assert kinds(source)["n"] is ColumnKind.NUMBER
    assert source.select(columns="x,p").used == ("x", "p")  # each is a number, which it is used as if it is named
    assert cells(source, ["p", "x"]) == [[0.5, 1], [1.5, 2]]
    assert passed(source).column("p").to_pylist() == ["0.5", "1.5"]
    assert passed(source).column("n").to_pylist() == [7, None]
    assert cells(source, ["n"], missing="drop") == [[7]]
    for call in (lambda: source.select(columns="k"), lambda: cells(source, ["k"]), lambda: passed(source, ["k"])):
        with pytest.raises(InputError, match="column k is not numeric: text"):
            call()


def test_text_of_csv_beside_folders_that_are_no_numbers(tmp_path: Path) -> None:
    source = Source([made(tmp_path, {"k=x/a": [1]}, ".csv")])
    with pytest.raises(InputError, match="column k is not numeric: text"):
        passed(source, ["k"])


def test_what_is_no_data_is_skipped(tmp_path: Path) -> None:
    folder = made(
        tmp_path, LAYOUT | {"year=2024/_temporary/a": [9], "year=2024/.hidden/a": [9], "_old/year=1/a": [9]}
    )
    for name in ("_SUCCESS", "year=2024/_metadata", "year=2024/month=05/.a.parquet.crc", "year=2024/notes.txt"):
        (tmp_path / name).write_text("no data")
    (tmp_path / "year=2024" / "loop").symlink_to(tmp_path)
    assert Source([folder]).label == "3 files"


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    made(tmp_path / "elsewhere", {"a": [5]})
    folder = made(tmp_path / "data", {"k=1/a": [1]})
    (tmp_path / "data" / "k=2").symlink_to(tmp_path / "elsewhere")
    assert cells(Source([folder]), ["x", "k"]) == [[1, 1], [5, 2]]


def test_a_folder_without_such_folders_is_as_before(tmp_path: Path) -> None:
    folder = made(tmp_path, {"a": [1], "below/b": [2]})
    assert cells(Source([folder]), ["x"]) == [[1]]


def test_a_pattern_tells_files_alone(tmp_path: Path) -> None:
    folder = made(tmp_path, LAYOUT)
    assert Source([f"{folder}/*/*/*.parquet"]).names == ("x", "t")
    assert Source([f"{folder}/year=2024"]).names == ("x", "t", "month")


def test_files_that_have_the_column_keep_theirs(tmp_path: Path) -> None:
    for key in (1, 2):
        path = tmp_path / f"k={key}" / "a.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"k": [key + 0.5], "x": [1.0]}), path)
    source = Source([str(tmp_path)])
    assert source.names == ("k", "x")
    assert cells(source) == [[1.5, 1], [2.5, 1]]


def test_files_that_lie_elsewhere_are_named(tmp_path: Path) -> None:
    folder = made(tmp_path, LAYOUT | {"year=2024/a": [7.0]})
    with pytest.raises(InputError, match=r"month=05/a\.parquet: other columns than .*: it has month|it lacks month"):
        Source([folder])


def test_shares_of_folders(tmp_path: Path) -> None:
    source = Source([made(tmp_path, LAYOUT)])
    for columns in (["x", "year"], ["year"]):
        whole = [(b.index, b.first_row, b.x.tolist()) for b in source.blocks(columns)]
        parts = [source.blocks(columns, share=Share(part, 2)) for part in range(2)]
        assert [(b.index, b.first_row, b.x.tolist()) for part in parts for b in part] == whole
        assert {part.rows for part in parts} == {4}
        assert all(part.share_rows for part in parts)


def test_blocks_without_a_column_of_the_file_are_those_with_one(tmp_path: Path) -> None:
    folder = made(tmp_path, {"k=1/a": [float(i) for i in range(11)]})
    source = Source([folder], block_rows=4)
    assert [len(b.x) for b in source.blocks(["k"])] == [len(b.x) for b in source.blocks(["x"])] == [4, 4, 3]
    assert [r.x.tolist() for r in source.tables(["k"])] == [[[1.0]] * n for n in (4, 4, 3)]


def test_an_empty_layout_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "k=1").mkdir()
    with pytest.raises(InputError, match="no data files in this folder"):
        Source([str(tmp_path)])
