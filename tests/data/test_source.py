import datetime
import decimal
import gzip
import io
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmcli.data.columns import ColumnKind
from gmmcli.data.formats import ReadOptions
from gmmcli.data.scratch import Scratch
from gmmcli.data.source import Source
from gmmcli.errors import InputError, UsageError
from gmmcli.passes.block import TableBlocks
from tests.data.conftest import cells, details, kinds, passed, stdin

pytestmark = pytest.mark.usefixtures("budget")
NUMBER, TEXT, EMPTY = ColumnKind.NUMBER, ColumnKind.TEXT, ColumnKind.EMPTY


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# ---- what a column is


def test_kinds_are_settled_over_the_whole_file():
    rows = 400_000  # several of pyarrow's blocks
    source = stdin(b"a,b,c\n" + b"1,1,1\n" * rows + b"1.5,x,\n", block_rows=1 << 20)
    assert kinds(source) == {"a": NUMBER, "b": TEXT, "c": NUMBER}
    assert details(source)["b"] == f"1 cell is not a number, the first 'x' in row {rows + 1}"
    (block,) = source.blocks(["a"])
    assert block.x[-1].item() == 1.5


def test_kinds_of_a_csv():
    source = stdin(b"n,t,b,d,e,s\n1,x,true,2020-01-01,NA,1e3\n-.5,1,False,2020-01-02,,99999999999999999999\n")
    assert kinds(source) == {"n": NUMBER, "t": TEXT, "b": ColumnKind.BOOLEAN, "d": TEXT, "e": EMPTY, "s": TEXT}
    assert source.select().used == ("n",)
    assert details(source) == {"s": "numbers that float64 does not hold, such as 99999999999999999999"}


def test_kinds_of_typed_files(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.uint8()),
            "d": pa.array([decimal.Decimal("1.10"), None]),
            "c": pa.array(["p", "q"]).dictionary_encode(),
            "n": pa.array([5, 6]).dictionary_encode(),
            "b": [True, False],
            "t": pa.array([datetime.datetime(2020, 1, 1)] * 2),
            "l": [[1], [2]],
            "z": pa.nulls(2),
            "x": [b"\xff", b""],
            "h": pa.array(np.array([1.5, 2.5], np.float16)),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    by_name = kinds(Source([str(tmp_path / "t.parquet")]))
    assert [name for name, kind in by_name.items() if kind is NUMBER] == ["i", "d", "n", "h"]
    assert by_name["c"] is TEXT
    assert by_name["z"] is EMPTY
    assert by_name["l"] is ColumnKind.NESTED
    assert by_name["t"] is ColumnKind.TIME
    found = cells(Source([str(tmp_path / "t.parquet")]), ["i", "d", "n", "h"], missing="keep")
    assert found[0] == [1, 1.1, 5, 1.5]
    assert math.isnan(found[1][1])


def test_a_few_stray_cells_are_told():
    content = b"a,b\n1,1\nabc,2\n3,3\n-,4\n5,5\nNA,6\n"
    source = stdin(content)
    assert source.select().left_out["a"] == "text: 2 cells are not numbers, the first 'abc' in row 2"
    with pytest.raises(InputError, match=r"^stdin: column a is not numeric: text: 2 cells .* 'abc' in row 2$"):
        source.select(columns="a")
    with pytest.raises(InputError, match="column a is not numeric"):
        source.blocks(["a"])
    with pytest.raises(InputError, match="column a is not numeric"):
        passed(source, ["a"])


def test_mostly_text_is_text():
    assert stdin(b"a,b\nx,1\ny,2\n3,3\n").select().left_out == {"a": "text"}


# ---- what counts as a number in text: the fit, the types written and the files written agree


NUMBERS = ["0", "7,0", "0.5,1", "-0.5,2", "00.5,1.25", "-0,3", "+5,6", "1e3,2", ".5,5.", "inf,1", "0.0,1.5", "0,NA"]
IDENTIFIERS = ["007", "8,007", "00", "1.5,007", "-012,3", "007,NA", "1E5,012", " 07 ,1"]
TOO_WIDE = ["99999999999999999999", "1.5,9007199254740993", "1e999,1", "1e-999,1"]
NO_NUMBERS = ["0x1F,0x2A", "abc,1"]


