"""What counts as a number, and numbers as float64: the one place that decides it, for reading and for writing.

- A column with a type counts by its type: `kind_of`.
- A column of delimited text counts by all of its cells: `text_facts` finds what holds for them, `TextFacts.kind`
  and `settled_type` read the kind and the type off that. It is a column of numbers when every cell that is not
  missing is written as a number, no integer among them has leading zeros (`007`, `00`, not `0`, `0.5` or `00.5`)
  and int64 or float64 holds them. With leading zeros, or of more digits than are held, it is an identifier: text.
- Text whose every cell is a number is used as numbers where the user, or a model, names the column: `all_numbers`
  and `parse`. That makes no difference between an identifier in a CSV and in the Parquet written of it.
- `float_column`, `float_table`, `float_columns`: cells as float64, NaN where missing; `values_as_floats`: the column
  of them. `inexact_integer`: what is lost by it.
- A column that pyarrow has parsed to numbers needs no such look at all of its text: `needs_text`, `parsed_facts`,
  `number_facts`. `looks_whole` and `numbers_of` are for columns whose text is read instead.
- `convert` makes the typed column of text, `stray_cells` tells which cells keep it from being numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import false, null, pc, text
from gmmcli.data.formats import ReadOptions
from gmmcli.names import printable

Column: TypeAlias = "pa.Array | pa.ChunkedArray"

_NUMBER = r"^[ \t]*[+-]?(?i:([0-9]+POINT?[0-9]*|POINT[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)[ \t]*$"
_PADDED = r"^[ \t]*[+-]?0[0-9]+[ \t]*$"
_INTEGER = r"^[ \t]*(0+|-?0*[1-9][0-9]{0,18})[ \t]*$"
_HELD_DIGITS = 15  # that float64 holds of any integer; a fraction is a measure, whose last digits are rounded anyway
_HELD = (
    r"^[ \t]*[+-]?(?i:"
    rf"0*[0-9]{{1,{_HELD_DIGITS}}}"
    r"|([0-9]+POINT[0-9]*|POINT[0-9]+)(e[+-]?[0-9]{1,3})?"
    r"|[0-9]+e[+-]?[0-9]{1,3}"
    r"|inf|infinity|nan"
    r")[ \t]*$"
)
_ZERO = r"^[ \t]*[+-]?(0|POINT)+([eE]|[ \t]*$)"
_SUSPECT = r"^[ \t+-]*0[0-9xX]|^[ \t]*-0[ \t]*$"
_BOOLEAN = r"^(?i:true|false)$"


# ---- types


def kind_of(dtype: pa.DataType) -> ColumnKind:
    """The kind of a column of this type; a dictionary's is that of its values."""
    if isinstance(dtype, pa.DictionaryType):
        return kind_of(dtype.value_type)
    types = pa.types
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return ColumnKind.NUMBER
    if types.is_boolean(dtype):
        return ColumnKind.BOOLEAN
    if types.is_null(dtype):
        return ColumnKind.EMPTY
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return ColumnKind.TEXT
    if types.is_temporal(dtype):
        return ColumnKind.TIME
    return ColumnKind.NESTED if types.is_nested(dtype) else ColumnKind.BINARY


# ---- text


@dataclass(frozen=True)
class TextFacts:
    """What holds for the cells of a column of text that are not missing; without such cells, for none.

    cells: whether there are any. numbers: each is written as a number. integers: each is an integer that int64
    holds. booleans: each is true or false. padded: an integer with leading zeros, wide: a number that float64
    does not hold; None where there is none. The last two are known only of numbers.
    """

    cells: bool = False
    numbers: bool = True
    integers: bool = True
    booleans: bool = True
    padded: str | None = None
    wide: str | None = None

    @property
    def kind(self) -> ColumnKind:
        """The kind of the column: number, boolean, text or empty."""
        if not self.cells:
            return ColumnKind.EMPTY
        if self.numbers and self.padded is None and (self.integers or self.wide is None):
            return ColumnKind.NUMBER
        return ColumnKind.BOOLEAN if self.booleans else ColumnKind.TEXT

    @property
    def detail(self) -> str:
        """Why a column whose cells all are numbers does not count as numbers."""
        if self.padded is not None:
            return f"numbers with leading zeros, such as {printable(self.padded)}"
        return f"numbers that float64 does not hold, such as {printable(self.wide)}" if self.wide is not None else ""

    def merge(self, other: TextFacts) -> TextFacts:
        """What holds for the cells of both; the facts of no cells change nothing."""
        return TextFacts(
            self.cells or other.cells,
            self.numbers and other.numbers,
            self.integers and other.integers,
            self.booleans and other.booleans,
            other.padded if self.padded is None else self.padded,
            other.wide if self.wide is None else self.wide,
        )


