"""`gmm sample`: rows drawn from a model."""

from __future__ import annotations

from gmmcli.cli import options
from gmmcli.cli.console import Console
from gmmcli.cli.files import not_over, open_model
from gmmcli.cli.processes import library_imports
from gmmcli.cli.rows import RowOutput, write_draws

EXAMPLES = """\
$ gmm sample faithful.pt --samples 5

$ gmm sample penguins.pt --samples 1000 --seed 1 --labels -o new.parquet"""


def sample(
    *,
    model: options.Model,
    samples: options.Samples = 1000,
    seed: options.Seed = 42,
    labels: options.Labels = False,
    dtype: options.Dtype = "float64",
    output: options.Output = None,
    output_format: options.OutputFormat = None,
    prefix: options.Prefix = "",
    common: options.Common,
) -> None:
    """Draws rows from a model, with the names of the columns that it was fitted to.

    The same model, seed and number of rows give the same rows.
    """
    with library_imports():
        from gmmcli.data.sink import Sink

    not_over({"output": output}, "the model", [model])
    rows = RowOutput(output, Sink(output, output_format))
    mixture, _ = open_model(model)
    write_draws(mixture, samples, seed, prefix + "true_component" if labels else None, dtype, rows)
    rows.report(Console(common.quiet))
