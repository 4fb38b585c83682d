"""Numbers in text: recognition of columns that hold numbers, and their cells as float64.

A `ColumnSurvey` looks at all cells of a column of delimited text, piece by piece. The column holds numbers if every
cell that is not missing is written as a number, no integer has leading zeros (`007`, `00`; not `0`, `0.5` or `00.5`),
and int64 or float64 holds each number. Numbers with leading zeros or too many digits are identifiers, and so text.

A column of text whose every cell is a number is parsed if the user or a model names it. So an identifier is the same
in a CSV file and in the Parquet file written from it.

- `TextFacts`: facts about the cells of a column of text, from which its kind and type follow.
- `floats_of`, `parse`, `convert`: text as float64, and as its type. `without_missing`: null values as nulls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import Column, cell, flags, float_column, null, pc, text
from gmmcli.data.formats import ReadOptions
from gmmcli.storage.names import printable

_NUMBER = r"^[ \t]*[+-]?(?i:([0-9]+POINT?[0-9]*|POINT[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)[ \t]*$"
_PADDED = r"^[ \t]*[+-]?0[0-9]+[ \t]*$"
_INTEGER = r"^[ \t]*(0+|-?0*[1-9][0-9]{0,18})[ \t]*$"
_HELD_DIGITS = 15  # float64 holds so many digits of any integer; the last digits of a fraction are rounded anyway
_LONG = rf"^[ \t]*[+-]?0*[1-9][0-9]{{{_HELD_DIGITS},}}[ \t]*$"
_ZERO = r"^[ \t]*[+-]?(0|POINT)+([eE]|[ \t]*$)"
_BOOLEAN = r"^(?i:true|false)$"
_SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class TextFacts:
    """Facts about the cells of a column of text that are not missing; the defaults hold for no cells.

    cells: whether there are any. numbers: whether each is a number. integers: whether each is an integer that int64
    holds. booleans: whether each is true or false. padded: an integer with leading zeros, or None. wide: a number
    that float64 does not hold, or None. Both are known for columns of numbers only.
    """

    cells: bool = False
    numbers: bool = True
    integers: bool = True
    booleans: bool = True
    padded: str | None = None
    wide: str | None = None

    @property
    def kind(self) -> ColumnKind:
        """Kind of the column: number, boolean, text or empty."""
        if not self.cells:
            return ColumnKind.EMPTY
        if self.numbers and self.padded is None and (self.integers or self.wide is None):
            return ColumnKind.NUMBER
        return ColumnKind.BOOLEAN if self.booleans else ColumnKind.TEXT

    def type(self, used: bool = False) -> pa.DataType:
        """Type of the column: int64, float64, boolean, or else string.

        used: whether a model uses the column as numbers; it then gets a type of numbers, whatever its kind.
        """
        if self.kind is ColumnKind.NUMBER or (used and self.cells and self.numbers):
            return pa.int64() if self.integers else pa.float64()
        return pa.bool_() if self.kind is ColumnKind.BOOLEAN else pa.string()

    def merge(self, other: TextFacts) -> TextFacts:
        """Facts about the cells of both columns."""
        return TextFacts(
            self.cells or other.cells,
            self.numbers and other.numbers,
            self.integers and other.integers,
            self.booleans and other.booleans,
            other.padded if self.padded is None else self.padded,
            other.wide if self.wide is None else self.wide,
        )


class ColumnSurvey:
    """Facts about a column of strings, null if missing, collected piece by piece."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.facts = TextFacts()
        self._whole = True  # whether pyarrow reads each cell as int64, in hexadecimal too
        self._rows = self._strays = self._head_strays = 0
        self._first_stray = ""

    def add(self, cells: pa.Array) -> pa.Array | None:
        """Add more cells. Returns them as float64, null if missing, or None if some are not numbers."""
        values = floats_of(cells, self._options)
        if cells.null_count < len(cells):
            integers = parsed_as(cells, pa.int64()) if self._whole else None
            self._whole = integers is not None
            if values is None:
                booleans = self.facts.booleans and _all(cells, _BOOLEAN)
                self.facts = self.facts.merge(TextFacts(True, False, False, booleans))
                self._count_strays(cells)
            else:
                typed = values if integers is None else integers
                self.facts = self.facts.merge(_number_facts(cells, typed, self._options))
        self._rows += len(cells)
        return values

    @property
    def detail(self) -> str:
        """Reason why text that resembles numbers is text: identifiers, or some stray cells; else empty."""
        facts = self.facts
        if facts.kind is not ColumnKind.TEXT:
            return ""
        if facts.numbers and facts.padded is not None:
            return f"numbers with leading zeros, such as {printable(facts.padded)}"
        if facts.numbers:
            return f"numbers that float64 does not hold, such as {printable(facts.wide or '')}"
        if not self._strays or 2 * self._head_strays >= min(self._rows, _SAMPLE_ROWS):
            return "numbers in hexadecimal" if self._whole else ""
        verb = "cell is not a number" if self._strays == 1 else "cells are not numbers"
        return f"{self._strays} {verb}, the first {self._first_stray}"

    def _count_strays(self, cells: pa.Array) -> None:
        """Count the cells that are not numbers, unless these were most of the first cells."""
        if self._rows >= _SAMPLE_ROWS and 2 * self._head_strays >= _SAMPLE_ROWS:
            return
        strays = _not_numbers(cells, self._options)
        self._head_strays += pc.sum(strays.slice(0, max(0, _SAMPLE_ROWS - self._rows))).as_py() or 0
        count = pc.sum(strays).as_py() or 0
        if count and not self._strays:
            row = pc.indices_nonzero(strays)[0].as_py()
            self._first_stray = f"'{printable(cells[row].as_py())}' in row {self._rows + row + 1}"
        self._strays += count


