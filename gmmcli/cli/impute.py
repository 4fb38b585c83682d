"""`gmm impute`: missing cells filled by what a model expects of them, or columns predicted from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from gmmcli.cli import options
from gmmcli.cli.completion import model_column_list
from gmmcli.cli.console import Console
from gmmcli.cli.files import rows_not_over
from gmmcli.cli.models import column_names, open_model
from gmmcli.cli.options import DATA, DRAWS
from gmmcli.cli.processes import library_imports
from gmmcli.cli.rows import open_output
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gmmcli.data import Rows
    from gmmcli.model.mixture import GaussianMixture

EXAMPLES = """\
$ gmm impute penguins.pt sample_data/penguins.csv -o filled.csv

$ gmm impute penguins.pt sample_data/penguins.csv --draw --seed 1 -o drawn.parquet

$ gmm impute faithful.pt sample_data/faithful.csv --given waiting --prefix predicted_"""

Given = Annotated[
    list[str] | None,
    DATA(
        "LIST",
        "Predict the model's other columns from these, comma-separated, in columns that are added. Default: "
        "fill the missing cells.",
        suggestions=model_column_list,
    ),
]
Draw = Annotated[bool, DRAWS("", "Draw the cells from their conditional distribution, instead of their mean.")]


def impute(
    *,
    model: options.Model,
    data: options.Data = None,
    given: Given = None,
    draw: Draw = False,
    seed: options.Seed = 42,
    output: options.RowsOutput = None,
    output_format: options.OutputFormat = None,
    prefix: options.Prefix = "",
    reading: options.Reading,
    memory: options.Memory,
    common: options.Common,
) -> None:
    """Fills missing cells with the mean that the model expects, given the cells of the row that are there.

    Cells that are there stay as they are, and so do the rows, their order and all
    other columns. The cells of a row that are drawn (--draw) are drawn together.
    """
    with library_imports():
        from gmmcli.data import Source
        from gmmcli.data.tensors import columns_to_fill

    if prefix and given is None:
        raise UsageError("applies only with --given, which adds columns", subject=Option("prefix", prefix))
    read_options = reading.options()
    out = open_output(output, output_format, read_options)
    mixture, _ = open_model(model)
    source = Source(data or [], read_options, scratch=memory.scratch())
    rows_not_over(output, model, source.paths)
    imputer = _Imputer(mixture, seed if draw else None)
    if given is None:
        columns = source.match(column_names(mixture))
        transform = imputer.filling(columns, columns_to_fill(source, columns, out.sink.typed), read_options.decimal)
    else:
        known = _known(given, mixture)
        columns, transform = source.match(known), imputer.predicting(known, prefix, source.names)
    with out.whole() as sink:
        for rows in source.tables(columns, typed=sink.typed, missing="keep"):
            sink.write(transform(rows))
    console = Console(common.quiet)
    out.report(console)
    if given is None:
        console.note(f"{imputer.filled} missing cells filled")


def _known(items: Sequence[str], mixture: GaussianMixture) -> list[str]:
    """The names that --given lists, each a column of the model, and not all of them."""
    names = column_names(mixture)
    found = [part for item in items for part in ([item] if item in names else item.split(",")) if part]
    unknown = [name for name in found if name not in names]
    if unknown or not found:
        problem = f"no column {printable(','.join(unknown))} in the model"
        raise InputError(problem, subject=Option("given"), remedy=f"it has {listing(names)}")
    if set(found) == set(names):
        problem = "names every column of the model"
        raise UsageError(problem, subject=Option("given"), remedy="leave out those to predict")
    return list(dict.fromkeys(found))


class _Imputer:
    """Completes rows. seed: of the draws, None for conditional means; filled: number of cells so far."""

    def __init__(self, mixture: GaussianMixture, seed: int | None):
        self._mixture = mixture
        self._seed = seed
        self.filled = 0

    def filling(self, columns: Sequence[str], wanted: Sequence[str], decimal: str) -> Callable[[Rows], Any]:
        """A function that fills the missing cells of a table in the columns wanted. columns: all of the model's."""
        from gmmcli.data.tensors import with_cells

        indices = [columns.index(name) for name in wanted]

        def filled(rows: Rows) -> Any:
            lacks = rows.x.isnan()
            self.filled += int(lacks.sum())
            full = self._complete(rows.x, rows.first_row)
            return with_cells(rows.table, wanted, full[:, indices], lacks[:, indices], decimal)

        return filled

    def predicting(self, known: Sequence[str], prefix: str, existing: Sequence[str]) -> Callable[[Rows], Any]:
        """A function that adds the model's other columns to a table that has the known ones."""
        import torch

        from gmmcli.data import check_free
        from gmmcli.data.tensors import with_columns

        names = column_names(self._mixture)
        indices = [names.index(name) for name in known]
        wanted = [d for d in range(len(names)) if d not in indices]
        added = [prefix + names[d] for d in wanted]
        check_free(added, existing)

        def predicted(rows: Rows) -> Any:
            x = torch.full((len(rows.x), len(names)), torch.nan, dtype=torch.float64)
            x[:, indices] = rows.x
            full = self._complete(x, rows.first_row)
            return with_columns(rows.table, added, [full[:, d] for d in wanted])

        return predicted

    def _complete(self, x: Tensor, first_row: int) -> Tensor:
        """The rows (B, D), of which the first has this number, with their missing cells filled."""
        import torch

        from gmmcli.passes.draws import row_uniforms

        lacking = x.isnan().any(1).nonzero()[:, 0]
        draws = None
        if self._seed is not None:
            rows = first_row + lacking  # so that a row's draw does not depend on the blocks
            normals = [row_uniforms(self._seed, f"impute {d}", rows) for d in range(self._mixture.dims)]
            draws = row_uniforms(self._seed, "impute", rows), torch.special.ndtri(torch.stack(normals, 1))
        full = x.clone()
        full[lacking] = self._mixture.impute_rows(x[lacking], draws)
        return full
