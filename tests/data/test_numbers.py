"""What holds for the cells of a column: told of parsed numbers with few looks at their text, and the same."""

from __future__ import annotations

import io
import math
import re
from decimal import Decimal
from unittest import mock

import pyarrow as pa
import pyarrow.csv as pacsv
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import float_column, inexact_integer, kind_of
from gmmcli.data.formats import ReadOptions
from gmmcli.data.numbers import ColumnSurvey, TextFacts
from gmmcli.data.scratch import Scratch
from gmmcli.data.source import Source
from gmmcli.errors import InputError
from tests.data.conftest import details, kinds

ODD = [
    "0", "-0", "-0.0", "007", "-01", "00", "0.5", "00.5", ".5", "5.", " 5", "5\t", "0x1F", "1e3", "1e400", "1e-400",
    "999999999999999", "1000000000000000", "9007199254740993", "9223372036854775807", "99999999999999999999",
    "1234567890123456.5", "inf", "-Infinity", "nan", "NA", "",
]  # fmt: skip


def facts_by_definition(cells: list[str]) -> tuple[bool, bool, bool, bool]:
    """Whether cells are numbers, integers that int64 holds, with leading zeros, and beyond float64: as documented."""
    found = [cell.strip(" \t") for cell in cells if cell not in ReadOptions().null_values]
    whole = [re.fullmatch("0+|-?0*[1-9][0-9]{0,18}", cell) is not None and abs(int(cell)) < 2**63 for cell in found]
    padded = [re.fullmatch("[+-]?0[0-9]+", cell) is not None for cell in found]
    return all(map(is_number, found)), all(whole), any(padded), any(map(is_wide, found))


def is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", cell, re.I) is not None


def is_wide(cell: str) -> bool:
    """Whether a number is an integer of more digits than float64 always holds, or becomes infinite or zero."""
    if re.fullmatch("[+-]?[0-9]+", cell):
        return len(cell.lstrip("+-0")) > 15
    value, exact = float(cell), "inf" in cell.lower() or "nan" in cell.lower() or Decimal(cell)
    return not isinstance(exact, bool) and (math.isinf(value) or (value == 0) != (exact == 0))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(ODD) | st.integers(-(2**65), 2**65).map(str) | st.floats(allow_nan=False).map(repr),
        min_size=1,
    )
)
@example(["0", "-0"])
@example(["1.5", "0x1F"])
@example(["1.5", "1000000000000000"])
def test_facts_are_those_of_the_definition(cells: list[str]) -> None:
    nulls = ReadOptions().null_values
    survey = ColumnSurvey(ReadOptions())
    survey.add(pa.array([None if cell in nulls else cell for cell in cells], pa.string()))
    numbers, integers, padded, wide = facts_by_definition(cells) if survey.facts.numbers else (False,) * 4
    facts = survey.facts
    if any(cell not in nulls for cell in cells):
        assert facts.numbers == all(is_number(cell.strip(" \t")) for cell in cells if cell not in nulls)
        if numbers:
            assert (facts.integers, facts.padded is not None, facts.wide is not None) == (integers, padded, wide)
    else:
        assert facts == TextFacts()


def facts_of(source: Source) -> tuple[object, ...]:
    """All that a source tells of its columns, and their numbers where they have any."""
    numeric = [name for name, kind in kinds(source).items() if kind is ColumnKind.NUMBER]
    tables = [repr(rows.x.tolist()) for rows in source.tables(numeric, missing="drop")]
    try:
        blocks = [repr(block.x.tolist()) for block in source.blocks(["b", *numeric[:-1]], missing="keep")]
    except InputError as error:
        blocks = [str(error)]
    return kinds(source), details(source), source.schema(typed=True), tables, blocks


