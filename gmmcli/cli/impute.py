"""`gmm impute`: missing cells filled by what a model expects of them, or columns predicted from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gmmcli.cli import options
from gmmcli.cli.completion import model_column_list
from gmmcli.cli.files import column_names
from gmmcli.cli.options import DATA, DRAWS
from gmmcli.cli.processes import library_imports
from gmmcli.cli.rows import open_passage
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.model.mixture import GaussianMixture

EXAMPLES = """\
$ gmm impute penguins.pt sample_data/penguins.csv -o filled.csv

$ gmm impute penguins.pt sample_data/penguins.csv --draw --seed 1 -o drawn.parquet

$ gmm impute faithful.pt sample_data/faithful.csv --given waiting --prefix predicted_"""


def impute(
    context: typer.Context,
    *,
    model: options.Model,
    data: options.Data = None,
    given: list[str] | None = DATA.field(
        None,
        "LIST",
        "Predict the model's other columns from these, comma-separated, in columns that are added. Default: "
        "fill the missing cells.",
        suggestions=model_column_list,
    ),
    draw: bool = DRAWS.field(False, "", "Draw the cells from their conditional distribution, instead of their mean."),
    seed: options.Seed = 42,
    writing: options.Writing,
    reading: options.ReadOptions,
    memory: options.Memory,
    common: options.Common,
) -> None:
    """Fills missing cells with the mean that the model expects, given the cells of the row that are there.

    Cells that are there stay as they are, and so do the rows, their order and all
    other columns. The cells of a row that are drawn (--draw) are drawn together.
    """
    if writing.prefix and given is None:
        raise UsageError("applies only with --given, which adds columns", subject=Option("prefix", writing.prefix))
    with library_imports():
        import torch

        from gmmcli.data import check_free, with_columns
        from gmmcli.data.tensors import columns_to_fill, with_cells

    passage = open_passage(context, model, data, writing, reading, memory, common)
    mixture, source, output = passage.model, passage.source, passage.output
    assert output is not None
    names = column_names(mixture)
    known = [*names] if given is None else _known(given, names)
    columns, indices = source.match(known), [names.index(name) for name in known]
    filled = 0
    if given is None:
        to_fill = columns_to_fill(source, columns, output.sink.typed)
        changed, added = [columns.index(name) for name in to_fill], []
    else:
        changed = [d for d in range(len(names)) if d not in indices]
        to_fill, added = [], [writing.prefix + names[d] for d in changed]
        check_free(added, source.names)
    with output.whole() as sink:
        for rows in source.tables(columns, typed=sink.typed, missing="keep"):
            x = rows.x
            if given is not None:
                x = torch.full((len(rows.x), len(names)), torch.nan, dtype=torch.float64)
                x[:, indices] = rows.x
            full = _complete(mixture, x, rows.first_row, seed if draw else None)[:, changed]
            if given is None:
                lacks = x.isnan()
                filled += int(lacks.sum())
                sink.write(with_cells(rows.table, to_fill, full, lacks[:, changed], reading.decimal))
            else:
                sink.write(with_columns(rows.table, added, full.unbind(1)))
    output.report(passage.console)
    if given is None:
        passage.console.note(f"{filled} missing cells filled")


def _known(items: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that --given lists, each a column of the model, and not all of them."""
    listed = [part for item in items for part in ([item] if item in names else item.split(",")) if part]
    unknown = [name for name in listed if name not in names]
    if unknown or not listed:
        problem = f"no column {printable(','.join(unknown))} in the model"
        raise InputError(problem, subject=Option("given"), remedy=f"it has {listing(names)}")
    if set(listed) == set(names):
        problem = "names every column of the model"
        raise UsageError(problem, subject=Option("given"), remedy="leave out those to predict")
    return list(dict.fromkeys(listed))


def _complete(mixture: GaussianMixture, x: Tensor, first_row: int, seed: int | None) -> Tensor:
    """The rows (B, D), numbered from first_row on, with their missing cells filled. seed: None for means."""
    import torch

    from gmmcli.passes.draws import row_uniforms

    lacking = x.isnan().any(1).nonzero()[:, 0]
    draws = None
    if seed is not None:
        rows = first_row + lacking  # a row's draw does not depend on the blocks
        normals = [row_uniforms(seed, f"impute {d}", rows) for d in range(mixture.dims)]
        draws = row_uniforms(seed, "impute", rows), torch.special.ndtri(torch.stack(normals, 1))
    full = x.clone()
    full[lacking] = mixture.impute_rows(x[lacking], draws)
    return full
