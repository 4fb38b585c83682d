"""`gmm assign`: the most probable component of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import add_columns, open_model, open_output, rows_report
from gmmcli.cli.options import OUTPUT, Common, Data, MissingCells, Model, Output, OutputFormat, Prefix, Reading

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """\
$ gmm assign faithful.pt sample_data/faithful.csv -o labelled.parquet

$ gmm sample faithful.pt --samples 10 | gmm assign faithful.pt --soft

$ gmm assign penguins.pt sample_data/penguins.csv --missing drop | tail -n 3"""


def assign(
    *,
    model: Model,
    data: Data = None,
    soft: Annotated[
        bool,
        typer.Option(
            "--soft", help="Add the probability of each component too: probability_0, …", rich_help_panel=OUTPUT
        ),
    ] = False,
    output: Output = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    missing: MissingCells = "error",
    reading: Reading,
    common: Common,
) -> None:
    """Adds to each row its most probable component and that component's probability.

    Components count from 0, the heaviest first; gmm show lists them. Columns are
    matched to the model by name. Rows, their order and all other columns stay as
    they are.
    """
    with library_imports():
        from gmmcli.data import Source

    options = reading.options()
    sink = open_output(output, output_format, options)
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

    source = Source(data or [], options)
    empty = add_columns(source, mixture, [prefix + name for name in names], compute, sink, missing)
    rows_report(Console(common.quiet), output, sink, empty)
