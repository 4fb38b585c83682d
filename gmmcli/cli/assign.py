"""`gmm assign`: the most probable component of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gmmcli.cli import console as out
from gmmcli.cli.added_columns import add_columns, open_output
from gmmcli.cli.comparison import BACKGROUND, Comparison
from gmmcli.cli.completion import column
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import open_model
from gmmcli.cli.options import (
    OUTPUT,
    REPORT,
    Common,
    Data,
    Memory,
    MissingCells,
    Model,
    OutputFormat,
    Prefix,
    Reading,
    RowsOutput,
)
from gmmcli.cli.processes import group_of, refuse_stdin
from gmmcli.cli.targets import rows_not_over
from gmmcli.errors import InputError, UsageError
from gmmcli.passes.distributed import place
from gmmcli.storage.addresses import masked
from gmmcli.storage.files import STDOUT
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.data import ReadOptions, Source
    from gmmcli.model.mixture import GaussianMixture

EXAMPLES = """\
$ gmm assign faithful.pt sample_data/faithful.csv -o labelled.parquet

$ gmm sample faithful.pt --samples 10 | gmm assign faithful.pt --soft

$ gmm assign penguins.pt sample_data/penguins.csv --missing drop --compare species -o labelled.csv"""


def assign(
    context: typer.Context,
    *,
    model: Model,
    data: Data = None,
    soft: Annotated[
        bool,
        typer.Option(
            "--soft", help="Add the probability of each component too: probability_0, …", rich_help_panel=OUTPUT
        ),
    ] = False,
    output: RowsOutput = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    missing: MissingCells = "error",
    reading: Reading,
    memory: Memory,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="COLUMN",
            help="Count the rows by component and by the labels in this column, and print the table and the adjusted "
            "Rand index on standard error: 1 where both are the same partition, 0 on average by chance. Default: no "
            "comparison.",
            autocompletion=column,
            rich_help_panel=REPORT,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the report of --compare, with all labels, as JSON on standard output; the rows need --output "
            "then.",
            rich_help_panel=REPORT,
        ),
    ] = False,
    common: Common,
) -> None:
    """Adds to each row its most probable component and that component's probability.

    Components count from 0, the heaviest first; gmm show lists them. Columns are
    matched to the model by name. Rows, their order and all other columns stay as
    they are.
    """
    with library_imports():
        from gmmcli.data import Source

    if as_json and compare is None:
        raise UsageError("--json applies only with --compare, of which it is the report")
    if as_json and output in STDOUT:
        raise UsageError("--json and the rows would both go to standard output: give the rows a file by -o")
    group = group_of(context)
    refuse_stdin(data, group)
    options = reading.options()
    rows = open_output(output, output_format, options, group)
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

    source = Source(data or [], options, scratch=memory.scratch(place().local_size))
    rows_not_over(output, model, source.paths)
    console = Console(common.quiet or group.rank > 0)
    comparison = None if compare is None else _comparison(compare, source, mixture, options)
    empty = add_columns(
        source, mixture, [prefix + name for name in names], compute, rows, missing, console, comparison
    )
    written = rows.report(console, empty)
    if comparison is not None:
        comparison.show(console)
        if as_json and group.rank == 0:
            about = {"model": masked(model), "data": source.label, "output": masked(str(output)), "rows": written}
            out.write_json({**about, **comparison.to_json()})


def _comparison(column: str, source: Source, mixture: GaussianMixture, options: ReadOptions) -> Comparison:
    if column not in source.names:
        raise InputError(
            f"{source.label}: --compare: no column {printable(column)}: there are {listing(source.names)}"
        )
    background = [] if mixture.background is None else [BACKGROUND]
    return Comparison(column, [*range(mixture.components), *background], options)