@pytest.mark.parametrize("text", NUMBERS + IDENTIFIERS + TOO_WIDE + NO_NUMBERS)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl"])
def test_a_column_is_of_the_same_kind_where_it_is_read_and_where_it_was_written(text, suffix, copy):
    source = stdin(b"a,b\n" + b"".join(b"%s,1\n" % cell.encode() for cell in text.split(",")))
    assert kinds(source)["a"] is (NUMBER if text in NUMBERS else TEXT)
    again = Source([copy(source, suffix)])
    if not (suffix == ".jsonl" and "inf" in text):  # which JSON has not
        assert kinds(again)["a"] is kinds(source)["a"]
        assert again.select().used == source.select().used
    if text in NO_NUMBERS:
        for one in (source, again):
            with pytest.raises(InputError, match="column a is not numeric: text"):
                one.select(columns="a")
            with pytest.raises(InputError, match="column a is not numeric: text"):
                one.blocks(["a"])
    elif "inf" not in text and "1e999" not in text:
        for one in (source, again):
            assert one.select(columns="a").used == ("a",)
        found = cells(source, ["a"], missing="drop")
        assert cells(again, ["a"], missing="drop") == found
        assert [x for r in again.tables(["a"]) for x in r.x.flatten().tolist() if x == x] == [x for (x,) in found]


def test_identifiers_are_left_out_unless_they_are_named(tmp_path):
    rows = 3000
    source = stdin(b"id,x\n" + b"".join(b"%05d,%d.5\n" % (i, i) for i in range(rows)), block_rows=1000)
    assert source.select().left_out == {"id": "text: numbers with leading zeros, such as 00000"}
    assert source.select(columns="id,x").used == ("id", "x")
    assert source.select(weights="id").left_out == {"id": "the weights"}
    assert cells(source, ["id"]) == [[i] for i in range(rows)]
    # a column that the model uses is written as numbers, one that passes through as it was
    assert passed(source, ["id"], typed=True).schema.types == [pa.int64(), pa.float64()]
    assert passed(source, ["x"], typed=True).schema.types == [pa.string(), pa.float64()]
    pq.write_table(passed(source, ["x"], typed=True), tmp_path / "ids.parquet")
    typed = Source([str(tmp_path / "ids.parquet")])
    assert typed.select().left_out == {"id": "text"}
    assert cells(typed, typed.select(columns="id").used) == [[i] for i in range(rows)]


def test_an_identifier_in_one_of_several_files(tmp_path):
    paths = [write(tmp_path, name, text) for name, text in (("a.csv", "x,y\n1,1\n"), ("b.csv", "x,y\n2,007\n"))]
    source = Source(paths)
    assert source.select().used == ("x",)
    assert "numbers with leading zeros, such as 007 of " in source.select().left_out["y"]
    assert cells(source, ["y"]) == [[1], [7]]


def test_text_that_is_all_numbers_in_a_decimal_comma(tmp_path):
    pq.write_table(pa.table({"x": ["1,5", None, "NA", "2"]}), tmp_path / "x.parquet")
    path = str(tmp_path / "x.parquet")
    assert cells(Source([path], ReadOptions(decimal=",")), ["x"], missing="drop") == [[1.5], [2]]
    with pytest.raises(InputError, match="column x is not numeric: text"):
        cells(Source([path]), ["x"])


# ---- the readings of delimited text


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"a,b\n1,2\n3,4\n", {}, [[1, 2], [3, 4]]),
        (b"a,b\r\n1,2\r\n3,4\r\n", {}, [[1, 2], [3, 4]]),
        (b"a,b\n1,2\n3,4", {}, [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbfa,b\n1,2\n3,4\n", {}, [[1, 2], [3, 4]]),
        (b'\xef\xbb\xbf"a",b\n1,2\n3,4\n', {}, [[1, 2], [3, 4]]),
        (b"\n\na,b\n\n1,2\n\n3,4\n\n", {}, [[1, 2], [3, 4]]),
        (b'a,b\n"1","2"\n 3, 4\n', {}, [[1, 2], [3, 4]]),
        (b"a;b\n1,0;2\n3;4,0\n", {"delimiter": ";", "decimal": ","}, [[1, 2], [3, 4]]),
        (b"a;b\n1,0;2\n3;4,0\n", {"decimal": ","}, [[1, 2], [3, 4]]),
        (b"a;b\n1,0;2\n3;4,0\n", {"decimal": ",", "input_format": "csv"}, [[1, 2], [3, 4]]),
        (b"a\tb\n1\t2\n3\t4\n", {"input_format": "tsv"}, [[1, 2], [3, 4]]),
        (b"a\tb\n1\t2\n3\t4\n", {"delimiter": "tab"}, [[1, 2], [3, 4]]),
        (b"1,2\n3,4", {"no_header": True}, [[1, 2], [3, 4]]),
        (b"'a',b\n'1',2\n3,4\n", {"quote": "'"}, [[1, 2], [3, 4]]),
        ("ä,b\n1,2\n3,4\n".encode("latin-1"), {"encoding": "latin-1"}, [[1, 2], [3, 4]]),
        ("a,b\n1,2\n3,4\n".encode("utf-16"), {"encoding": "utf-16"}, [[1, 2], [3, 4]]),
        (b'{"a":1,"b":2}\n{"a":3,"b":4}\n', {}, [[1, 2], [3, 4]]),
        (b'{"a":1,"b":2}\n{"b":4,"a":3}', {"input_format": "ndjson"}, [[1, 2], [3, 4]]),
    ],
)
def test_readings(content, options, expected):
    source = stdin(content, **options)
    assert cells(source) == expected
    assert len(source.names) == 2


