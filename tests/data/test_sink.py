import csv
import datetime
import decimal
import io
import os
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmcli.data.formats import FileFormat
from gmmcli.data.sink import Sink, output_format
from gmmcli.data.source import Source
from gmmcli.data.writers import _group_rows
from gmmcli.errors import InputError, UsageError
from tests.data.conftest import kinds, passed, stdin

TABLE = pa.table({"a": [1, None], "b": ["x,y", 'say "so"']})
ALL = [".csv", ".csv.gz", ".csv.zst", ".tsv", ".jsonl", ".json.gz", ".ndjson.zst", ".parquet", ".arrow", ".arrows"]


def write_all(target, tables, format=None):
    with Sink(target, format) as sink:
        for table in tables:
            sink.write(table)


def text(table, suffix=".csv", **arguments):
    """What is written to a file of this suffix."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"out{suffix}")
        with Sink(path, **arguments) as sink:
            sink.write(table)
        with open(path, "rb") as stream:
            return stream.read().decode()


@pytest.mark.parametrize("suffix", ALL)
def test_a_table_comes_back(tmp_path, suffix):
    path = str(tmp_path / f"t{suffix}")
    table = pa.table(
        {"i": [1, None, 3], "f": [0.1, 1e300, None], "t": ["a", None, 'q"\\\n\t,'], "b": [True, None, False]}
    )
    with Sink(path) as sink:
        sink.write(table.slice(0, 2))
        sink.write(table.slice(2))
        assert sink.rows_written == 3
    assert passed(Source([path]), typed=True).to_pylist() == table.to_pylist()
    assert os.listdir(tmp_path) == [f"t{suffix}"]


@pytest.mark.parametrize("suffix", ALL)
def test_no_rows_still_have_their_columns(tmp_path, suffix):
    path = str(tmp_path / f"t{suffix}")
    with Sink(path) as sink:
        sink.write(pa.schema([("a", pa.int64()), ("b", pa.string())]).empty_table())
    with pytest.raises(InputError, match=r"no rows|empty"):
        Source([path])
    if suffix == ".csv":
        assert (tmp_path / "t.csv").read_text() == "a,b\n"
    if suffix == ".parquet":
        assert pq.read_schema(path).names == ["a", "b"]


def test_csv_quotes_only_what_needs_it():
    table = pa.table(
        {
            "n": [1, None],
            "f": [1.0, 0.1],
            "t": ["plain", "a,b"],
            "q": ['"', " x "],
            "l": ["a\nb", "c\rd"],
            "e": ["", None],
            "h,e": [True, False],
        }
    )
    assert text(table) == 'n,f,t,q,l,e,"h,e"\n1,1,plain,"""","a\nb","",true\n,0.1,"a,b", x ,"c\rd",,false\n'


def test_tsv_and_other_delimiters():
    table = pa.table({"a": ["x,y", "x\ty"], "b": [1.5, 2]})
    assert text(table, ".tsv") == 'a\tb\nx,y\t1.5\n"x\ty"\t2\n'
    assert text(table, delimiter=";", decimal=",") == "a;b\nx,y;1,5\nx\ty;2\n"


def test_one_column_keeps_its_empty_cells():
    assert text(pa.table({"a": [None, 1, None]})) == 'a\n""\n1\n""\n'
    assert passed(stdin(text(pa.table({"a": [None, 1, None]})).encode())).num_rows == 3


def test_typed_cells_as_text():
    table = pa.table(
        {
            "d": pa.array([decimal.Decimal("1.10")]),
            "day": [datetime.date(2020, 1, 2)],
            "t": pa.array([datetime.datetime(2020, 1, 2, 3)], pa.timestamp("s")),
            "c": pa.array(["p"]).dictionary_encode(),
            "l": [[1, None]],
            "s": [{"k": "v"}],
            "z": pa.nulls(1),
            "b": [b"ok"],
            "u": pa.array(["v"], pa.string_view()),
            "f": pa.array([0.1], pa.float32()),
            "p": pa.array([datetime.timedelta(seconds=2)], pa.duration("s")),
        }
    )
    row = next(iter(csv.DictReader(io.StringIO(text(table)))))
    assert row == {
        "d": "1.10",
        "day": "2020-01-02",
        "t": "2020-01-02 03:00:00",
        "c": "p",
        "l": "[1,null]",
        "s": '{"k":"v"}',
        "z": "",
        "b": "ok",
        "u": "v",
        "f": "0.1",
        "p": "2",
    }


def test_bytes_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"column b .* cannot be written as text: write Parquet"):
        write_all(str(tmp_path / "t.csv"), [pa.table({"b": [b"\xff"]})])
    assert os.listdir(tmp_path) == []


def test_json_lines():
    table = pa.table({'k"': ['a\\b"c\n\x01é', None], "x": [float("nan"), 1.5], "l": [[1], None]})
    assert text(table, ".jsonl") == (
        '{"k\\"":"a\\\\b\\"c\\n\\u0001é","x":null,"l":[1]}\n{"k\\"":null,"x":1.5,"l":null}\n'
    )


