"""Types for text: what a column of strings may become when it is written to a typed format, losing nothing.

- `TextFacts`: what holds for all cells of a column; facts of several files merge.
- `text_facts` finds them, `settled_type` reads the type off them, `convert` makes the typed column.
- `not_numbers`: which cells of a column are neither numbers nor missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from gmmcli.data.compute import pc
from gmmcli.data.formats import ReadOptions

# An integer that float64 may not hold exactly is an identifier rather than a measure: at most 15 digits.
_INTEGER = r"^[ \t]*(0|-?[1-9][0-9]{0,18})[ \t]*$"
_LOSSLESS = (
    r"^[ \t]*[+-]?("
    r"0|[1-9][0-9]{0,14}"
    r"|((0|[1-9][0-9]*)POINT[0-9]*|POINT[0-9]+)([eE][+-]?[0-9]{1,3})?"
    r"|(0|[1-9][0-9]*)[eE][+-]?[0-9]{1,3}"
    r"|inf|Inf|infinity|Infinity"
    r")[ \t]*$"
)
_NUMBER = r"^[ \t]*[+-]?(?i:([0-9]+POINT?[0-9]*|POINT[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)[ \t]*$"
_ZERO = r"^[ \t]*[+-]?[0POINT]+([eE]|[ \t]*$)"
_BOOLEAN = r"^(?i:true|false)$"


@dataclass(frozen=True)
class TextFacts:
    """Whether there is a cell that is not missing, and whether all such are integers, numbers, booleans.

    integers: as int64 writes them, so without leading zeros or a plus. numbers: that float64 holds, without
    leading zeros.
    """

    cells: bool = False
    integers: bool = True
    numbers: bool = True
    booleans: bool = True

    def merge(self, other: TextFacts) -> TextFacts:
        """What holds for the cells of both; the facts of no cells change nothing."""
        return TextFacts(
            self.cells or other.cells,
            self.integers and other.integers,
            self.numbers and other.numbers,
            self.booleans and other.booleans,
        )


def text_facts(column: pa.ChunkedArray, options: ReadOptions) -> TextFacts:
    """The facts of a column of strings; cells that are null or among the null values count as missing."""
    facts = TextFacts()
    for chunk in column.chunks:
        cells = chunk.filter(pc.invert(_is_missing(chunk, options)))
        if not len(cells):
            continue
        integers = facts.integers and _all(cells, _INTEGER) and _fits(cells)
        numbers = facts.numbers and _all(cells, _pattern(_LOSSLESS, options)) and _no_overflow(cells, options)
        booleans = facts.booleans and _all(cells, _BOOLEAN)
        facts = TextFacts(True, integers, numbers, booleans)
        if not (integers or numbers or booleans):
            break
    return facts


def settled_type(facts: TextFacts) -> pa.DataType:
    """The type of a column with these facts: int64, float64, boolean, or string where none of them holds."""
    if not facts.cells:
        return pa.string()
    if facts.integers:
        return pa.int64()
    if facts.numbers:
        return pa.float64()
    return pa.bool_() if facts.booleans else pa.string()


def convert(column: pa.ChunkedArray, dtype: pa.DataType, options: ReadOptions) -> pa.ChunkedArray:
    """The column of strings as its settled type. Null values become null in typed columns only."""
    if pa.types.is_string(dtype):
        return column
    missing = _is_missing(column, options)
    cells = pc.if_else(missing, pa.scalar(None, pa.string()), column)
    if pa.types.is_boolean(dtype):
        return pc.equal(pc.utf8_lower(cells), "true")
    return _floats(cells, options) if pa.types.is_floating(dtype) else pc.cast(pc.utf8_trim(cells, " \t"), dtype)


def not_numbers(column: pa.ChunkedArray, options: ReadOptions) -> pa.ChunkedArray:
    """True for each cell that is neither missing nor a number."""
    number = pc.match_substring_regex(column, _pattern(_NUMBER, options))
    return pc.invert(pc.or_(_is_missing(column, options), pc.fill_null(number, False)))


def _floats(cells: pa.Array | pa.ChunkedArray, options: ReadOptions) -> pa.Array | pa.ChunkedArray:
    return pc.cast(pc.replace_substring(pc.utf8_trim(cells, " \t"), options.decimal, "."), pa.float64())


def _no_overflow(cells: pa.Array, options: ReadOptions) -> bool:
    """Whether only what says so is infinite, and only what says so is zero."""
    values = _floats(cells, options)
    infinite = pc.match_substring(cells, "inf", ignore_case=True)
    zero = pc.match_substring_regex(cells, _pattern(_ZERO, options))
    told = pc.and_(pc.equal(pc.is_inf(values), infinite), pc.equal(pc.equal(values, 0.0), zero))
    return pc.all(told).as_py()


def _is_missing(column: pa.Array | pa.ChunkedArray, options: ReadOptions) -> pa.Array | pa.ChunkedArray:
    values = pa.array(list(options.null_values), pa.string())
    return pc.or_(pc.is_null(column), pc.is_in(column, value_set=values))


def _pattern(pattern: str, options: ReadOptions) -> str:
    return pattern.replace("POINT", "[.]" if options.decimal == "." else options.decimal)


def _all(cells: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(cells, pattern)).as_py()


def _fits(cells: pa.Array) -> bool:
    try:
        pc.cast(pc.utf8_trim(cells, " \t"), pa.int64())
    except pa.ArrowInvalid:
        return False
    return True
