"""`gmm generate`: data whose true mixture is known."""

from __future__ import annotations

from typing import Annotated

from gmmcli.cli import options
from gmmcli.cli.console import Console, count
from gmmcli.cli.files import apart, check_model
from gmmcli.cli.options import MIXTURE, OUTPUT
from gmmcli.cli.processes import library_imports
from gmmcli.cli.rows import RowOutput, write_draws
from gmmcli.storage.names import printable

EXAMPLES = """\
$ gmm generate --samples 500 --components 3 --labels -o data.csv

$ gmm generate --dims 4 --family diagonal --separation 2 --truth truth.pt -o data.parquet

$ gmm generate | gmm fit - -o model.pt"""

Components = Annotated[int, MIXTURE("-k K", "Components.", least=1)]
Dims = Annotated[int, MIXTURE("-d D", "Columns.", least=1)]
Radius = Annotated[float, MIXTURE("NUMBER", "Means are uniform between -radius and radius in each column.")]
Separation = Annotated[
    float | None,
    MIXTURE(
        "C",
        "Means of any two components are at least C times the sum of their largest standard deviations "
        "apart; about 2 is well separated. Default: wherever they fall.",
    ),
]
Variance = Annotated[float | None, MIXTURE("NUMBER", "Variance of --family constant. Default: 1.")]
Truth = Annotated[
    str | None,
    OUTPUT("MODEL", "Save the true mixture as a model file too, for gmm score and the others. Default: not saved."),
]


def generate(
    *,
    samples: options.Samples = 1000,
    components: Components = 5,
    dims: Dims = 2,
    family: options.FamilyName = "full",
    radius: Radius = 8.0,
    separation: Separation = None,
    variance: Variance = None,
    seed: options.Seed = 42,
    labels: options.Labels = False,
    truth: Truth = None,
    dtype: options.Dtype = "float64",
    output: options.Output = None,
    output_format: options.OutputFormat = None,
    common: options.Common,
) -> None:
    """Draws rows from a random mixture that is known, in random order.

    The weight of each component is at least 1/(4K), standard deviations are
    between 0.3 and 1.5. Columns are called x1, x2, and so on. The same options
    give the same rows.
    """
    with library_imports():
        from gmmcli.data.sink import Sink
        from gmmcli.model.model_file import save_model
        from gmmcli.model.synthetic import random_mixture

    console = Console(common.quiet)
    rows = RowOutput(output, Sink(output, output_format))
    if truth is not None:
        check_model("truth", truth, "truth.pt")
        apart({"truth": truth, "output": output})
    chosen = {"radius": radius, "separation": separation, "variance": variance, "seed": seed}
    mixture = random_mixture(components=components, dims=dims, family=family, **chosen)
    if truth is not None:
        save_model(truth, mixture, {"kind": "truth", "seed": seed, "options": chosen})
        console.note(f"{printable(truth)}: the true mixture, {count(components, 'component')}, family {family}")
    write_draws(mixture, samples, seed, "true_component" if labels else None, dtype, rows)
    rows.report(console)