def test_headerless_columns_are_x1_to_xD():
    source = stdin(b"1,a,3\n", no_header=True)
    assert source.names == ("x1", "x2", "x3")
    assert source.by_position
    assert source.match(["p", "q", "r"]) == ("x1", "x2", "x3")
    assert not stdin(b"x1\n1\n").by_position


def test_blank_lines_in_one_column_are_missing_cells():
    source = stdin(b"a\n1\n\n2\n\n")
    found = cells(source, missing="keep")
    assert [math.isnan(row[0]) for row in found] == [False, True, False, True]
    assert passed(source).num_rows == 4
    with pytest.raises(InputError, match="2 missing cells in a"):
        cells(source)


def test_own_null_values():
    content = b"a,b\n-999,1\n2,NA\n"
    assert kinds(stdin(content))["b"] is NUMBER
    source = stdin(content, null_values="-999")
    assert kinds(source) == {"a": NUMBER, "b": TEXT}
    with pytest.raises(InputError, match="1 missing cell in a"):
        cells(source, ["a"])


def test_a_record_longer_than_a_parse_block():
    long = b"x" * 3_000_000
    source = stdin(b'a,b\n1,"' + long + b'\n"\n2,y\n')
    assert cells(source, ["a"]) == [[1], [2]]
    assert len(passed(source).column(1)[0].as_py()) == 3_000_001


def test_a_record_that_is_longer_than_it_may_be(monkeypatch):
    monkeypatch.setattr("gmmcli.data.csv._RECORD_BYTES", 1 << 20)
    content = b"a,b\n" + b"1,2\n" * 300_000 + b'3,"x\n' + b"4,5\n" * 600_000
    message = "^stdin: row 300001 has more than 1 MiB: see quote if a quote in it never closes or raise memory"
    for read in (lambda s: s.facts(s.names), lambda s: [rows.x for rows in s.tables(["a"])]):
        with pytest.raises(InputError, match=message):
            read(Source([], stdin=io.BytesIO(content), scratch=Scratch(0)))


def test_rows_before_a_long_record_are_given_once():
    long = b"x" * 5_000_000
    source = stdin(b"a,b\n" + b"1,2\n" * 300_000 + b'3,"' + long + b'"\n' + b"4,5\n" * 300_000, block_rows=1 << 20)
    (block,) = source.blocks(["a"])
    assert block.x[:, 0].tolist() == [1.0] * 300_000 + [3.0] + [4.0] * 300_000
    assert passed(source).num_rows == 600_001


