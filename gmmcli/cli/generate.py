"""`gmm generate`: data whose true mixture is known."""

from __future__ import annotations

from typing import Annotated

import typer

from gmmcli.cli.added_columns import RowOutput
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import check_model_option, column_names
from gmmcli.cli.options import MIXTURE, OUTPUT, Common, Dtype, FamilyName, Labels, Output, OutputFormat, Samples, Seed
from gmmcli.cli.rows import write_rows
from gmmcli.cli.tables import count
from gmmcli.cli.targets import apart
from gmmcli.storage.names import printable

EXAMPLES = """\
$ gmm generate --samples 500 --components 3 --labels -o data.csv

$ gmm generate --dims 4 --family diagonal --separation 2 --truth truth.pt -o data.parquet

$ gmm generate | gmm fit - -o model.pt"""


def generate(
    *,
    samples: Samples = 1000,
    components: Annotated[
        int, typer.Option("--components", "-k", min=1, metavar="K", help="Components.", rich_help_panel=MIXTURE)
    ] = 5,
    dims: Annotated[
        int, typer.Option("--dims", "-d", min=1, metavar="D", help="Columns.", rich_help_panel=MIXTURE)
    ] = 2,
    family: FamilyName = "full",
    radius: Annotated[
        float,
        typer.Option(
            metavar="NUMBER",
            help="Means are uniform between -radius and radius in each column.",
            rich_help_panel=MIXTURE,
        ),
    ] = 8.0,
    separation: Annotated[
        float | None,
        typer.Option(
            metavar="C",
            help="Means of any two components are at least C times the sum of their largest standard deviations "
            "apart; about 2 is well separated. Default: wherever they fall.",
            rich_help_panel=MIXTURE,
        ),
    ] = None,
    variance: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Variance of --family constant. Default: 1.", rich_help_panel=MIXTURE),
    ] = None,
    seed: Seed = 42,
    labels: Labels = False,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Save the true mixture as a model file too, for gmm score and the others. Default: not saved.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    dtype: Dtype = "float64",
    output: Output = None,
    output_format: OutputFormat = None,
    common: Common,
) -> None:
    """Draws rows from a random mixture that is known, in random order.

    The weight of each component is at least 1/(4K), standard deviations are
    between 0.3 and 1.5. Columns are called x1, x2, and so on. The same options
    give the same rows.
    """
    with library_imports():
        from gmmcli.data import open_sink
        from gmmcli.model.model_file import save_model
        from gmmcli.model.synthetic import random_mixture

    console = Console(common.quiet)
    sink = open_sink(output, output_format)
    if truth is not None:
        check_model_option("--truth", truth, "truth.pt")
        apart({"--truth": truth, "--output": output})
    chosen = {"radius": radius, "separation": separation, "variance": variance, "seed": seed}
    mixture = random_mixture(components=components, dims=dims, family=family, **chosen)
    if truth is not None:
        save_model(truth, mixture, {"kind": "truth", "seed": seed, "options": chosen})
        console.note(f"{printable(truth)}: the true mixture, {count(components, 'component')}, family {family}")
    label = "true_component" if labels else None
    write_rows(mixture, column_names(mixture), samples, seed, label, dtype, sink)
    RowOutput(output, sink).report(console)
