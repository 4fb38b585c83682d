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
- Cells that pyarrow can read as numbers, as `floats_of` does, need no such look at all of their text: `needs_text`,
  `parsed_facts`, `number_facts`. `other_facts` are those of cells that it cannot read all.
- `convert` makes the typed column of text, `not_numbers` tells which cells keep it from being numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from gmmcli.data.cell_bytes import has_empty, may_be_odd, may_be_one_of
from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import cell, false, null, pc, text
from gmmcli.data.formats import ReadOptions
from gmmcli.storage.names import printable

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


def text_facts(column: Column, options: ReadOptions) -> TextFacts:
    """The facts of a column of strings; cells that are null or among the null values count as missing."""
    facts = TextFacts()
    for chunk in [column] if isinstance(column, pa.Array) else column.chunks:
        cells = chunk.filter(pc.invert(_is_missing(chunk, options)))
        if not len(cells):
            continue
        if facts.numbers and _all(cells, _pattern(_NUMBER, options)):
            integers = facts.integers and _all(cells, _INTEGER) and _fits(cells)
            padded = _first(cells, pc.match_substring_regex(cells, _PADDED))
            new = TextFacts(True, True, integers, False, padded, _first(cells, _not_held(cells, options)))
        else:
            new = other_facts(cells, facts.booleans)
        facts = facts.merge(new)
        if not (facts.numbers or facts.booleans):
            break
    return facts


def other_facts(cells: pa.Array, booleans: bool = True) -> TextFacts:
    """The facts of strings that are not all numbers, null where missing. booleans: whether those before them are."""
    return TextFacts(True, False, False, booleans and _all(cells, _BOOLEAN))


def settled_type(facts: TextFacts, named: bool = False) -> pa.DataType:
    """The type of a column of text with these facts: int64, float64, boolean, or string where none is right.

    named: whether the column is used as numbers, whatever its kind; then it has a type of numbers.
    """
    kind = facts.kind
    if kind is ColumnKind.NUMBER or (named and facts.cells and facts.numbers):
        return pa.int64() if facts.integers else pa.float64()
    return pa.bool_() if kind is ColumnKind.BOOLEAN else pa.string()


def floats_of(cells: Column, options: ReadOptions) -> Any:
    """Strings, null where missing, as the float64 that pyarrow would parse; None where some are no such numbers.

    The same kind of column, array or chunked array.
    """
    if options.decimal != ".":
        if pc.any(pc.match_substring(cells, ".")).as_py():
            return None
        cells = pc.replace_substring(cells, options.decimal, ".")
    return parsed_as(cells, pa.float64())


def parsed_as(cells: Column, dtype: pa.DataType) -> Any:
    """Strings in a type, blanks around them left out; None where some are not of it."""
    for blanks in (False, True):
        try:
            return pc.cast(pc.utf8_trim(cells, " \t") if blanks else cells, dtype)
        except pa.ArrowInvalid:
            continue
    return None


def needs_text(typed: Column) -> bool:
    """Whether a parsed column of numbers may have leading zeros or cells that float64 does not hold.

    Only where a value is integral: a number beyond what float64 holds is one, or infinite, or zero.
    """
    if pa.types.is_integer(typed.type):
        return True
    values = float_column(typed)
    return bool((values == np.rint(values)).any())


def parsed_facts(typed: Column) -> TextFacts:
    """The facts of a column of numbers, as parsed, for which no text is needed."""
    if typed.null_count == len(typed):
        return TextFacts()
    return TextFacts(True, integers=pa.types.is_integer(typed.type), booleans=False)


def number_facts(column: Column, typed: Column, options: ReadOptions) -> TextFacts:
    """The facts of a column of strings that was parsed to numbers; as text_facts, but few cells are looked at.

    These are cells that may have leading zeros, be in hexadecimal or a negative zero, or fit no float64.
    """
    facts = parsed_facts(typed)
    values = np.abs(float_column(typed))
    closer = may_be_odd(column, facts.integers) | (values >= 10.0**_HELD_DIGITS)
    zeros = values == 0
    if not facts.integers and zeros.any():  # those of other digits than 0 were too small
        digits = pc.match_substring_regex(column.filter(flags(zeros)), "[1-9]")
        closer[zeros] |= float_column(digits) > 0
    return facts.merge(text_facts(column.filter(flags(closer)), options)) if closer.any() else facts


def convert(column: Column, dtype: pa.DataType, options: ReadOptions) -> Any:
    """The column of strings as its settled type. Null values become null in typed columns only."""
    if pa.types.is_string(dtype):
        return column
    if pa.types.is_floating(dtype):
        return parse(column, options)
    cells = without_missing(column, options)
    if pa.types.is_boolean(dtype):
        return pc.equal(pc.utf8_lower(cells), text("true"))
    return parsed_as(cells, dtype)


def parse(column: Column, options: ReadOptions) -> Column:
    """The column of text that is all numbers as float64, null where missing."""
    return _floats(without_missing(pc.cast(column, pa.string()), options), options)


def all_numbers(column: Column, options: ReadOptions) -> bool:
    """Whether each cell of a column of text is a number or missing."""
    return not pc.any(not_numbers(pc.cast(column, pa.string()), options)).as_py()


def not_numbers(column: Column, options: ReadOptions) -> Column:
    """True for each cell of a column of text that is neither missing nor a number."""
    number = pc.match_substring_regex(column, _pattern(_NUMBER, options))
    return pc.invert(pc.or_(_is_missing(column, options), pc.fill_null(number, false())))


def without_missing(column: Column, options: ReadOptions) -> Column:
    """The column of strings, those among the null values null."""
    return pc.if_else(_is_missing(column, options), null(pa.string()), column)


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
    """The named columns, one row of the result for each column, C-contiguous, NaN where missing.

    In float64; in float32, which takes half the memory, where all of them are that and no cell is missing.
    """
    found = [table.column(name) for name in columns]
    plain = [pa.types.is_float32(column.type) and column.null_count == 0 for column in found]
    cells = np.empty((len(columns), table.num_rows), np.float32 if all(plain) else np.float64)
    for values, column, is_plain in zip(cells, found, plain, strict=True):
        if is_plain:
            first = 0
            for chunk in column.chunks:  # converted, where they must be, as they are copied
                values[first : first + len(chunk)] = _plain_values(chunk, np.float32)
                first += len(chunk)
        else:
            values[:] = float_column(column)
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
    cells = _plain_values(array, np.float64)
    if not array.null_count:
        return cells
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[array.offset :][: len(array)]
    return np.where(valid, cells, np.nan)


def _plain_values(array: pa.Array, dtype: type[np.floating]) -> np.ndarray:  # (N,)
    """What the buffer of an array of this type has, whatever is missing."""
    values = array.buffers()[1]
    return np.frombuffer(values, dtype)[array.offset :][: len(array)] if len(array) else np.empty(0, dtype)


# ---- cells of text


def _floats(cells: Column, options: ReadOptions) -> Column:
    if options.decimal != ".":
        cells = pc.replace_substring(cells, options.decimal, ".")
    return parsed_as(cells, pa.float64())


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


def _is_missing(column: Column, options: ReadOptions) -> Column:
    nulls = pc.is_null(column)
    if not (may_be_one_of(column, options.null_values) or has_empty(column)):
        return nulls
    values = pa.concat_arrays([cell(value) for value in {"", *options.null_values}]).cast(column.type)
    return pc.or_kleene(nulls, pc.is_in(column, value_set=values))


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