def test_line_ends_in_quotes_across_parse_blocks():
    source = stdin(b"a,b\n" + b'1,"xxxxxx\nyy"\n' * 200_000, block_rows=1 << 15)
    assert sum(len(block.x) for block in source.blocks(["a"])) == 200_000


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "stdin: the file is empty: give one with a header and rows"),
        (b"\n\n", {}, "no rows"),
        (b"a,b\n", {}, "stdin: no rows: give data with rows or use no_header if the first line"),
        (b"a,b", {}, "stdin: no rows"),
        (b"a,b\n\n\n", {}, "stdin: no rows"),
        (b"a,b\n1,2\n3\n", {}, "stdin: 1 cell in row 2 where the header has 2"),
        (b"a,b\n1,2\n" * 1 + b"3,4,5\n", {}, "3 cells in row 2 where the header has 2"),
        (b"\n1,2\n3,4\n5\n", {"no_header": True}, "1 cell in row 3 where the first row has 2"),
        (b"a,b\n1,2\n3,\xe9\n", {}, "not UTF-8 text in column b: try encoding='latin-1'"),
        (b"\xe9,b\n1,2\n", {}, "not UTF-8 text: try encoding='latin-1'"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "try encoding='utf-16'"),
        (b"a,b\n1,\xe9\n", {"encoding": "ascii"}, "not ascii text"),
        (b'a,b\n1,2\n3,"x\n4,5\n', {}, "a quote is opened in row 2 and never closed"),
        (b"a,b,a\n1,2,3\n", {}, "several columns are called a: rename them$"),
        (b"5.1,5.1\n1,2\n", {}, "rename them or use no_header if the first line is data"),
        (b"\x1f\x8bxxxxxx", {}, "stdin: cannot be read as gzip"),
        (gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 9999)[:-30], {}, "stdin: cannot be read as csv: Truncated"),
        (b"PAR1xxxxxxxxxxx", {}, "stdin: cannot be read as parquet"),
        (b"ARROW1\0\0xxxxxxxxx", {}, "stdin: cannot be read as arrow"),
        (b"\xff\xff\xff\xffxxxxxx", {}, "stdin: cannot be read as arrow"),
        (b"a,b\n1,2\n", {"input_format": "parquet"}, "stdin: cannot be read as parquet"),
        (b"PAR1xxx", {"input_format": "csv"}, "holds parquet, not csv: use input_format='parquet'"),
        (b'[{"a":1}]', {"input_format": "json"}, "a JSON array"),
        (b'{"a":1}\n{"a":"x"}\n', {}, "a changes from number to string in row 2"),
        (b'{"a":1}\n' * 300_000 + b'{"a":"x"}\n', {}, "a changes from number to string in row 300001"),
        (b'{"a":1}\n{"a":\n', {}, "not JSON lines in row 2"),
        (b'{"a":"\xe9"}\n', {}, "not UTF-8 text"),
        (b'{"\xe9":1}\n', {}, "not UTF-8 text"),
        (b"a" * 200_000 + b",b\n1,2\n", {}, "the header has a name of more than 131072 characters"),
    ],
)
def test_bad_content_is_one_line_that_names_it(content, options, message):
    with pytest.raises(InputError, match=message) as caught:
        cells(stdin(content, **options))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("stdin: ")
    assert str(caught.value).count("stdin") == 1


def test_wrong_delimiter_is_guessed():
    with pytest.raises(InputError, match=r"no numeric column left .* try delimiter="):
        stdin(b"a;b\n1;2\n").select()


def test_names_in_messages_have_no_control_characters():
    with pytest.raises(InputError) as caught:
        cells(stdin(b'"a\x1b[31m"\nNA\n1\n'))
    assert str(caught.value).isprintable()


# ---- bad cells


BAD = b"a,b,w\n1,2,1\n,nan,2\n3,inf,3\n4,5,4\n" + b"6,7,1\n" * 4 + b"NA,8,1\n"


def test_bad_cells_are_counted_over_the_whole_data():
    with pytest.raises(InputError) as caught:
        cells(stdin(BAD), ["a", "b"])
    message = "stdin: 2 missing cells in a, 1 in b, 1 infinite cell in b: use missing='drop'"
    assert str(caught.value) == message


def test_floating_nan_is_told_from_missing(tmp_path):
    path = str(tmp_path / "n.parquet")
    pq.write_table(pa.table({"a": [1.0, float("nan"), None]}), path)
    with pytest.raises(InputError, match="1 missing cell in a, 1 NaN cell in a"):
        cells(Source([path]))


def test_drop_leaves_numbers_of_blocks_and_rows_as_they_were():
    content = b"a,b\n1,1\n,2\n3,3\n4,4\n" + b",0\n" * 4 + b"9,inf\n10,10\n"
    blocks = stdin(content).blocks(["a", "b"], missing="drop")
    found = [(block.index, block.first_row, block.x.tolist()) for block in blocks]
    assert found == [(0, 0, [[1, 1], [3, 3], [4, 4]]), (2, 8, [[10, 10]])]
    assert (blocks.rows_read, blocks.rows_dropped) == (10, 6)
    with pytest.raises(InputError, match="no rows left"):
        cells(stdin(b"a,b\n1,\n,2\n"), missing="drop")


def test_keep_marks_what_is_observed():
    blocks = list(stdin(b"a,b\n1,\n2,3\n4,5\n6,7\n8,9\n").blocks(["a", "b"], missing="keep"))
    assert blocks[0].observed is not None
    assert blocks[0].observed.tolist() == [[True, False], [True, True], [True, True], [True, True]]
    assert torch.isnan(blocks[0].x).tolist() == (~blocks[0].observed).tolist()
    assert blocks[1].observed is None
    with pytest.raises(InputError, match=r"^stdin: 1 infinite cell in b: use missing='drop'$"):
        cells(stdin(BAD), ["a", "b"], missing="keep")