TRUTHS = ["x", "true", "TRUE", "tRUE", "1", "0"]
TIMES = [
    "2020-01-01", "0001-01-01", "2020-01-01 10:00", "2020-01-01 10:00:00.5", "2020-01-01T10:00:00Z",
    "12:30", "24:00",
]  # fmt: skip
COLUMNS = st.lists(
    st.sampled_from([*ODD, '"7"', '"a,b"', '""', '"NA"'])
    | st.sampled_from(TRUTHS)
    | st.sampled_from(TIMES)
    | st.integers(-(2**65), 2**65).map(str),
    min_size=1,
)


@settings(max_examples=300, deadline=None)
@given(COLUMNS)
@example(["1", "2.5"])
@example(["1", "true"])
@example(["0", "2", "true"])
@example(["7", "x"])
@example(["7", "99999999999999999999"])
@example(["0x1F", "1.5"])
@example(["0", "0", "0x1F", "0x1F", "0x1F"])
@example(["1000000000000000", "0.5"])
@example(["0", "1e-400", "1000000000000000"])
@example(["2020-01-01", "2020-01-01 10:00:00.5"])
def test_a_column_in_pieces_is_what_it_is_in_one_piece_and_to_pyarrow(cells: list[str]) -> None:
    content = ("a,b\n" + "".join(f"{cell},1.5\n" for cell in cells)).encode()
    with mock.patch("gmmcli.data.numbers._SAMPLE_ROWS", 3):
        whole = Source([], stdin=io.BytesIO(content))
        found = facts_of(whole)
        with mock.patch.multiple("gmmcli.data.csv_text", _PARSE_BYTES=40, _COLUMN_BYTES=1):
            assert facts_of(Source([], stdin=io.BytesIO(content))) == found
            assert facts_of(Source([], stdin=io.BytesIO(content), scratch=Scratch(0))) == found
    convert = pacsv.ConvertOptions(null_values=list(ReadOptions().missing_texts), strings_can_be_null=True)
    inferred = kind_of(pacsv.read_csv(io.BytesIO(content), convert_options=convert).column("a").type)
    if inferred is ColumnKind.NUMBER and kinds(whole)["a"] is ColumnKind.TEXT:
        # identifiers, and cells in hexadecimal, which pyarrow takes for integers
        assert re.match(r"numbers |(1 cell is not a number|\d+ cells are not numbers)\b", details(whole)["a"])
    elif inferred in (ColumnKind.BOOLEAN, ColumnKind.TIME):
        assert kinds(whole)["a"] in (ColumnKind.BOOLEAN, ColumnKind.TEXT)
    else:
        assert kinds(whole)["a"] in (inferred, ColumnKind.BOOLEAN)  # true in letters that pyarrow does not know


@given(st.lists(st.integers(-(10**30), 10**30), min_size=1), st.integers(0, 30))
@example([-13210], 5)
def test_decimals_are_read_as_the_nearest_float64(digits: list[int], scale: int) -> None:
    cells = [Decimal(number).scaleb(-scale) for number in digits]
    for dtype in (pa.decimal128(38, scale), pa.decimal256(70, scale)):
        column = pa.chunked_array([pa.array(cells[:1], dtype), pa.array(cells[1:], dtype)])
        assert float_column(column).tolist() == [float(str(cell)) for cell in cells]


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(2**53, 2**63 - 1).map(lambda n: n >> 5 << 5))
)
@example([None, -(2**63), 2**53, -(2**53) - 1])
@example([2**63 - 1])
def test_integers_that_float64_does_not_hold(cells: list[int | None]) -> None:
    lost = [n for n in cells if n is not None and int(float(n)) != n]
    halves = [pa.array([0, *half], pa.int64())[1:] for half in (cells[:2], cells[2:])]
    assert inexact_integer(pa.chunked_array(halves)) == (lost[0] if lost else None)
    sizes = [None if n is None else n + 2**63 for n in cells]
    lost = [n for n in sizes if n is not None and int(float(n)) != n]
    assert inexact_integer(pa.chunked_array([pa.array(sizes, pa.uint64())])) == (lost[0] if lost else None)