def test_dictionaries_that_differ_from_table_to_table(tmp_path):
    for suffix in (".arrow", ".arrows", ".parquet"):
        path = str(tmp_path / f"d{suffix}")
        with Sink(path) as sink:
            for values in (["p", "q"], ["r"]):
                sink.write(pa.table({"c": pa.array(values).dictionary_encode()}))
        assert passed(Source([path])).column("c").to_pylist() == ["p", "q", "r"]


@pytest.mark.parametrize("suffix", ALL)
def test_tables_encoded_beforehand_make_the_same_file(tmp_path, suffix):
    contents = []
    for encoded in (False, True):
        path = tmp_path / f"{encoded}{suffix}"
        with Sink(str(path)) as sink:
            pieces = [TABLE.slice(0, 1), TABLE.slice(1)]
            for piece in [sink.encode(piece) for piece in pieces] if encoded else pieces:
                sink.write(piece)
            assert sink.rows_written == TABLE.num_rows
        contents.append(Source([str(path)]))
    plain, encoded = (pa.concat_tables(r.table for r in source.tables([])) for source in contents)
    assert plain.equals(encoded)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_later_encoded_tables_get_the_first_schema_too(tmp_path, format):
    path = str(tmp_path / f"t.{format}")
    with Sink(path) as sink:
        for column in (pa.array([1.5]), pa.array([2])):
            sink.write(sink.encode(pa.table({"a": column})))
    assert kinds(Source([path])) == {"a": "number"}
    assert [x for block in Source([path]).blocks(["a"]) for x in block.x.flatten().tolist()] == [1.5, 2.0]


def test_only_columns_that_repeat_get_a_dictionary(tmp_path):
    rows = range(10_000)
    table = pa.table({
        "unique": [i / 7 for i in rows],
        "few": [float(i % 5) for i in rows],
        "a.name": [str(i % 3) for i in rows],
        "id": [str(i) for i in rows],
        "category": pa.array([str(i % 3) for i in rows]).dictionary_encode(),
    })  # fmt: skip
    path = str(tmp_path / "t.parquet")
    with Sink(path) as sink:
        sink.write(table)
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    found = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert found == {"few", "a.name", "category"}
    assert pq.read_table(path).equals(table)
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_small_tables_share_a_row_group(tmp_path):
    path = str(tmp_path / "t.parquet")
    with Sink(path) as sink:
        for _ in range(10):
            sink.write(TABLE)
    assert pq.ParquetFile(path).num_row_groups == 1


def test_row_groups_are_blocks_of_a_reading_whatever_tables_come(tmp_path):
    path = str(tmp_path / "t.parquet")
    a = np.random.default_rng(0).normal(size=1_200_000)
    with Sink(path) as sink:
        for first in range(0, len(a), 70_001):
            sink.write(pa.table({"a": a[first : first + 70_001]}))
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [524288] * 2 + [151424]
    np.testing.assert_array_equal(pq.read_table(path).column("a").to_numpy(), a)


@pytest.mark.parametrize(("columns", "rows"), [(200, 41943), (20_000, 419)])
def test_row_groups_of_many_columns_have_fewer_rows(columns, rows):
    table = pa.table([pa.array(np.zeros(100))] * columns, names=[str(d) for d in range(columns)])
    assert _group_rows(table) == rows


def test_later_tables_get_the_first_schema(tmp_path):
    path = str(tmp_path / "t.parquet")
    with Sink(path) as sink:
        sink.write(pa.table({"a": [1.5]}))
        sink.write(pa.table({"a": pa.nulls(1)}))
    assert passed(Source([path])).column("a").to_pylist() == [1.5, None]
    with pytest.raises(InputError, match="cannot be written"):
        write_all(path, [pa.table({"a": [1.5]}), pa.table({"b": [1.5]})])
    assert pq.read_table(path).num_rows == 2


CELL = st.text(alphabet=st.sampled_from("ab\"',;\t\r\n 0.-\\é\u2028\U0001f600"), max_size=6)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 3).flatmap(lambda d: st.lists(st.lists(CELL, min_size=d, max_size=d), min_size=1, max_size=9)))
def test_every_cell_survives_csv_to_csv(rows):
    names = [f"c{i}" for i in range(len(rows[0]))]
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    table = passed(stdin(buffer.getvalue().encode(), block_rows=3))
    assert list(csv.reader(io.StringIO(text(table), newline=""))) == [names, *rows]
    assert passed(stdin(text(table).encode())).to_pylist() == table.to_pylist()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.floats(allow_nan=False), st.none() | CELL), min_size=1), st.sampled_from(ALL)
)
def test_every_table_survives_every_format(rows, suffix):
    table = pa.table(
        {"x": pa.array([r[0] for r in rows], pa.float64()), "t": pa.array([r[1] for r in rows], pa.string())}
    )
    if "json" in suffix or "ndjson" in suffix:
        table = table.set_column(
            0, "x", pa.array([None if x in (np.inf, -np.inf) else x for x, _ in rows], pa.float64())
        )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"t{suffix}")
        with Sink(path) as sink:
            sink.write(table)
        found = passed(Source([path]), typed="sv" not in suffix)
    if "sv" in suffix:
        column = found.column("x").to_pylist()
        assert [None if x is None else float(x) for x in column] == table.column("x").to_pylist()
    else:
        assert found.column("x").to_pylist() == table.column("x").to_pylist()
    assert found.column("t").to_pylist() == table.column("t").to_pylist()