def test_weights():
    source = stdin(b"w,a\n1,2\n0,3\n")
    (block,) = source.blocks(["a"], weights="w")
    assert block.weights is not None
    assert block.weights.tolist() == [1, 0]
    assert block.weights.dtype == block.x.dtype == torch.float64
    assert block.x.tolist() == [[2], [3]]
    assert block.x.is_contiguous()


@pytest.mark.parametrize(
    ("content", "missing", "message"),
    [
        (b"w,a\n1,2\n-1,3\n-2,4\n", "error", "^stdin: 2 negative in weights column w$"),
        (b"w,a\n1,2\n-1,3\n-2,4\n", "drop", "^stdin: 2 negative in weights column w$"),
        (b"w,a\n1,2\nNA,3\n", "error", "1 missing cell in w: use missing='drop'$"),
        (b"w,a\n1,2\nNA,3\n", "keep", "1 missing cell in w"),
        (b"w,a\n1,2\ninf,3\n", "keep", "1 infinite cell in w"),
        (b"w,a\n0,2\n0,3\n", "error", "all weights in w are 0"),
    ],
)
def test_bad_weights(content, missing, message):
    with pytest.raises(InputError, match=message):
        cells(stdin(content), ["a"], weights="w", missing=missing)


def test_a_column_of_values_has_no_weights():
    with pytest.raises(InputError, match="stdin: column a has values, not weights: name another"):
        stdin(b"w,a\n1,2\n").blocks(["w", "a"], weights="a")


def test_rows_with_bad_weights_can_be_dropped():
    (block,) = stdin(b"w,a\n1,2\nNA,3\ninf,4\n5,5\n").blocks(["a"], weights="w", missing="drop")
    assert block.x.tolist() == [[2], [5]]


def test_infinite_cells_are_an_error_in_tables_too():
    with pytest.raises(InputError, match="1 infinite cell in b"):
        passed(stdin(BAD), ["a", "b"])


# ---- blocks


def test_blocks_can_be_read_again(tmp_path):
    x = np.random.default_rng(0).normal(size=(23, 3))
    table = pa.table({f"x{d}": x[:, d] for d in range(3)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    blocks = Source([str(tmp_path / "x.parquet")], block_rows=4).blocks(["x2", "x0"])
    first = list(blocks)
    # a row group of 10 rows is cut into 4, 4 and 2
    assert [len(b.x) for b in first] == [4, 4, 2, 4, 4, 2, 3]
    assert [b.index for b in first] == list(range(7))
    assert [b.first_row for b in first] == [0, 4, 8, 10, 14, 18, 20]
    assert all(b.x.mT.is_contiguous() and b.observed is None and b.weights is None for b in first)
    np.testing.assert_array_equal(torch.cat([b.x for b in first]).numpy(), x[:, [2, 0]])
    assert all(torch.equal(a.x, b.x) for a, b in zip(first, blocks, strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".arrow", ".arrows", ".jsonl"])
def test_other_formats_are_cut_by_rows_of_the_file(suffix, copy):
    path = copy(stdin(b"a\n" + b"".join(b"%d\n" % i for i in range(11)), block_rows=3), suffix)
    blocks = list(Source([path, path], block_rows=4).blocks(["a"]))
    assert [len(b.x) for b in blocks] == [4, 4, 3, 4, 4, 3]
    assert [b.first_row for b in blocks] == [0, 4, 8, 11, 15, 19]
    assert torch.cat([b.x for b in blocks]).flatten().tolist() == [*range(11), *range(11)]


# ---- what passes through


def test_text_passes_through_as_written():
    content = b'id,x,f,d,b,s\n007,39.10,1e3,2020-01-01,TRUE,"a,""b""\nc"\n008,NA,+5, x ,false,NaN\n'
    table = passed(stdin(content), ["x"])
    assert table.to_pylist() == [
        {"id": "007", "x": "39.10", "f": "1e3", "d": "2020-01-01", "b": "TRUE", "s": 'a,"b"\nc'},
        {"id": "008", "x": "NA", "f": "+5", "d": " x ", "b": "false", "s": "NaN"},
    ]


def test_tables_have_the_models_numbers_beside_all_columns():
    source = stdin(b"t,a,b\n" + b"".join(b"t%d,%d,%s\n" % (i, i, b"NA" if i == 5 else b"0.5") for i in range(6)))
    rows = list(source.tables(["b", "a"]))
    assert [r.first_row for r in rows] == [0, 4]
    assert [r.table.num_rows for r in rows] == [4, 2]
    assert rows[0].x.tolist() == [[0.5, i] for i in range(4)]
    assert math.isnan(rows[1].x[1, 0].item())
    assert rows[1].table.column("t").to_pylist() == ["t4", "t5"]


def test_types_pass_through_untouched(tmp_path):
    table = pa.table(
        {
            "x": [1.5, None, 3.0],
            "d": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("2.20")], pa.decimal128(9, 2)),
            "c": pa.array(["p", None, "q"]).dictionary_encode(),
            "t": pa.array([1, None, 3], pa.timestamp("ns", "Europe/Paris")),
            "l": [[1], None, []],
            "n": pa.nulls(3),
            "a.b": [1, 2, 3],
        }
    )
    path = str(tmp_path / "t.parquet")
    pq.write_table(table, path, row_group_size=2)
    found = passed(Source([path]), ["x", "a.b"])
    assert found.schema.types == table.schema.types
    assert found.to_pylist() == table.to_pylist()
    assert cells(Source([path]), ["a.b"]) == [[1], [2], [3]]


