"""What a column of delimited text is, settled over all of its cells as they go by: `ColumnSurvey`."""

from __future__ import annotations

import pyarrow as pa

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import pc
from gmmcli.data.formats import ReadOptions
from gmmcli.data.numbers import (
    TextFacts,
    floats_of,
    needs_text,
    not_numbers,
    number_facts,
    other_facts,
    parsed_as,
    parsed_facts,
)
from gmmcli.storage.names import printable

_SAMPLE_ROWS = 1000
# What else than numbers and text cells are to pyarrow: texts of one of these patterns, or of one of these types.
_PATTERNS = {
    r"^([Tt]rue|TRUE|[Ff]alse|FALSE|[01])$": ColumnKind.BOOLEAN,
    r"^[ \t]*([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?[ \t]*$": ColumnKind.TIME,
}
_STAMPS = [pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("s", "ns")]
_OTHERS: dict[str | pa.DataType, ColumnKind] = _PATTERNS | dict.fromkeys(_STAMPS, ColumnKind.TIME)


class ColumnSurvey:
    """A column of strings, which are null where missing, taken in piece by piece.

    facts: what holds for its cells. is_numbers: whether each is a number, as pyarrow reads them, or missing.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.facts = TextFacts()
        self.is_numbers = True
        self._whole = True  # int64, as pyarrow reads it: in hexadecimal too
        self._others = list(_OTHERS)
        self._rows = self._strays = self._head_strays = 0
        self._first_stray = ""

    def add(self, cells: pa.Array) -> pa.Array | None:
        """Take in more cells; returns them as float64, null where missing, or None where some are no numbers."""
        values = floats_of(cells, self._options)
        self.is_numbers = self.is_numbers and values is not None
        if cells.null_count < len(cells):
            self._settle(cells, values)
        self._rows += len(cells)
        return values

    @property
    def kind(self) -> ColumnKind:
        """What pyarrow would infer of all cells, but text for identifiers and for numbers in hexadecimal."""
        if not self.facts.cells:
            return ColumnKind.EMPTY
        if self.is_numbers:
            return ColumnKind.NUMBER if self.facts.kind is ColumnKind.NUMBER else ColumnKind.TEXT
        return _OTHERS[self._others[0]] if self._others and not self._whole else ColumnKind.TEXT

    @property
    def detail(self) -> str:
        """Of text that nearly is numbers, what keeps it from that: how many cells and the first; else empty."""
        if self.kind is not ColumnKind.TEXT:
            return ""
        if self.is_numbers:
            return self.facts.detail
        if not self._strays or 2 * self._head_strays >= min(self._rows, _SAMPLE_ROWS):
            return "numbers in hexadecimal" if self._whole else ""
        verb = "cell is not a number" if self._strays == 1 else "cells are not numbers"
        return f"{self._strays} {verb}, the first {self._first_stray}"

    def _settle(self, cells: pa.Array, values: pa.Array | None) -> None:
        """The facts and types of cells that are not all missing."""
        integers = parsed_as(cells, pa.int64()) if self._whole else None
        self._whole = integers is not None
        if values is None:
            self.facts = self.facts.merge(other_facts(cells, self.facts.booleans))
            self._others = [other for other in self._others if _are(cells, other)]
            self._count_strays(cells)
            return
        typed = values if integers is None else integers
        new = number_facts(cells, typed, self._options) if needs_text(typed) else parsed_facts(typed)
        self.facts = self.facts.merge(new)
        self._others = [other for other in self._others if isinstance(other, str) and _are(cells, other)]

    def _count_strays(self, cells: pa.Array) -> None:
        """Counts the cells that are no numbers, but not those of a column that began with mostly other cells."""
        if self._rows >= _SAMPLE_ROWS and 2 * self._head_strays >= _SAMPLE_ROWS:
            return
        strays = not_numbers(cells, self._options)
        self._head_strays += pc.sum(strays.slice(0, max(0, _SAMPLE_ROWS - self._rows))).as_py() or 0
        count = pc.sum(strays).as_py() or 0
        if count and not self._strays:
            row = pc.indices_nonzero(strays)[0].as_py()
            self._first_stray = f"'{printable(cells[row].as_py())}' in row {self._rows + row + 1}"
        self._strays += count


def _are(cells: pa.Array, other: str | pa.DataType) -> bool:
    if isinstance(other, str):
        return pc.all(pc.match_substring_regex(cells, other)).as_py()
    return parsed_as(cells, other) is not None
