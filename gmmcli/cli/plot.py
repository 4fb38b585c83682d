"""`gmm plot`: pictures of a model and its data, of a choice of K and family, and of the history of a fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gmmcli.cli import options
from gmmcli.cli.completion import column, model_column_list
from gmmcli.cli.console import Console
from gmmcli.cli.files import brief, check_history, column_names, damage_named, not_over, open_model
from gmmcli.cli.options import DATA, OUTPUT
from gmmcli.cli.processes import library_imports
from gmmcli.cli.visualize import rows_to_draw, warn_of_letters
from gmmcli.declared import Panel
from gmmcli.errors import InputError, UsageError
from gmmcli.model.criteria import CRITERIA
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from gmmcli.data.formats import ReadOptions

PICTURE = Panel("Picture")
REFIT = "fit it anew for --history"

EXAMPLES = """\
$ gmm plot faithful.pt sample_data/faithful.csv -o faithful.png

$ gmm plot penguins.pt sample_data/penguins.csv --missing drop --projection pca -o penguins.svg

$ gmm plot faithful.pt --history -o passes.pdf"""

Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="Model file, as gmm fit writes it.", show_default=False)
]
Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="Files, globs or folders; - is standard input. Without any the model is drawn alone.",
        show_default=False,
    ),
]


def plot(
    *,
    model: Model = None,
    data: Data = None,
    columns: list[str] | None = PICTURE.field(
        None,
        "LIST",
        "Columns of the model to draw, in order: names, positions from 1 or ranges such as 2:4, "
        "comma-separated. Default: all, or the six that tell the components apart best.",
        suggestions=model_column_list,
    ),
    projection: Literal["pca"] | None = PICTURE.field(
        None,
        "",
        "Draw the first two principal components of the columns, in units of their standard "
        "deviations. Default: the columns themselves.",
    ),
    history: bool = PICTURE.field(False, "", "Draw the log-likelihood of the fit by pass."),
    selection: str | None = PICTURE.field(
        None,
        "FILE",
        "Draw a criterion against K, a line a family, from the table of gmm fit --table; without "
        "MODEL. Default: none.",
    ),
    criterion: str | None = PICTURE.field(
        None,
        "",
        "Of --selection. Default: the one by which the chosen fit is best, else bic.",
        choices=tuple(CRITERIA),
    ),
    output: Annotated[str, OUTPUT("-o FILE", "Where to write: .png, .svg, .pdf or .gif.")],
    width: float | None = OUTPUT.field(None, "INCHES", "Default: by the picture.", least=2, most=100),
    height: float | None = OUTPUT.field(None, "INCHES", "Default: by the picture.", least=1.5, most=100),
    dpi: int = OUTPUT.field(160, "N", "Pixels per inch.", least=20, most=1200),
    weights: str | None = DATA.field(
        None,
        "COLUMN",
        "Column of row weights, not negative: histograms add them up, and points are the more opaque the "
        "heavier they are. Empty for none. Default: that of the fit, where DATA has it.",
        suggestions=column,
    ),
    missing: options.MISSING_CHOICES = DATA.field(
        "error",
        "",
        "Rows with a missing, NaN or infinite cell: an error that counts them, or left out of the picture "
        "(drop). With em those of a grid are drawn in the panels that they have the cells for.",
    ),
    reading: options.ReadOptions,
    memory: options.Memory,
    common: options.Common,
) -> None:
    """Draws a model and data as a picture.

    One column: a histogram and the densities. Two: the rows, ellipses of 1 and 2
    standard deviations, contours of the density. More: a grid of all pairs. Of
    many rows a fixed sample is drawn. A component has its colour everywhere.
    """
    given = {"MODEL": model is not None, "DATA": bool(data), "--columns": bool(columns)}
    given |= {"--projection": projection is not None, "--history": history, "--criterion": criterion is not None}
    given |= {"--weights": weights is not None}
    _check_options(given, selection is not None)
    with library_imports():
        from gmmcli import plot as pictures
        from gmmcli.data.columns import pick_columns
        from gmmcli.data.source import Source

    pictures.check_picture(output)
    console, size = Console(common.quiet), (width, height)
    read = [path for path in (model, selection) if path is not None]
    not_over({"output": output}, "the table of fits" if selection is not None else "the model", read)
    if selection is not None:
        fits = read_selection(selection, reading, criterion)
        warn_of_letters(console, (row["family"] for row in fits))
        figure = pictures.figure_of(pictures.plot_selection(fits, criterion, size=size))
    elif history:
        metadata = open_model(str(model))[1]
        if not metadata.get("history"):
            raise InputError("it has no history of a fit", subject=printable(str(model)), remedy=REFIT)
        with damage_named(str(model), REFIT):
            check_history(metadata)
            figure = pictures.figure_of(pictures.plot_history(brief(metadata), size=size))
    else:
        mixture, metadata = open_model(str(model))
        picked = None if columns is None else pick_columns(columns, column_names(mixture))
        coordinates = pictures.choose_coordinates(mixture, picked, projection)
        if coordinates.note:
            console.note(f"{coordinates.note}: {listing(coordinates.labels)}; --columns picks others")
        warn_of_letters(console, coordinates.labels)
        rows = None
        if data:
            source = Source(data, reading, scratch=memory.scratch())
            not_over({"output": output}, "data", source.paths)
            fitted = metadata.get("weights_column")
            fitted = fitted if isinstance(fitted, str) and fitted in source.names else None
            used = fitted if weights is None else weights or None
            rows = rows_to_draw(source, mixture, coordinates, missing, used)
            if not rows.rows:
                problem = "no row has all cells that the picture needs"
                raise InputError(problem, subject=source.label, remedy="give other --columns")
            console.note(rows.caption())
            if used is not None and weights is None:
                console.note(f"row weights: {printable(used)}, as in the fit; --weights '' draws every row alike")
        figure = pictures.data_figure(rows, mixture, coordinates=coordinates, size=size)
    pictures.write_figure(output, figure, dpi)
    console.note(f"{printable(output)}: written")


def _check_options(given: Mapping[str, bool], selection: bool) -> None:
    """Raises UsageError for options that exclude each other, and if there is nothing to draw."""
    for name, wanted in given.items():
        if wanted and selection and name != "--criterion":
            raise UsageError("does not apply with --selection", subject=name, remedy="leave one out")
        if wanted and given["--history"] and name in ("DATA", "--columns", "--projection", "--weights"):
            raise UsageError("does not apply with --history", subject=name, remedy="leave one out")
    if given["--criterion"] and not selection:
        raise UsageError("applies only with --selection", subject="--criterion")
    if not given["MODEL"] and not selection:
        raise UsageError("nothing to draw", remedy="name a MODEL, or a table of fits with --selection")
    if given["--weights"] and not given["DATA"]:
        raise UsageError("applies only with DATA", subject="--weights")


def read_selection(path: str, options: ReadOptions, criterion: str | None) -> list[dict[str, Any]]:
    """The rows of a table of fits: family, components, chosen, reason and, where the table has them, the criteria.

    A number is None and a text empty if its cell is empty, as for a fit that failed. Raises InputError for a missing
    column, a criterion without any value, an invalid number of components, and a table that is cut short or holds
    several.
    """
    from gmmcli.data.source import Source

    source = Source([path], options)
    wanted = ["family", "components", "chosen", "reason", *([criterion] if criterion else [])]
    absent = [name for name in wanted if name not in source.names]
    if absent:
        columns = f"family, components, {', '.join(CRITERIA)}, chosen and reason"
        remedy = f"a table of fits has {columns}; this has {listing(source.names)}"
        raise InputError(f"no column {listing(absent)}", subject=source.label, remedy=remedy)
    numbers = ["components", "chosen", *(name for name in CRITERIA if name in source.names)]
    found = []
    for rows in source.tables(numbers):
        texts = [[str(cell or "") for cell in rows.table.column(name).to_pylist()] for name in ("family", "reason")]
        for family, reason, cells in zip(*texts, rows.x.tolist(), strict=True):
            values = {name: None if cell != cell else cell for name, cell in zip(numbers, cells, strict=True)}
            count = values["components"]
            if not family or count is None or count < 1 or count != int(count):
                components = "missing" if count is None else f"{count:g}"
                problem = f"row {len(found) + 1}: family {printable(family)} with components {components}"
                raise InputError(problem, subject=source.label, remedy="each row needs a family and a whole number")
            found.append({**values, "family": family, "reason": reason, "components": int(count)})
    remedy = "give the table as gmm fit --table wrote it"
    cells = Counter((row["family"], row["components"]) for row in found)
    for family, count in product(*({cell[index]: None for cell in cells} for index in (0, 1))):
        if cells[family, count] != 1:
            often = "more than once" if cells[family, count] else "nowhere"
            problem = f"family {printable(family)} with components {count} is {often}"
            raise InputError(problem, subject=source.label, remedy=remedy)
    chosen = sum(row["chosen"] == 1 for row in found)
    if chosen != 1:
        raise InputError(f"{chosen or 'no'} rows have 1 in chosen, not one", subject=source.label, remedy=remedy)
    if criterion is not None and all(row[criterion] is None for row in found):
        known = [name for name in CRITERIA if any(row.get(name) is not None for row in found)]
        remedy = f"choose one of {listing(known)}"
        raise InputError(f"no row has a value of {criterion}", subject=source.label, remedy=remedy)
    return found