def test_json_keeps_integers_and_text_that_looks_like_a_time():
    source = stdin(b'{"i":1,"t":"2020-01-01","k":17446744073709551615,"s":{"u":"2020-01-01"}}\n')
    assert passed(source).to_pylist() == [
        {"i": 1, "t": "2020-01-01", "k": 17446744073709551615, "s": {"u": "2020-01-01"}}
    ]
    assert kinds(source)["k"] is NUMBER


def test_types_are_settled_over_all_cells():
    content = (
        b"i,z,f,e,big,wide,b,t,n,q\n"
        b"1,007,39.10,1e3,99999999999999999999,9007199254740993,TRUE,2020-01-01,NA,\n"
        b'-2,8,NA,5,1,1,false,x,,""\n'
        b"0,9,2,.5,,1.5,NA,y,NA,a\n"
    )
    table = passed(stdin(content), typed=True)
    i64, f64, text = pa.int64(), pa.float64(), pa.string()
    assert table.schema.types == [i64, text, f64, f64, text, text, pa.bool_(), text, text, text]
    assert table.column("f").to_pylist() == [39.1, None, 2.0]
    assert table.column("b").to_pylist() == [True, False, None]
    assert table.column("n").to_pylist() == ["NA", None, "NA"]
    assert table.column("q").to_pylist() == [None, "", "a"]


def test_types_of_several_files_agree(tmp_path):
    paths = [write(tmp_path, name, text) for name, text in (("a.csv", "x,y\n1,1\n"), ("b.csv", "y,x\n007,1.5\n"))]
    table = passed(Source(paths), typed=True)
    assert table.to_pylist() == [{"x": 1.0, "y": "1"}, {"x": 1.5, "y": "007"}]


def test_typed_decimal_comma():
    table = passed(stdin(b"a;b\n1,5;1\n-,5;2.5\n", decimal=","), typed=True)
    assert table.to_pylist() == [{"a": 1.5, "b": "1"}, {"a": -0.5, "b": "2.5"}]


@pytest.mark.parametrize("encoding", ["utf8", "latin-1", "utf-16", "cp500"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_line_ends_within_quotes_in_any_encoding(encoding, quote):
    text = f"a,b\n{quote}x\ny{quote},1\n{quote},{quote},2\n"
    source = stdin(text.encode(encoding), encoding=encoding, quote=quote)
    assert passed(source).to_pylist() == [{"a": "x\ny", "b": "1"}, {"a": ",", "b": "2"}]
    assert cells(source, ["b"]) == [[1], [2]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_read_back_exactly(numbers):
    content = "a,b\n" + "".join(f"{number!r},0\n" for number in numbers)
    assert cells(stdin(content.encode()), ["a"]) == [[float(number)] for number in numbers]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70).map(str) | st.floats(allow_nan=False).map(repr), min_size=1))
def test_settled_types_change_no_value(numbers):
    content = "a,b\n" + "".join(f"{number},0\n" for number in numbers)
    column = passed(stdin(content.encode()), typed=True).column("a")
    for cell, number in zip(column.to_pylist(), numbers, strict=True):
        exact = decimal.Decimal(number)
        assert cell == number if isinstance(cell, str) else decimal.Decimal(repr(cell)) == exact


# ---- what inputs are


