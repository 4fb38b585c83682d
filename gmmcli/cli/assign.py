"""`gmm assign`: the most probable component of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gmmcli.cli import console as out
from gmmcli.cli import options
from gmmcli.cli.comparison import open_comparison
from gmmcli.cli.completion import column
from gmmcli.cli.options import OUTPUT, REPORT
from gmmcli.cli.rows import add_columns, open_passage
from gmmcli.errors import Option, UsageError
from gmmcli.storage.files import STDOUT
from gmmcli.storage.names import masked

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """\
$ gmm assign faithful.pt sample_data/faithful.csv -o labelled.parquet

$ gmm sample faithful.pt --samples 10 | gmm assign faithful.pt --soft

$ gmm assign penguins.pt sample_data/penguins.csv --missing drop --compare species -o labelled.csv"""


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
        problem = "--json and the rows would both go to standard output"
        raise UsageError(problem, remedy="give the rows a file by -o")
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

    comparison = None if compare is None else open_comparison(compare, passage)
    empty = add_columns(passage, [writing.prefix + name for name in names], compute, missing, comparison)
    assert passage.output is not None
    written = passage.output.report(passage.console, empty)
    if comparison is not None:
        comparison.show(passage.console)
        if json and passage.group.rank == 0:
            about = {"model": masked(model), "data": label, "output": masked(str(writing.output)), "rows": written}
            out.write_json({**about, **comparison.to_json()})