def _number_facts(cells: pa.Array, typed: pa.Array, options: ReadOptions) -> TextFacts:
    """Facts about strings that were all parsed to int64 or else float64.

    Patterns match only cells that may have leading zeros, may be a negative zero, or have more digits than float64
    holds. A pattern takes about 40 ns a cell, a look at a byte 3 ns, parsing a number 20 ns.
    """
    facts = TextFacts(True, integers=pa.types.is_integer(typed.type), booleans=False)
    values = np.abs(float_column(typed))
    if not facts.integers and not (values == np.rint(values)).any():
        return facts  # leading zeros and too many digits occur in integral values, zero and infinity only
    suspect = _may_be_odd(cells, facts.integers) | (values >= 10.0**_HELD_DIGITS)
    zeros = values == 0
    if not facts.integers and zeros.any():  # a zero with other digits than 0 is a number too small for float64
        suspect[zeros] |= float_column(pc.match_substring_regex(cells.filter(flags(zeros)), "[1-9]")) > 0
    suspects = cells.filter(flags(suspect)).drop_null()
    if not len(suspects):
        return facts
    if not _all(suspects, _pattern(_NUMBER, options)):
        return replace(facts, numbers=False, integers=False)
    padded = _first(suspects, pc.match_substring_regex(suspects, _PADDED))
    wide = _first(suspects, _not_held(suspects, options))
    return replace(facts, integers=facts.integers and _all(suspects, _INTEGER), padded=padded, wide=wide)


# ---- text as values


def floats_of(cells: Column, options: ReadOptions) -> Any:
    """Strings, null if missing, as float64, in an array or chunked array as before; None if some are not numbers."""
    if options.decimal != ".":
        if pc.any(pc.match_substring(cells, ".")).as_py():
            return None
        cells = pc.replace_substring(cells, options.decimal, ".")
    return parsed_as(cells, pa.float64())


def parsed_as(cells: Column, dtype: pa.DataType) -> Any:
    """Strings as this type, without blanks around them; None if some do not have it."""
    for blanks in (False, True):
        try:
            return pc.cast(pc.utf8_trim(cells, " \t") if blanks else cells, dtype)
        except pa.ArrowInvalid:
            continue
    return None


def convert(column: Column, dtype: pa.DataType, options: ReadOptions) -> Any:
    """Strings as the type of their column, null values as null unless it is string; None if some do not have it."""
    if pa.types.is_string(dtype):
        return column
    if pa.types.is_floating(dtype):
        return parse(column, options)
    cells = without_missing(column, options)
    return pc.equal(pc.utf8_lower(cells), text("true")) if pa.types.is_boolean(dtype) else parsed_as(cells, dtype)