def test_files_folders_and_globs_in_order(tmp_path):
    for name, value in (("b.csv", 2), ("a.csv", 1), (".hidden.csv", 9), ("notes.txt", 9), ("c.tsv", 3)):
        write(tmp_path, name, f"x\n{value}\n")
    (tmp_path / "sub.csv").mkdir()
    folder = str(tmp_path)
    assert cells(Source([folder])) == [[1], [2], [3]]
    assert cells(Source([f"{folder}/*.csv"])) == [[1], [2]]
    assert cells(Source([f"{folder}/c.tsv", f"{folder}/a.csv"])) == [[3], [1]]
    assert Source([folder]).label == "3 files"
    assert Source([f"{folder}/a.csv"]).label == f"{folder}/a.csv"


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    write(tmp_path, "a1.csv", "x\n9\n")
    assert cells(Source([write(tmp_path, "a[1].csv", "x\n1\n")])) == [[1]]


@pytest.mark.parametrize(
    ("name", "message"), [("no.csv", "no such file: check"), ("no*.csv", "no file matches: check")]
)
def test_absent_files_are_named(tmp_path, name, message):
    with pytest.raises(InputError, match=f"no.*csv: {message}"):
        Source([str(tmp_path / name)])


def test_folder_without_data(tmp_path):
    write(tmp_path, "readme.txt", "x")
    with pytest.raises(InputError, match="no data files"):
        Source([str(tmp_path)])


def test_columns_of_several_files(tmp_path):
    a = write(tmp_path, "a.csv", "x,y\n1,2\n")
    b = write(tmp_path, "b.jsonl", '{"y":4,"x":3.5}\n')
    c = write(tmp_path, "c.csv", "x,z\n1,2\n")
    assert cells(Source([a, b])) == [[1, 2], [3.5, 4]]
    assert passed(Source([a, b])).to_pylist() == [{"x": "1", "y": "2"}, {"x": "3.5", "y": "4"}]
    assert passed(Source([a, b]), typed=True).to_pylist() == [{"x": 1.0, "y": 2}, {"x": 3.5, "y": 4}]
    with pytest.raises(InputError, match=r"c\.csv: other columns than .*a\.csv: it lacks y and has z"):
        Source([a, c])


def test_kinds_of_several_files(tmp_path):
    a = write(tmp_path, "a.csv", "x,y,z\n1,2,NA\n")
    b = write(tmp_path, "b.csv", "x,y,z\n1,p,3\n")
    source = Source([a, b])
    assert kinds(source) == {"x": NUMBER, "y": TEXT, "z": NUMBER}
    assert "b.csv" in source.select().left_out["y"]
    assert cells(source, ["x", "z"], missing="drop") == [[1, 3]]


def test_an_empty_part_among_files_is_no_error(tmp_path):
    paths = [write(tmp_path, name, text) for name, text in (("a.csv", "x\n"), ("b.csv", "x\n1\n"))]
    assert cells(Source(paths)) == [[1]]
    with pytest.raises(InputError, match="2 files: no rows"):
        Source([paths[0], paths[0]])


def test_typed_files_that_disagree(tmp_path):
    for name, column in (("a", [1]), ("b", [2.5]), ("c", ["t"])):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{name}.parquet")
    a, b, c = (str(tmp_path / f"{name}.parquet") for name in "abc")
    assert passed(Source([a, b])).column("x").to_pylist() == [1.0, 2.5]
    with pytest.raises(InputError, match="column x has types int64, string in the files: write CSV"):
        passed(Source([a, c]), typed=True)
    assert passed(Source([a, c])).column("x").to_pylist() == ["1", "t"]  # as CSV is written, where all is text


@pytest.mark.parametrize(
    "suffix", [".csv", ".csv.gz", ".tsv.zst", ".jsonl", ".parquet", ".arrow", ".arrows", ".parquet.gz"]
)
def test_standard_input_of_every_format(suffix, copy):
    path = copy(stdin(b"a\tb\n1\t\n2\t5\n", delimiter="\t"), suffix)
    options = ReadOptions(input_format="tsv" if "tsv" in suffix else None)
    with open(path, "rb") as stream:
        source = Source([], options, stdin=stream)
    assert source.label == "stdin"
    for _ in range(2):
        assert cells(source, missing="drop") == [[2, 5]]


def test_standard_input_only_once():
    with pytest.raises(UsageError, match="given twice"):
        Source(["-", "-"])


def test_content_tells_where_the_suffix_does_not(tmp_path):
    parquet = tmp_path / "data.bin"
    pq.write_table(pa.table({"a": [1]}), parquet)
    assert cells(Source([str(parquet)])) == [[1]]
    assert cells(Source([write(tmp_path, "data.txt", "a\n1\n")])) == [[1]]
    # compressed, whatever the name says
    assert cells(Source([write(tmp_path, "data.csv", gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))])) == [
        [1],
        [2],
    ]
    with pytest.raises(InputError, match="use input_format='parquet'"):
        Source([write(tmp_path, "p.csv", parquet.read_bytes())])
    assert cells(Source([str(tmp_path / "p.csv")], ReadOptions(input_format="parquet"))) == [[1]]


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as parquet"):
        Source([str(path)])