# ---- whole or not at all


@pytest.mark.parametrize("suffix", ALL)
def test_an_exception_leaves_no_file(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"before")

    def interrupted():
        yield TABLE
        assert len(os.listdir(tmp_path)) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all(str(path), interrupted())
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"before"


def test_the_input_can_be_the_output(tmp_path):
    path = str(tmp_path / "t.csv")
    with open(path, "w") as stream:
        stream.write("a,b\n" + "1,x\n" * 100)
    with Sink(path) as sink:
        for rows in Source([path], block_rows=7).tables(["a"]):
            sink.write(rows.table.append_column("c", pa.array(rows.x[:, 0].numpy() + 1)))
    with open(path) as stream:
        assert stream.read() == "a,b,c\n" + "1,x,2\n" * 100


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow", "json", "csv.gz"])
def test_a_pipe_is_written_to_directly(tmp_path, suffix):
    fifo = str(tmp_path / "pipe")
    os.mkfifo(fifo)
    code = f"import sys; sys.stdout.buffer.write(open({fifo!r}, 'rb').read())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as reader:
        with Sink(fifo, suffix) as sink:
            sink.write(TABLE)
        assert reader.stdout is not None
        content = reader.stdout.read()
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    assert passed(stdin(content), typed=True).to_pylist() == TABLE.to_pylist()


def test_a_closed_pipe_raises_broken_pipe(tmp_path):
    for format in ("csv", "parquet", "arrow", "csv.zst"):
        read, writing = os.pipe()
        os.close(read)
        table = pa.table({"a": np.random.default_rng(0).normal(size=100_000)})
        with pytest.raises(BrokenPipeError):
            write_all(f"/dev/fd/{writing}", [table] * 3, format)
        os.close(writing)


def test_a_full_device_is_named():
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"), Sink("/dev/full") as sink:
        sink.write(pa.table({"a": list(range(100_000))}))


@pytest.mark.parametrize("target", ["None", "'-'", "'/dev/stdout'"])
@pytest.mark.parametrize("format", ["None", "'parquet'"])
def test_standard_output(target, format):
    code = (
        "import pyarrow as pa; from gmmcli.data.sink import Sink\n"
        f"with Sink({target}, {format}) as sink: sink.write(pa.table({{'a': [1, 2]}}))\n"
        "print('still open')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    content, tail = out[: -len(b"still open\n")], out[-len(b"still open\n") :]
    assert tail == b"still open\n"
    if format == "None":
        assert content == b"a\n1\n2\n"
    assert passed(stdin(content), typed=True).to_pylist() == [{"a": 1}, {"a": 2}]


# ---- targets


def test_formats_of_targets(tmp_path):
    assert output_format(None) == output_format("-") == output_format("/dev/stdout") == FileFormat("csv")
    assert output_format("a.tsv.gz") == FileFormat("tsv", "gzip")
    assert output_format("a.dat", "parquet") == FileFormat("parquet")
    assert output_format("a.csv.gz", "json") == FileFormat("json", "gzip")
    assert output_format("/dev/null") == FileFormat("csv")
    with pytest.raises(UsageError, match="give output_format as one of csv, tsv"):
        output_format(str(tmp_path / "a.xlsx"))
    with pytest.raises(UsageError, match="unknown format 'xls'"):
        output_format("a.csv", "xls")


def test_targets_that_cannot_be(tmp_path):
    for target in (None, "-", str(tmp_path / "new.csv"), "new.csv"):
        Sink(target, "csv")
    with pytest.raises(UsageError, match=r"this is a folder: name a file in it, such as out\.csv"):
        Sink(str(tmp_path))
    with pytest.raises(UsageError, match="there is no folder"):
        Sink(str(tmp_path / "absent" / "new.csv"))


def test_only_columns_that_become_smaller_are_compressed(tmp_path):
    draw = np.random.default_rng(0)
    table = pa.table(
        {
            "noise": draw.normal(size=5000),
            "small": draw.normal(size=5000).astype(np.float32),
            "mostly": np.where(draw.random(5000) < 0.8, 1.0, draw.random(5000)),
            "number": draw.integers(0, 9, 5000),
            "text": [f"row {i % 7}" for i in range(5000)],
        }
    )
    with Sink(str(tmp_path / "x.parquet")) as sink:
        sink.write(table.slice(1, 4999))
    file = pq.ParquetFile(tmp_path / "x.parquet")
    columns = [file.metadata.row_group(0).column(d) for d in range(5)]
    assert [c.compression for c in columns] == ["UNCOMPRESSED", "UNCOMPRESSED", "SNAPPY", "SNAPPY", "SNAPPY"]
    assert [c.has_dictionary_page for c in columns] == [False, False, False, True, True]
    assert file.read().equals(table.slice(1))
