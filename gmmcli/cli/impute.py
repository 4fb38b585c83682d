"""`gmm impute`: missing cells filled by what a model expects of them, or columns predicted from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmmcli.cli.added_columns import open_output
from gmmcli.cli.completion import model_column_list
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import column_names, open_model
from gmmcli.cli.options import (
    DATA,
    DRAWS,
    Common,
    Data,
    Memory,
    Model,
    OutputFormat,
    Prefix,
    Reading,
    RowsOutput,
    Seed,
)
from gmmcli.cli.targets import rows_not_over
from gmmcli.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gmmcli.data import ReadOptions, Rows
    from gmmcli.model.mixture import GaussianMixture

EXAMPLES = """\
$ gmm impute penguins.pt sample_data/penguins.csv -o filled.csv

$ gmm impute penguins.pt sample_data/penguins.csv --draw --seed 1 -o drawn.parquet

$ gmm impute faithful.pt sample_data/faithful.csv --given waiting --prefix predicted_"""


def impute(
    *,
    model: Model,
    data: Data = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--given",
            metavar="LIST",
            help="Predict the model's other columns from these, comma-separated, in columns that are added. Default: "
            "fill the missing cells.",
            autocompletion=model_column_list,
            rich_help_panel=DATA,
        ),
    ] = None,
    draw: Annotated[
        bool,
        typer.Option(
            "--draw",
            help="Draw the cells from their conditional distribution, instead of their mean.",
            rich_help_panel=DRAWS,
        ),
    ] = False,
    seed: Seed = 42,
    output: RowsOutput = None,
    output_format: OutputFormat = None,
    prefix: Prefix = "",
    reading: Reading,
    memory: Memory,
    common: Common,
) -> None:
    """Fills missing cells with the mean that the model expects, given the cells of the row that are there.

    Cells that are there stay as they are, and so do the rows, their order and all
    other columns. The cells of a row that are drawn (--draw) are drawn together.
    """
    with library_imports():
        from gmmcli.data import Source
        from gmmcli.data.tensors import columns_to_fill

    if prefix and given is None:
        raise UsageError("--prefix applies only with --given, which adds columns")
    options = reading.options()
    out = open_output(output, output_format, options)
    mixture, _ = open_model(model)
    source = Source(data or [], options, scratch=memory.scratch())
    rows_not_over(output, model, source.paths)
    work = _Imputer(mixture, seed if draw else None, options)
    if given is None:
        columns = source.match(column_names(mixture))
        transform = work.fill(columns_to_fill(source, columns, out.sink.typed))
    else:
        known = _given(given, mixture)
        columns, transform = source.match(known), work.predict(known, prefix, source.names)
    with out.whole() as sink:
        for rows in source.tables(columns, typed=sink.typed, missing="keep"):
            sink.write(transform(rows, columns))
    console = Console(common.quiet)
    out.report(console)
    if given is None:
        console.note(f"{work.filled} missing cells filled")


def _given(items: Sequence[str], mixture: GaussianMixture) -> list[str]:
    """The names that --given lists, each a column of the model, and not all of them."""
    from gmmcli.storage.names import listing, printable

    names = column_names(mixture)
    found = [part for item in items for part in ([item] if item in names else item.split(",")) if part]
    unknown = [name for name in found if name not in names]
    if unknown or not found:
        raise InputError(f"--given: no column {printable(','.join(unknown))} in the model: it has {listing(names)}")
    if set(found) == set(names):
        raise UsageError("--given names every column of the model: leave out those to predict")
    return list(dict.fromkeys(found))


class _Imputer:
    """Fills tables. seed: of the draws, None for conditional means; filled: cells so far."""

    def __init__(self, mixture: GaussianMixture, seed: int | None, reading: ReadOptions):
        self._mixture = mixture
        self._seed = seed
        self._reading = reading
        self.filled = 0

    def fill(self, wanted: Sequence[str]) -> Callable[[Rows, Sequence[str]], Any]:
        """A function of a table and the model's columns, in its order, that fills missing cells of those wanted."""
        from gmmcli.data.tensors import with_cells

        def filled(rows: Rows, columns: Sequence[str]) -> Any:
            lacks = rows.x.isnan()
            self.filled += int(lacks.sum())
            full = self._complete(rows.x, rows.first_row)
            places = [columns.index(name) for name in wanted]
            return with_cells(rows.table, wanted, full[:, places], lacks[:, places], self._reading.decimal)

        return filled

    def predict(
        self, known: Sequence[str], prefix: str, existing: Sequence[str]
    ) -> Callable[[Rows, Sequence[str]], Any]:
        """A function that adds the columns that are not known to a table that has those that are."""
        import torch

        from gmmcli.data import check_free
        from gmmcli.data.tensors import with_columns

        names = column_names(self._mixture)
        places = [names.index(name) for name in known]
        wanted = [d for d, name in enumerate(names) if name not in known]
        added = [prefix + names[d] for d in wanted]
        check_free(added, existing)

        def predicted(rows: Rows, columns: Sequence[str]) -> Any:
            x = torch.full((len(rows.x), len(names)), torch.nan, dtype=torch.float64)
            x[:, places] = rows.x
            full = self._complete(x, rows.first_row)
            return with_columns(rows.table, added, [full[:, d] for d in wanted])

        return predicted

    def _complete(self, x: Tensor, first_row: int) -> Tensor:
        import torch

        from gmmcli.passes.draws import row_uniforms

        lacking = x.isnan().any(1).nonzero()[:, 0]
        draws = None
        if self._seed is not None:
            rows = first_row + lacking  # so that a row's draw does not depend on how the data is cut
            normals = [row_uniforms(self._seed, f"impute {d}", rows) for d in range(self._mixture.dims)]
            draws = row_uniforms(self._seed, "impute", rows), torch.special.ndtri(torch.stack(normals, 1))
        full = x.clone()
        full[lacking] = self._mixture.impute_rows(x[lacking], draws)
        return full