def test_a_parquet_file_whose_pages_are_damaged(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=1000)}), path)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as parquet"):
        cells(Source([str(path)]))


def test_a_named_pipe_is_read_once_and_used_again(tmp_path):
    fifo = str(tmp_path / "pipe")
    os.mkfifo(fifo)
    code = f"open({fifo!r}, 'w').write('a\\n1\\n2\\n')"
    with subprocess.Popen([sys.executable, "-c", code]):
        source = Source([fifo])
    assert cells(source) == cells(source) == [[1], [2]]


def test_dictionaries_of_several_row_groups(tmp_path):
    schema = pa.schema([("c", pa.dictionary(pa.int32(), pa.string())), ("x", pa.int64())])
    with pq.ParquetWriter(tmp_path / "d.parquet", schema) as writer:
        for group in (["p", "q"], ["r", "p"]):
            writer.write_table(pa.table({"c": pa.array(group).dictionary_encode(), "x": [1, 2]}, schema=schema))
    source = Source([str(tmp_path / "d.parquet")])
    assert passed(source, ["x"]).column("c").to_pylist() == ["p", "q", "r", "p"]


def test_the_sample_data_agree():
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "sample_data")
    text, typed = (Source([os.path.join(folder, f"penguins.{suffix}")]) for suffix in ("csv", "parquet"))
    assert kinds(text) == kinds(typed)
    assert text.select() == typed.select()
    used = text.select().used
    assert len(cells(text, used, missing="drop")) == 342
    np.testing.assert_array_equal(cells(text, used, missing="keep"), cells(typed, used, missing="keep"))
    with pytest.raises(InputError, match=r"penguins\.csv: 2 missing cells in bill_length_mm, 2 in bill_depth_mm, "):
        cells(text, used)


# ---- blocks of many columns, and files that change


def test_blocks_of_many_columns_have_fewer_rows(tmp_path):
    """As a table in memory has them, so that both are the same bits; and whatever the format."""
    columns = {f"c{d}": np.arange(20_000, dtype=np.float32) + d for d in range(700)}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "w.parquet", row_group_size=15_000)
    with pa.ipc.new_file(tmp_path / "w.arrow", table.schema) as writer:
        writer.write_table(table)
    sizes = {"w.parquet": [8192, 6808, 5000], "w.arrow": [8192, 8192, 3616]}
    for name, expected in sizes.items():
        source = Source([str(tmp_path / name)])
        blocks = list(source.blocks(["c0", "c699"]))
        assert [len(block) for block in blocks] == expected
        assert [block.index for block in blocks] == [0, 1, 2]
        assert torch.cat([block.x for block in blocks])[:, 1].tolist() == columns["c699"].tolist()
        assert [rows.table.num_rows for rows in source.tables(["c0"])] == expected
    in_memory = TableBlocks(torch.zeros(20_000, 700, dtype=torch.float64))
    assert [len(block) for block in in_memory] == sizes["w.arrow"]


@pytest.mark.parametrize("how", ["replaced", "appended", "gone"])
def test_a_file_that_changes_between_readings_is_refused(tmp_path, how):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0]}), path)
    blocks = Source([str(path)]).blocks(["a"])
    assert len(list(blocks)) == 1
    if how == "replaced":
        pq.write_table(pa.table({"a": [1.0, 2.0, math.nan, 4.0]}), path)
    elif how == "appended":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()
    reason = "No such file or directory" if how == "gone" else "it has changed while it was read: start again"
    with pytest.raises(InputError, match=f"x.parquet: {reason}"):
        list(blocks)


def test_cells_are_looked_at_until_a_reading_has_found_none_bad(tmp_path):
    """What later readings are spared must not let a bad cell through: of readings that were not ended, say."""
    path = tmp_path / "x.parquet"
    rows = np.zeros(200_000, dtype=np.float32)
    rows[150_000] = np.nan
    pq.write_table(pa.table({"a": rows}), path)
    blocks = Source([str(path)]).blocks(["a"])
    assert len(next(iter(blocks))) == 65536
    for _ in range(2):
        with pytest.raises(InputError, match="1 NaN cell in a"):
            list(blocks)
    dropping = Source([str(path)]).blocks(["a"], missing="drop")
    for _ in range(2):
        assert sum(len(block) for block in dropping) == 199_999
