"""`gmm assign`: the most probable component of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gmmcli.cli import console as out
from gmmcli.cli import options
from gmmcli.cli.comparison import open_comparison
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console
from gmmcli.cli.files import rows_not_over
from gmmcli.cli.models import open_model
from gmmcli.cli.options import OUTPUT, REPORT
from gmmcli.cli.processes import group_of, library_imports, refuse_stdin
from gmmcli.cli.rows import add_columns, open_output
from gmmcli.errors import Option, UsageError
from gmmcli.passes.distributed import place
from gmmcli.storage.addresses import masked
from gmmcli.storage.files import STDOUT

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """\
$ gmm assign faithful.pt sample_data/faithful.csv -o labelled.parquet

$ gmm sample faithful.pt --samples 10 | gmm assign faithful.pt --soft

$ gmm assign penguins.pt sample_data/penguins.csv --missing drop --compare species -o labelled.csv"""

Soft = Annotated[bool, OUTPUT("", "Add the probability of each component too: probability_0, …")]
Compare = Annotated[
    str | None,
    REPORT(
        "COLUMN",
        "Count the rows by component and by the labels in this column, and print the table and the adjusted "
        "Rand index on standard error: 1 where both are the same partition, 0 on average by chance. Default: no "
        "comparison.",
        suggestions=column,
    ),
]
Json = Annotated[
    bool,
    REPORT(
        "", "Print the report of --compare, with all labels, as JSON on standard output; the rows need --output then."
    ),
]


def assign(
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    soft: Soft = False,
    output: options.RowsOutput = None,
    output_format: options.OutputFormat = None,
    prefix: options.Prefix = "",
    missing: options.MissingCells = "error",
    reading: options.Reading,
    memory: options.Memory,
    compare: Compare = None,
    json: Json = False,
    common: options.Common,
) -> None:
    """Adds to each row its most probable component and that component's probability.

    Components count from 0, the heaviest first; gmm show lists them. Columns are
    matched to the model by name. Rows, their order and all other columns stay as
    they are.
    """
    with library_imports():
        from gmmcli.data import Source

    if json and compare is None:
        raise UsageError("applies only with --compare, of which it is the report", subject=Option("json"))
    if json and output in STDOUT:
        problem = "--json and the rows would both go to standard output"
        raise UsageError(problem, remedy="give the rows a file by -o")
    group = group_of(context)
    refuse_stdin(data, group)
    read_options = reading.options()
    rows = open_output(output, output_format, read_options, group)
    mixture, _ = open_model(model)
    names = ["component", "probability"]
    if soft:
        names += [f"probability_{name}" for name in mixture.component_names]

    def compute(x: Tensor) -> Sequence[Tensor]:
        marginal = missing == "em"
        if not soft:
            return mixture.most_probable(x, marginal=marginal)
        shares = mixture.responsibilities(x, marginal=marginal)
        probability, component = shares.mT.max(0)  # as most_probable has it
        return [mixture.numbered(component), probability, *shares.unbind(1)]

    source = Source(data or [], read_options, scratch=memory.scratch(place().local_size))
    rows_not_over(output, model, source.paths)
    console = Console(common.quiet or group.rank > 0)
    comparison = None if compare is None else open_comparison(compare, source, mixture, read_options)
    names = [prefix + name for name in names]
    empty = add_columns(source, mixture, names, compute, rows, missing, console, comparison)
    written = rows.report(console, empty)
    if comparison is not None:
        comparison.show(console)
        if json and group.rank == 0:
            about = {"model": masked(model), "data": source.label, "output": masked(str(output)), "rows": written}
            out.write_json({**about, **comparison.to_json()})
