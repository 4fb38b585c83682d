"""`gmm assign`: the most probable component of every row, and with --compare a comparison with known labels.

`Comparison` counts the rows by component and label while they pass through.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from json import dumps, loads
from typing import TYPE_CHECKING, Any

import typer

from gmmcli.cli import options
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console, Table, count, write_json
from gmmcli.cli.options import OUTPUT, REPORT
from gmmcli.cli.processes import joined_lines
from gmmcli.cli.rows import Passage, add_columns, open_passage
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.model.agreement import rand_index
from gmmcli.passes.execution import Group
from gmmcli.storage.files import STDOUT
from gmmcli.storage.names import listing, masked, one_line, printable

if TYPE_CHECKING:
    from torch import Tensor


EXAMPLES = """\
$ gmm assign faithful.pt sample_data/faithful.csv -o labelled.parquet

$ gmm sample faithful.pt --samples 10 | gmm assign faithful.pt --soft

$ gmm assign penguins.pt sample_data/penguins.csv --missing drop --compare species -o labelled.csv"""

SHOWN_LABELS = 12  # that have a column each; the others share one
LABEL_WIDTH = 30  # characters of a label in a header
MOST_LABELS = 100_000  # a column with more is a measure or an identifier
BACKGROUND = -1


def assign(
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    soft: bool = OUTPUT.field(False, "", "Add the probability of each component too: probability_0, …"),
    writing: options.Writing,
    missing: options.MissingCells = "error",
    reading: options.ReadOptions,
    memory: options.Memory,
    compare: str | None = REPORT.field(
        None,
        "COLUMN",
        "Count the rows by component and by the labels in this column, and print the table and the adjusted "
        "Rand index on standard error: 1 where both are the same partition, 0 on average by chance. Default: no "
        "comparison.",
        suggestions=column,
    ),
    json: bool = REPORT.field(
        False,
        "",
        "Print the report of --compare, with all labels, as JSON on standard output; the rows need --output then.",
    ),
    common: options.Common,
) -> None:
    """Adds to each row its most probable component and that component's probability.

    Components count from 0, the heaviest first; gmm show lists them. Columns are
    matched to the model by name. Rows, their order and all other columns stay as
    they are.
    """
    if json and compare is None:
        raise UsageError("applies only with --compare, of which it is the report", subject=Option("json"))
    if json and writing.output in STDOUT:
        raise UsageError("--json and the rows would both go to standard output", remedy="give the rows a file by -o")
    passage = open_passage(context, model, data, writing, reading, memory, common)
    mixture, label = passage.model, passage.source.label
    names = ["component", "probability", *(f"probability_{name}" for name in mixture.component_names if soft)]

    def compute(x: Tensor) -> Sequence[Tensor]:
        marginal = missing == "em"
        if not soft:
            return mixture.most_probable(x, marginal=marginal)
        shares = mixture.responsibilities(x, marginal=marginal)
        probability, component = shares.mT.max(0)  # as most_probable has it
        return [mixture.numbered(component), probability, *shares.unbind(1)]

    comparison = None if compare is None else Comparison(compare, passage)
    empty = add_columns(passage, [writing.prefix + name for name in names], compute, missing, comparison)
    assert passage.output is not None
    written = passage.output.report(passage.console, empty)
    if comparison is not None:
        comparison.show(passage.console)
        if json and passage.group.rank == 0:
            about = {"model": masked(model), "data": label, "output": masked(str(writing.output)), "rows": written}
            write_json({**about, **comparison.to_json()})


class Comparison:
    """Numbers of rows by component and label. Any thread may add rows.

    column: of the labels. components: numbers of the model's components, −1 the background's. A row
    without both counts as one without a component.
    """

    def __init__(self, column: str, passage: Passage):
        source, model = passage.source, passage.model
        if column not in source.names:
            problem = f"--compare: no column {printable(column)}"
            raise InputError(problem, subject=source.label, remedy=f"there are {listing(source.names)}")
        background = [] if model.background is None else [BACKGROUND]
        self._column, self._reading = column, passage.reading
        self._components = [*range(model.components), *background]
        self._counts = Counter[tuple[int, str]]()
        self._labels: set[str] = set()
        self._without_component = self._without_label = 0
        self._lock = threading.Lock()

    def add(
        self,
        table: Any,  # pyarrow.Table of B rows
        component: Tensor,  # (M,) int64
        complete: Tensor,  # (B,) bool, true M times
    ) -> None:
        """Counts the rows of a block. Raises InputError if there are more than MOST_LABELS labels."""
        from gmmcli.data.tensors import label_codes

        codes, labels = label_codes(table.column(self._column), self._column, self._reading)
        codes = codes[complete]
        labelled, size = codes >= 0, max(1, len(labels))
        numbers, counts = (component * size + codes)[labelled].unique(return_counts=True)
        pairs = (divmod(number, size) for number in numbers.tolist())
        by_label = [(k, labels[code], n) for (k, code), n in zip(pairs, counts.tolist(), strict=True)]
        self._merge(by_label, len(complete) - len(component), int((~labelled).sum()))

    def join(self, group: Group) -> None:
        """Adds the rows of the other processes. Raises as `add` does."""
        counts = [(k, label, n) for (k, label), n in self._counts.items()]
        own = dumps([counts, self._without_component, self._without_label])
        self._counts.clear()
        self._without_component = self._without_label = 0
        for line in joined_lines(group, [own]):
            self._merge(*loads(line))

    def _merge(self, counts: Sequence[tuple[int, str, int]], without_component: int, without_label: int) -> None:
        with self._lock:
            self._counts.update({(k, label): n for k, label, n in counts})
            self._labels.update(label for _, label, _ in counts)
            self._without_component += without_component
            self._without_label += without_label
        if len(self._labels) > MOST_LABELS:
            given, problem = Option("compare", printable(self._column)), f"more than {MOST_LABELS} different labels"
            raise InputError(problem, subject=given, remedy="name a column of classes")

    def show(self, console: Console) -> None:
        """Notes the cross-table, the adjusted Rand index and the numbers of rows without a component or a label."""
        labels = self._ordered()
        if labels:
            console.note(self._table(labels))
            console.note(
                f"adjusted Rand index {rand_index(self._counts):.4f}: 1 is the same partition of the rows, 0 what "
                "chance gives"
            )
        else:
            console.note(f"no row has a component and a label in {printable(self._column)}: nothing to compare")
        left_out = [
            f"{count(n, 'row')} without {what}"
            for n, what in ((self._without_component, "a component"), (self._without_label, "a label"))
            if n
        ]
        if left_out:
            console.note(f"not compared: {', '.join(left_out)}")

    def to_json(self) -> dict[str, Any]:
        """Labels, and their counts by component. The Rand index is null if no row is compared."""
        labels = self._ordered()
        return {
            "column": self._column,
            "labels": labels,
            "components": self._components,
            "counts": [[self._counts[k, label] for label in labels] for k in self._components],
            "rows_compared": self._counts.total(),
            "rows_without_component": self._without_component,
            "rows_without_label": self._without_label,
            "adjusted_rand_index": rand_index(self._counts) if labels else None,
        }

    def _ordered(self) -> list[str]:
        """The labels in order: numbers by value, then texts by alphabet."""
        return sorted(self._labels, key=_order)

    def _table(self, labels: list[str]) -> Table:
        sizes = Counter[str]()
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


def _order(label: str) -> tuple[bool, float, str]:
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    return (True, 0.0, label) if math.isnan(value) else (False, value, label)