def text_facts(column: pa.ChunkedArray, options: ReadOptions) -> TextFacts:
    """The facts of a column of strings; cells that are null or among the null values count as missing."""
    facts = TextFacts()
    for chunk in column.chunks:
        cells = chunk.filter(pc.invert(_is_missing(chunk, options)))
        if not len(cells):
            continue
        if facts.numbers and _all(cells, _pattern(_NUMBER, options)):
            integers = facts.integers and _all(cells, _INTEGER) and _fits(cells)
            padded = _first(cells, pc.match_substring_regex(cells, _PADDED))
            new = TextFacts(True, True, integers, False, padded, _first(cells, _not_held(cells, options)))
        else:
            new = TextFacts(True, False, False, facts.booleans and _all(cells, _BOOLEAN))
        facts = facts.merge(new)
        if not (facts.numbers or facts.booleans):
            break
    return facts


def settled_type(facts: TextFacts, named: bool = False) -> pa.DataType:
    """The type of a column of text with these facts: int64, float64, boolean, or string where none is right.

    named: whether the column is used as numbers, whatever its kind; then it has a type of numbers.
    """
    kind = facts.kind
    if kind is ColumnKind.NUMBER or (named and facts.cells and facts.numbers):
        return pa.int64() if facts.integers else pa.float64()
    return pa.bool_() if kind is ColumnKind.BOOLEAN else pa.string()


def needs_text(column: pa.ChunkedArray) -> bool:
    """Whether a parsed column of numbers may have leading zeros or cells that float64 does not hold.

    Only where a value is integral: a number beyond what float64 holds is one, or infinite, or zero.
    """
    if pa.types.is_integer(column.type):
        return True
    return any((cells == np.rint(cells)).any() for cells in map(_values, column.chunks))


def parsed_facts(typed: pa.ChunkedArray) -> TextFacts:
    """The facts of a column of numbers, as parsed, for which no text is needed."""
    if typed.null_count == len(typed):
        return TextFacts()
    return TextFacts(True, integers=pa.types.is_integer(typed.type), booleans=False)


def number_facts(column: pa.ChunkedArray, typed: pa.ChunkedArray, options: ReadOptions) -> TextFacts:
    """The facts of a column of strings that was parsed to numbers; as text_facts, but few cells are looked at.

    These are cells that may have leading zeros, be in hexadecimal or a negative zero, or fit no float64.
    """
    facts = parsed_facts(typed)
    suspects = pc.match_substring_regex(column, _SUSPECT)
    if pc.any(suspects).as_py():
        facts = facts.merge(text_facts(column.filter(suspects), options))
    values = np.abs(float_column(typed))
    extreme = values >= 10.0**_HELD_DIGITS
    if not facts.integers:
        extreme |= values == 0
    if extreme.any():
        facts = facts.merge(text_facts(column.filter(flags(extreme)), options))
    return facts


def looks_whole(cell: str) -> bool:
    """Whether a cell is written as a whole number."""
    return re.fullmatch(r"[ \t]*[+-]?[0-9]+[ \t]*", cell) is not None


