"""The types of delimited text in a typed output: `SettledTypes`, settled over all cells of all files of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from gmmcli.data.numbers import TextFacts, settled_type


class SettledTypes:
    """What the readers of the text files of one source share, so that their columns get the same types.

    `add` takes a file's way to tell the facts of its columns, asked when the types are first asked for.
    """

    def __init__(self) -> None:
        self._files: list[Callable[[Sequence[str]], Mapping[str, TextFacts]]] = []
        self._facts: dict[str, TextFacts] = {}

    def add(self, facts: Callable[[Sequence[str]], Mapping[str, TextFacts]]) -> None:
        """One more file, with the same columns as the others."""
        self._files.append(facts)

    def schema(self, names: Sequence[str], used: Sequence[str]) -> pa.Schema:
        """The types of the columns; those `used` as numbers have a type of numbers."""
        if not self._facts:
            merged = dict.fromkeys(names, TextFacts())
            for facts in self._files:
                found = facts(names)
                merged = {name: before.merge(found[name]) for name, before in merged.items()}
            self._facts = merged
        return pa.schema([(name, settled_type(self._facts[name], name in used)) for name in names])
