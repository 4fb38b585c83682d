"""`gmm impute`: missing cells filled by what a model expects of them, or columns predicted from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli import options
from gmmcli.cli.completion import model_column_list
from gmmcli.cli.models import column_names
from gmmcli.cli.options import DATA, DRAWS
from gmmcli.cli.rows import Passage, open_passage
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gmmcli.data.source import Rows
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
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    given: Given = None,
    draw: Draw = False,
    seed: options.Seed = 42,
    writing: options.Writing,
    reading: options.Reading,
    memory: options.Memory,
    common: options.Common,
) -> None:
    """Fills missing cells with the mean that the model expects, given the cells of the row that are there.

    Cells that are there stay as they are, and so do the rows, their order and all
    other columns. The cells of a row that are drawn (--draw) are drawn together.
    """
    if writing.prefix and given is None:
        raise UsageError("applies only with --given, which adds columns", subject=Option("prefix", writing.prefix))
    passage = open_passage(context, model, data, writing, reading, memory, common)
    mixture, source, output = passage.model, passage.source, passage.output
    assert output is not None
    imputer = _Imputer(mixture, seed if draw else None)
    if given is None:
        columns = source.match(column_names(mixture))
        transform = imputer.filling(columns, passage, output.sink.typed)
    else:
        known = _known(given, mixture)
        columns, transform = source.match(known), imputer.predicting(known, writing.prefix, source.names)
    with output.whole() as sink:
        for rows in source.tables(columns, typed=sink.typed, missing="keep"):
            sink.write(transform(rows))
    output.report(passage.console)
    if given is None:
        passage.console.note(f"{imputer.filled} missing cells filled")


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

    def filling(self, columns: Sequence[str], passage: Passage, typed: bool) -> Callable[[Rows], Any]:
        """A function that fills the missing cells of a table. columns: the model's; typed: see Sink."""
        from gmmcli.data.tensors import columns_to_fill, with_cells

        wanted = columns_to_fill(passage.source, columns, typed)
        indices = [columns.index(name) for name in wanted]

        def filled(rows: Rows) -> Any:
            lacks = rows.x.isnan()
            self.filled += int(lacks.sum())
            full = self._complete(rows.x, rows.first_row)
            return with_cells(rows.table, wanted, full[:, indices], lacks[:, indices], passage.reading.decimal)

        return filled

    def predicting(self, known: Sequence[str], prefix: str, existing: Sequence[str]) -> Callable[[Rows], Any]:
        """A function that adds the model's other columns to a table that has the known ones."""
        import torch

        from gmmcli.data.columns import check_free
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
