"""`gmm generate`: data whose true mixture is known."""

from __future__ import annotations

from gmmcli.cli import options
from gmmcli.cli.console import Console, count
from gmmcli.cli.files import apart, check_model
from gmmcli.cli.options import MIXTURE, OUTPUT
from gmmcli.cli.processes import library_imports
from gmmcli.cli.rows import RowOutput, write_draws
from gmmcli.families import FAMILIES
from gmmcli.storage.names import printable

EXAMPLES = """\
$ gmm generate --samples 500 --components 3 --labels -o data.csv

$ gmm generate --dims 4 --family diagonal --separation 2 --truth truth.pt -o data.parquet

$ gmm generate | gmm fit - -o model.pt"""


def generate(
    *,
    samples: options.Samples = 1000,
    components: int = MIXTURE.field(5, "-k K", "Components.", least=1),
    dims: int = MIXTURE.field(2, "-d D", "Columns.", least=1),
    family: str = MIXTURE.field(
        "full", "-f FAMILY", f"Covariance family: {', '.join(FAMILIES)}.", suggestions=list(FAMILIES)
    ),
    radius: float = MIXTURE.field(
        8.0, "NUMBER", "Means are uniform between -radius and radius in each column.", above=0
    ),
    separation: float | None = MIXTURE.field(
        None,
        "C",
        "Means of any two components are at least C times the sum of their largest standard deviations "
        "apart; about 2 is well separated. Default: wherever they fall.",
        least=0,
    ),
    variance: float | None = MIXTURE.field(None, "NUMBER", "Variance of --family constant. Default: 1.", above=0),
    seed: options.Seed = 42,
    labels: options.Labels = False,
    truth: str | None = OUTPUT.field(
        None, "MODEL", "Save the true mixture as a model file too, for gmm score and the others. Default: not saved."
    ),
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
