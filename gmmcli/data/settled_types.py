"""The types of delimited text in a typed output: `SettledTypes`, settled over all cells of all files of a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from gmmcli.data.formats import ReadOptions
from gmmcli.data.numbers import TextFacts, settled_type, text_facts


class SettledTypes:
    """What the readers of the text files of one source share, so that their columns get the same types.

    `add` takes a file's way to give all its cells as strings, read when the types are first asked for.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._files: list[Callable[[], pa.Table]] = []
        self._facts: dict[str, TextFacts] = {}

    def add(self, strings: Callable[[], pa.Table]) -> None:
        """One more file, with the same columns as the others."""
        self._files.append(strings)

    def schema(self, names: Sequence[str], used: Sequence[str]) -> pa.Schema:
        """The types of the columns; those `used` as numbers have a type of numbers."""
        if not self._facts:
            facts = dict.fromkeys(names, TextFacts())
            for strings in self._files:
                table = strings()
                facts = {n: f.merge(text_facts(table.column(n), self._options)) for n, f in facts.items()}
            self._facts = facts
        return pa.schema([(name, settled_type(self._facts[name], name in used)) for name in names])