def numbers_of(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The column of strings, null where missing, as the numbers that pyarrow would infer; None where it would not."""
    cells = pc.utf8_trim(column, " \t")
    for dtype in (pa.int64(), pa.float64()):
        try:
            return pc.cast(cells, dtype)
        except pa.ArrowInvalid:
            continue
    return None


def convert(column: Column, dtype: pa.DataType, options: ReadOptions) -> Column:
    """The column of strings as its settled type. Null values become null in typed columns only."""
    if pa.types.is_string(dtype):
        return column
    if pa.types.is_floating(dtype):
        return parse(column, options)
    cells = _without_missing(column, options)
    if pa.types.is_boolean(dtype):
        return pc.equal(pc.utf8_lower(cells), text("true"))
    return pc.cast(pc.utf8_trim(cells, " \t"), dtype)


def parse(column: Column, options: ReadOptions) -> Column:
    """The column of text that is all numbers as float64, null where missing."""
    return _floats(_without_missing(pc.cast(column, pa.string()), options), options)


def all_numbers(column: Column, options: ReadOptions) -> bool:
    """Whether each cell of a column of text is a number or missing."""
    return not pc.any(_not_numbers(pc.cast(column, pa.string()), options)).as_py()


def stray_cells(column: pa.ChunkedArray, options: ReadOptions, sample: int) -> str:
    """Which cells keep a column of text from being numbers, when most of the first `sample` are; else empty."""
    head = column.slice(0, sample)
    if 2 * (pc.sum(_not_numbers(head, options)).as_py() or 0) >= len(head):
        return ""
    strays = _not_numbers(column, options)
    count = pc.sum(strays).as_py()
    if count == 0:
        return ""
    row = pc.index(strays, True).as_py()
    verb = "cell is not a number" if count == 1 else "cells are not numbers"
    return f"{count} {verb}, the first '{printable(column[row].as_py())}' in row {row + 1}"


# ---- float64


def float_column(column: Column) -> np.ndarray:  # (N,)
    """The cells as float64, NaN where missing. Integers above 2^53 are rounded to the nearest float64."""
    if isinstance(column.type, pa.DictionaryType):
        column = pc.cast(column, column.type.value_type)
    column = values_as_floats(column)
    if isinstance(column, pa.Array):
        return _values(column)
    return np.concatenate([np.empty(0), *map(_values, column.chunks)])


def values_as_floats(column: Column) -> Column:
    """Numbers as the nearest float64, null where missing.

    Decimals by their text: pyarrow multiplies their digits by a power of ten, and both are rounded.
    """
    if pa.types.is_float64(column.type):
        return column
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.string())
    return pc.cast(column, pa.float64(), safe=False)


def inexact_integer(column: pa.ChunkedArray) -> int | None:
    """The first cell, of a column of integers, that float64 does not hold; None where there is none."""
    if not pa.types.is_integer(column.type) or column.type.bit_width < 64:
        return None
    kind = np.int64 if pa.types.is_signed_integer(column.type) else np.uint64
    first = 0
    for chunk in column.chunks:
        suspects = np.flatnonzero(np.abs(float_column(chunk)) >= 2.0**53)  # not those that are missing, NaN here
        if len(suspects):
            cells = np.frombuffer(chunk.buffers()[1], kind)[chunk.offset :][suspects]
            sizes = np.abs(cells).view(np.uint64)  # of -2^63 too, whose size int64 has not
            lost = suspects[sizes // (sizes & (~sizes + np.uint64(1))) >= 2**53]  # odd factors of more than 53 bits
            if len(lost):
                return column[first + int(lost[0])].as_py()
        first += len(chunk)
    return None


def float_table(table: pa.Table, columns: Sequence[str]) -> np.ndarray:  # (N, D)
    """The named columns as float64, one row of the result for each row, C-contiguous, NaN where missing."""
    cells = np.empty((table.num_rows, len(columns)))
    for d, name in enumerate(columns):
        cells[:, d] = float_column(table.column(name))
    return cells


def float_columns(table: pa.Table, columns: Sequence[str]) -> np.ndarray:  # (D, N)
    """The named columns as float64, one row of the result for each column, C-contiguous, NaN where missing."""
    cells = np.empty((len(columns), table.num_rows))
    for d, name in enumerate(columns):
        cells[d] = float_column(table.column(name))
    return cells


def flags(values: np.ndarray) -> pa.Array:
    """Booleans (N,) as an arrow array."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def _values(array: pa.Array) -> np.ndarray:  # (N,)
    """A float64 array off its buffers; its to_numpy would import pandas, which takes 0.3 s."""
    validity, values = array.buffers()
    if not len(array) or values is None:
        return np.full(len(array), np.nan)
    cells = np.frombuffer(values, np.float64)[array.offset :][: len(array)]
    if not array.null_count:
        return cells
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[array.offset :][: len(array)]
    return np.where(valid, cells, np.nan)


# ---- cells of text


def _floats(cells: Column, options: ReadOptions) -> Column:
    return pc.cast(pc.replace_substring(pc.utf8_trim(cells, " \t"), options.decimal, "."), pa.float64())


def _not_held(cells: pa.Array, options: ReadOptions) -> pa.Array:
    """Numbers with too many digits, and those that become infinite or zero without saying so."""
    values = _floats(cells, options)
    infinite = pc.match_substring(cells, "inf", ignore_case=True)
    zero = pc.match_substring_regex(cells, _pattern(_ZERO, options))
    held = pc.match_substring_regex(cells, _pattern(_HELD, options))
    told = pc.and_(
        pc.equal(pc.is_inf(values), infinite), pc.equal(pc.equal(values, pc.subtract(values, values)), zero)
    )
    return pc.invert(pc.and_(held, told))


def _not_numbers(column: Column, options: ReadOptions) -> Column:
    """True for each cell that is neither missing nor a number."""
    number = pc.match_substring_regex(column, _pattern(_NUMBER, options))
    return pc.invert(pc.or_(_is_missing(column, options), pc.fill_null(number, false())))


def _is_missing(column: Column, options: ReadOptions) -> Column:
    # By a pattern, since arrow arrays and scalars made from Python values import pandas, which takes 0.3 s.
    values = "|".join(re.escape(value) for value in options.null_values)
    return pc.or_kleene(pc.is_null(column), pc.match_substring_regex(column, f"^(?:{values})$"))


def _without_missing(column: Column, options: ReadOptions) -> Column:
    return pc.if_else(_is_missing(column, options), null(pa.string()), column)


def _pattern(pattern: str, options: ReadOptions) -> str:
    return pattern.replace("POINT", "[.]" if options.decimal == "." else options.decimal)


def _all(cells: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(cells, pattern)).as_py()


def _first(cells: pa.Array, chosen: pa.Array) -> str | None:
    found = cells.filter(chosen)
    return found[0].as_py().strip(" \t") if len(found) else None


def _fits(cells: pa.Array) -> bool:
    try:
        pc.cast(pc.utf8_trim(cells, " \t"), pa.int64())
    except pa.ArrowInvalid:
        return False
    return True