def parse(column: Column, options: ReadOptions) -> Any:
    """Text as float64, null if missing; None if some cells are neither a number nor missing."""
    return floats_of(without_missing(pc.cast(column, pa.string()), options), options)


def without_missing(column: Column, options: ReadOptions) -> Any:
    """Strings, null if empty or among the null values."""
    return pc.if_else(_is_missing(column, options), null(pa.string()), column)


def _not_numbers(column: Column, options: ReadOptions) -> Any:
    """Mask of strings that are neither missing nor a number."""
    number = pc.match_substring_regex(column, _pattern(_NUMBER, options))
    return pc.invert(pc.or_kleene(_is_missing(column, options), number))


def _is_missing(column: Column, options: ReadOptions) -> Any:
    """Mask of strings that are null, empty or among the null values. First bytes rule out most comparisons."""
    texts = set(options.missing_texts)
    begins = np.zeros(256, bool)
    begins[[text.encode()[0] if text else 0 for text in texts]] = True
    arrays = [column] if isinstance(column, pa.Array) else column.chunks
    if not any(begins[_byte(array, 0)].any() for array in arrays):
        return pc.is_null(column)
    values = pa.concat_arrays([cell(text) for text in texts]).cast(column.type)
    return pc.or_kleene(pc.is_null(column), pc.is_in(column, value_set=values))


def _not_held(cells: pa.Array, options: ReadOptions) -> pa.Array:
    """Mask of numbers with too many digits, and of finite numbers other than 0 that become infinite or 0."""
    values = floats_of(cells, options)
    infinite = pc.match_substring(cells, "inf", ignore_case=True)
    zero = pc.match_substring_regex(cells, _pattern(_ZERO, options))
    is_zero = pc.equal(values, pc.subtract(values, values))  # false for NaN and infinity
    too_far = pc.or_(pc.not_equal(pc.is_inf(values), infinite), pc.not_equal(is_zero, zero))
    return pc.or_(pc.match_substring_regex(cells, _LONG), too_far)


def _pattern(pattern: str, options: ReadOptions) -> str:
    return pattern.replace("POINT", "[.]" if options.decimal == "." else options.decimal)


def _all(cells: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(cells, pattern)).as_py()


def _first(cells: pa.Array, mask: pa.Array) -> str | None:
    chosen = cells.filter(mask)
    return chosen[0].as_py().strip(" \t") if len(chosen) else None


# ---- bytes of cells


_ALL = np.arange(256)
_LEADS = np.isin(_ALL, list(b" \t+"))  # before the digits of an integer with leading zeros
_GOES_ON = np.isin(_ALL, list(b"0123456789xX"))  # after 0 they make leading zeros, or a hexadecimal number
_ENDS = np.isin(_ALL, list(b"\0 \t"))  # after -0 they make a negative zero; byte 0 stands for the end of the cell


def _may_be_odd(array: pa.Array, negative_zeros: bool) -> np.ndarray:  # (N,) bool
    """Mask of strings that may have leading zeros, be hexadecimal or, with `negative_zeros`, -0."""
    first, second = _byte(array, 0), _byte(array, 1)
    odd = _LEADS[first] | ((first == ord("0")) & _GOES_ON[second])
    minus = (first == ord("-")) & (second == ord("0"))
    if minus.any():
        third = _byte(array, 2)
        odd |= minus & (_GOES_ON[third] | (negative_zeros & _ENDS[third]))
    return odd


def _byte(array: pa.Array, index: int) -> np.ndarray:  # (N,) uint8
    """Byte of each string at this index, 0 beyond its end, undefined for a missing cell."""
    _, offsets, values = array.buffers()
    if not len(array) or values is None or not values.size:
        return np.zeros(len(array), np.uint8)
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(values, np.uint8)
    indices = bounds[:-1] + index
    return np.where(indices < bounds[1:], content[np.minimum(indices, len(content) - 1)], 0)
