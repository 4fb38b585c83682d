"""`gmm sample`: rows drawn from a model."""

from __future__ import annotations

from gmmcli.cli.added_columns import RowOutput
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import column_names, open_model
from gmmcli.cli.options import Common, Dtype, Labels, Model, Output, OutputFormat, Prefix, Samples, Seed
from gmmcli.cli.rows import write_rows
from gmmcli.cli.targets import not_over

EXAMPLES = """\
$ gmm sample faithful.pt --samples 5

$ gmm sample penguins.pt --samples 1000 --seed 1 --labels -o new.parquet"""


def sample(
    *,
    model: Model,
    samples: Samples = 1000,
    seed: Seed = 42,
    labels: Labels = False,
    dtype: Dtype = "float64",
    output: Output = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    common: Common,
) -> None:
    """Draws rows from a model, with the names of the columns that it was fitted to.

    The same model, seed and number of rows give the same rows.
    """
    with library_imports():
        from gmmcli.data import open_sink

    not_over({"--output": output}, "the model", [model])
    sink = open_sink(output, output_format)
    mixture, _ = open_model(model)
    label = prefix + "true_component" if labels else None
    write_rows(mixture, column_names(mixture), samples, seed, label, dtype, sink)
    RowOutput(output, sink).report(Console(common.quiet))
