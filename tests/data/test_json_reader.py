"""JSON lines in memory and larger than it: the same values, types and errors."""

from __future__ import annotations

import io
import json
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gmmcli.data.json import MOST_LEVELS, nested_deeper
from gmmcli.data.scratch import Scratch
from gmmcli.data.source import Source
from gmmcli.errors import InputError
from tests.data.conftest import passed

KINDS = [
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 + 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-9, 9) | st.sampled_from([0.5, 2**63, 1e300]),
    st.sampled_from(["x", "2020-01-01", "2020-01-01 10:00:00", "", "é"]),
    st.booleans(),
    st.lists(st.none() | st.integers(0, 9) | st.just(0.5), max_size=3),
    st.lists(st.sampled_from(["x", "2020-01-01"]), max_size=2),
    st.fixed_dictionaries({}, optional={"u": st.integers(0, 9) | st.just(0.5), "v": st.just("2020-01-01")}),
]
COLUMN = st.one_of(
    *(st.lists(st.none() | kind, min_size=12, max_size=12) for kind in KINDS), st.lists(st.one_of(KINDS), min_size=1)
)


TEXT = st.text('ab"\\{}[]:, \n', max_size=6)
VALUE = st.recursive(TEXT | st.none(), lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=2))


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(TEXT, VALUE, max_size=3), min_size=1, max_size=5), st.booleans())
def test_depth_is_what_a_parser_finds(rows: list[dict[str, object]], over_lines: bool) -> None:
    content = "".join(json.dumps(row, indent=1 if over_lines else None) + "\n" for row in rows).encode()
    deepest = max(map(depth, rows))
    assert not nested_deeper(content, deepest)
    assert deepest == 1 or nested_deeper(content, deepest - 1)


@pytest.mark.parametrize(
    ("content", "deep"),
    [
        (b'{"a":1}\n' * 1000, False),
        (b'{"a":[1,2]}\r\n' * 1000, False),
        (b'{"a":"' + b"{" * 1000 + b'"}\n', False),
        (b'{"a":' * 200 + b"1" + b"}" * 200, True),
        (b'{"a":\n' * 200 + b"1" + b"}\n" * 200, True),
        (b'{"}":' * 200, True),
        (b'{"a":' + b"[" * 200, True),
        (b"}" * 500 + b"\n" + b'{"a":' * 200, True),
        (b'{"a\n' + b'{"a":' * 200, True),
    ],
)
def test_deep_content(content: bytes, deep: bool) -> None:
    assert nested_deeper(content, MOST_LEVELS) is deep
    if content.startswith(b'{"a":') and deep:
        assert read(content, None) == "stdin: not JSON lines: objects or lists nested more than 100 deep"


def read(content: bytes, memory: int | None) -> Any:
    """What comes of the lines: rows and types, or a message."""
    try:
        source = Source([], stdin=io.BytesIO(content), block_rows=5, scratch=Scratch(memory))
        table = passed(source)
        return table.schema, repr(table.to_pylist()), [rows.table.num_rows for rows in source.tables([])]
    except InputError as error:
        return str(error)


@settings(max_examples=200, deadline=None)
@given(st.lists(COLUMN, min_size=1, max_size=3), st.integers(1, 200))
@example([[None] * 5 + [1] * 5], 10)
@example([[None] * 12], 10)
@example([[1, 2, 3, 0.5]], 10)
@example([[1, 2, 2**63, 2**64 - 1]], 10)
@example([[1, 2, 2**63, 0.5]], 10)
@example([["2020-01-01", "x"]], 10)
@example([[{"u": 1}, {"v": "2020-01-01"}, {"u": 0.5}]], 10)
@example([[[], [1], [0.5]]], 10)
@example([[[None, None], [None, 1]]], 10)
def test_lines_in_pieces_are_what_they_are_at_once(columns: list[list[Any]], size: int) -> None:
    lines = [
        {f"c{d}": column[row] for d, column in enumerate(columns) if row < len(column) and (not d or (row + d) % 5)}
        for row in range(max(map(len, columns)))
    ]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    whole = read(content, None)
    with mock.patch("gmmcli.data.json._CHUNK_BYTES", size):
        pieces = read(content, 0)
    if isinstance(whole, str):
        assert isinstance(pieces, str)
        assert pieces == whole or "changes from" in whole
    else:
        assert pieces == whole


def test_a_change_of_type_is_told_with_its_row() -> None:
    with mock.patch("gmmcli.data.json._CHUNK_BYTES", 100):
        for before, after, message in [
            ("1", '"x"', "a changes from number to string in row 41"),
            ("[1]", "1", "a changes from array to number in row 41"),
            ("true", '{"b":1}', "a changes from boolean to object in row 41"),
        ]:
            content = f'{{"a":{before}}}\n' * 40 + f'{{"a":{after}}}\n' * 40
            assert read(content.encode(), 0) == f"stdin: {message}"
        content = '{"a":1}\n' * 40 + '{"a":,}\n' + '{"a":1}\n' * 40
        assert read(content.encode(), 0).startswith("stdin: not JSON lines in row 41: ")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_and_ends_of_lines(end: str) -> None:
    content = ("\ufeff" + end.join(['{"a":1}', "", "", '{"a":2}', " ", '{"a":3.5}'])).encode()
    for size in (1, 8, 100):
        with mock.patch("gmmcli.data.json._CHUNK_BYTES", size):
            schema, rows, _ = read(content, 0)
            assert (schema.types, rows) == ([pa.float64()], "[{'a': 1.0}, {'a': 2.0}, {'a': 3.5}]")


def test_objects_over_several_lines() -> None:
    lines = "".join(json.dumps({"a": i, "b": [i, None]}, indent=1) + "\n" for i in range(100)).encode()
    for memory in (None, 0):
        with mock.patch("gmmcli.data.json._CHUNK_BYTES", 50):
            schema, rows, _ = read(lines, memory)
    assert schema.types == [pa.int64(), pa.list_(pa.int64())]
    assert rows == repr([{"a": i, "b": [i, None]} for i in range(100)])


def test_a_line_that_is_too_long_is_refused() -> None:
    with mock.patch("gmmcli.data.json._LEAST_LONGEST_BYTES", 1 << 20):
        content = b'{"a":"y"}\n{"a":"' + b"x" * 6_000_000 + b'"}\n'
        assert "a line of more than 1 MiB" in read(content, 0)
        assert read(content, None)[0].types == [pa.string()]
