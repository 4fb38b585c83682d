"""`gmm assign --compare`: components against a column of labels, counted while the rows pass through."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import Console, Table, count
from gmmcli.cli.processes import joined_lines
from gmmcli.errors import InputError, Option
from gmmcli.model.agreement import rand_index
from gmmcli.passes.group import Group
from gmmcli.storage.names import listing, one_line, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.cli.rows import Passage
    from gmmcli.data.formats import ReadOptions

SHOWN_LABELS = 12  # with columns of their own, the others together in one
LABEL_WIDTH = 30  # characters of a label in a header
MOST_LABELS = 100_000  # so that memory stays bounded: a column with more is a measure or an identifier
BACKGROUND = -1

Counts = Counter[tuple[int, str | None]]  # rows by component and label, None for those without a label
Counted = tuple[Counts, int]  # and the rows without a component


class Comparison:
    """Rows counted by component and label, a block at a time; the counts add up.

    column: of the labels. components: numbers of the model's components, −1 the background's. A row that has neither
    component nor label is one without a component.
    """

    def __init__(self, column: str, components: list[int], reading: ReadOptions):
        self._column = column
        self._components = components
        self._reading = reading
        self._counts = Counts()
        self._labels: set[str | None] = set()
        self._without_component = 0

    def count(
        self,
        table: Any,  # pyarrow.Table of B rows
        component: Tensor,  # (M,) int64
        complete: Tensor,  # (B,) bool, true M times
    ) -> Counted:
        """The rows of a block by component and label, and the number without a component, for `add`."""
        from gmmcli.data.tensors import label_codes

        codes, labels = label_codes(table.column(self._column), self._column, self._reading)
        texts = [*labels, None]  # code −1 is an index from the end
        numbers, counts = (component * len(texts) + codes[complete] % len(texts)).unique(return_counts=True)
        pairs = (divmod(number, len(texts)) for number in numbers.tolist())
        found = {(k, texts[code]): n for (k, code), n in zip(pairs, counts.tolist(), strict=True)}
        return Counts(found), len(complete) - len(component)

    def add(self, counted: Counted) -> None:
        """Adds the counts of a block. Raises InputError where labels become too many to be classes."""
        self._counts.update(counted[0])
        self._labels.update(label for _, label in counted[0])
        if len(self._labels) > MOST_LABELS:
            given = Option("compare", printable(self._column))
            problem = f"more than {MOST_LABELS} different labels"
            raise InputError(problem, subject=given, remedy="name a column of classes")
        self._without_component += counted[1]

    def join(self, group: Group) -> None:
        """Adds the counts of the other processes. Raises as `add` does."""
        own = json.dumps([[[k, label, n] for (k, label), n in self._counts.items()], self._without_component])
        self._counts, self._without_component = Counts(), 0
        for line in joined_lines(group, [own]):
            counts, without = json.loads(line)
            self.add((Counts({(k, label): n for k, label, n in counts}), without))

    def show(self, console: Console) -> None:
        """Notes the cross-table, the adjusted Rand index and the numbers of rows without a component or a label."""
        labels = self._ordered()
        if labels:
            console.note(self._table(labels))
            console.note(
                f"adjusted Rand index {self._index():.4f}: 1 is the same partition of the rows, 0 what chance gives"
            )
        else:
            console.note(f"no row has a component and a label in {printable(self._column)}: nothing to compare")
        left_out = [
            f"{count(n, 'row')} without {what}"
            for n, what in ((self._without_component, "a component"), (self._without_label(), "a label"))
            if n
        ]
        if left_out:
            console.note(f"not compared: {', '.join(left_out)}")

    def to_json(self) -> dict[str, Any]:
        """All labels with their counts, a list for each component; the index is null where no row is compared."""
        labels = self._ordered()
        return {
            "column": self._column,
            "labels": labels,
            "components": self._components,
            "counts": [[self._counts[k, label] for label in labels] for k in self._components],
            "rows_compared": self._compared().total(),
            "rows_without_component": self._without_component,
            "rows_without_label": self._without_label(),
            "adjusted_rand_index": self._index() if labels else None,
        }

    def _compared(self) -> Counts:
        return Counts({pair: n for pair, n in self._counts.items() if pair[1] is not None})

    def _index(self) -> float:
        return rand_index(self._compared())

    def _without_label(self) -> int:
        return sum(self._counts[k, None] for k in self._components)

    def _ordered(self) -> list[str]:
        """The labels, numbers by their values, then texts by the alphabet."""
        return sorted((label for label in self._labels if label is not None), key=_order)

    def _table(self, labels: list[str]) -> Table:
        sizes = Counter[str | None]()
        for (_, label), n in self._counts.items():
            sizes[label] += n
        shown = labels
        if len(labels) > SHOWN_LABELS + 1:
            largest = sorted(labels, key=lambda label: -sizes[label])[:SHOWN_LABELS]
            shown = [label for label in labels if label in largest]
        others = set(labels) - set(shown)
        header = ["component", "rows", *(printable(one_line(label, LABEL_WIDTH)) for label in shown)]
        header += [f"{len(others)} others"] if others else []
        cells = []
        for k in self._components:
            row = [self._counts[k, label] for label in shown]
            row += [sum(self._counts[k, label] for label in others)] if others else []
            cells.append([sum(row), *row])
        names = [f"{k} (noise)" if k == BACKGROUND else str(k) for k in self._components]
        totals = [sum(column) for column in zip(*cells, strict=True)]
        lines = [[name, *map(str, row)] for name, row in zip([*names, "all"], [*cells, totals], strict=True)]
        return Table(header, lines, title=f"components against {printable(self._column)}")


def open_comparison(column: str, passage: Passage) -> Comparison:
    """The comparison with a column of the data. Raises InputError where there is no such column."""
    source, model = passage.source, passage.model
    if column not in source.names:
        problem = f"--compare: no column {printable(column)}"
        raise InputError(problem, subject=source.label, remedy=f"there are {listing(source.names)}")
    background = [] if model.background is None else [BACKGROUND]
    return Comparison(column, [*range(model.components), *background], passage.reading)


def _order(label: str) -> tuple[bool, float, str]:
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    return (True, 0.0, label) if math.isnan(value) else (False, value, label)
