import subprocess
import sys

import pytest

from gmmcli.data.formats import (
    FileFormat,
    ReadOptions,
    format_of_path,
    parse_format,
    sniff,
    sniff_compression,
)
from gmmcli.errors import UsageError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", FileFormat("csv")),
        ("dir.gz/a.TSV", FileFormat("tsv")),
        ("a.json", FileFormat("json")),
        ("a.jsonl.gz", FileFormat("json", "gzip")),
        ("a.ndjson.zst", FileFormat("json", "zstd")),
        ("a.pq", FileFormat("parquet")),
        ("a.parquet", FileFormat("parquet")),
        ("a.feather", FileFormat("arrow")),
        ("a.ipc", FileFormat("arrow")),
        ("a.arrows", FileFormat("arrows")),
        ("a.txt", None),
        ("a.gz", None),
        ("csv", None),
        (".csv", None),
    ],
)
def test_suffix_tells_the_format(path, expected):
    assert format_of_path(path) == expected


@pytest.mark.parametrize("text", ["csv.gz", ".CSV.gz", " csv.gz "])
def test_format_by_name(text):
    assert parse_format(text) == FileFormat("csv", "gzip")


@pytest.mark.parametrize("text", ["xlsx", "", ".gz", "csv.bz2"])
def test_unknown_format_lists_the_formats(text):
    with pytest.raises(UsageError, match="csv, tsv, json, parquet, arrow"):
        parse_format(text)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"PAR1abc", "parquet"),
        (b"ARROW1\0\0", "arrow"),
        (b"\xff\xff\xff\xff\x10", "arrows"),
        (b'{"a":1}', "json"),
        (b'\xef\xbb\xbf\n {"a":1}', "json"),
        (b"a,b\n", "csv"),
        (b"", "csv"),
    ],
)
def test_content_tells_the_format(head, name):
    assert sniff(head) == name


def test_content_tells_the_compression():
    assert sniff_compression(b"\x1f\x8b\x08") == "gzip"
    assert sniff_compression(b"\x28\xb5\x2f\xfd") == "zstd"
    assert sniff_compression(b"a,b") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "ab"}, "delimiter: 'ab' makes no sense"),
        ({"delimiter": "\n"}, "delimiter"),
        ({"delimiter": "§"}, "ASCII"),
        ({"quote": "''"}, "quote"),
        ({"decimal": ";"}, "decimal: ';'"),
        ({"decimal": ",", "delimiter": ","}, "both a comma"),
        ({"encoding": "klingon"}, "encoding: 'klingon' makes no sense"),
        ({"encoding": "rot13"}, "encoding: 'rot13'"),
        ({"encoding": "base64"}, "encoding: 'base64'"),
        ({"encoding": "utf8\0"}, "encoding: "),
        ({"input_format": "xls"}, "unknown format"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        ReadOptions(**options)


def test_delimiter_of_each_format():
    assert ReadOptions().delimiter_of("csv") == ","
    assert ReadOptions().delimiter_of("tsv") == "\t"
    assert ReadOptions(delimiter="tab").delimiter_of("csv") == "\t"
    assert ReadOptions(decimal=",").delimiter_of("csv") == ";"
    assert ReadOptions(decimal=",", input_format="csv").delimiter_of("csv") == ";"
    assert ReadOptions(decimal=",", input_format="tsv").delimiter_of("tsv") == "\t"
    assert ReadOptions(delimiter="|").delimiter_of("tsv") == "|"


def test_nan_is_missing_by_default():
    assert {"", "NA", "NaN", "nan"} <= set(ReadOptions().missing_texts)


def test_formats_and_columns_cost_no_heavy_import():
    code = (
        "import sys, gmmcli.data.formats, gmmcli.data.columns; print({'torch','pyarrow','pandas'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["utf8", "latin-1", "cp1252", "utf-16", "UTF-32", "shift_jis", "utf-8-sig", "cp500"])
def test_encodings_of_text(name):
    assert ReadOptions(encoding=name).encoding == name
