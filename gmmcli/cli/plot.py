"""`gmm plot`: pictures of a model and its data, of a choice of K and family, and of how a fit went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gmmcli.cli.completion import column, model_column_list
from gmmcli.cli.console import Console
from gmmcli.cli.imports import library_imports
from gmmcli.cli.inputs import column_names, open_model
from gmmcli.cli.options import DATA, MISSING_CHOICES, OUTPUT, Common, Memory, Reading
from gmmcli.cli.selection_table import read_selection
from gmmcli.cli.targets import not_over
from gmmcli.cli.told import brief, check_history, telling
from gmmcli.cli.visualize import rows_to_draw, warn_of_letters
from gmmcli.errors import InputError, UsageError
from gmmcli.model.criteria import CriterionName
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from gmmcli.data import Source
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.plot import RowSample
    from gmmcli.plot.coordinates import Coordinates

PICTURE = "Picture"

EXAMPLES = """\
$ gmm plot faithful.pt sample_data/faithful.csv -o faithful.png

$ gmm plot penguins.pt sample_data/penguins.csv --missing drop --projection pca -o penguins.svg

$ gmm plot faithful.pt --history -o passes.pdf"""


def plot(
    *,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Model file, as gmm fit writes it.", show_default=False)
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Files, globs or folders; - is standard input. Without any the model is drawn alone.",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="LIST",
            help="Columns of the model to draw, in order: names, positions from 1 or ranges such as 2:4, "
            "comma-separated. Default: all, or the six that tell the components apart best.",
            autocompletion=model_column_list,
            rich_help_panel=PICTURE,
        ),
    ] = None,
    projection: Annotated[
        Literal["pca"] | None,
        typer.Option(
            "--projection",
            help="Draw the first two principal components of the columns, in units of their standard "
            "deviations. Default: the columns themselves.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Draw the log-likelihood of the fit by pass.", rich_help_panel=PICTURE)
    ] = False,
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            metavar="FILE",
            help="Draw a criterion against K, a line a family, from the table of gmm fit --table; without "
            "MODEL. Default: none.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    criterion: Annotated[
        CriterionName | None,
        typer.Option(
            "--criterion",
            help="Of --selection. Default: the one by which the chosen fit is best, else bic.",
            rich_help_panel=PICTURE,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write: .png, .svg, .pdf or .gif.",
            rich_help_panel=OUTPUT,
        ),
    ],
    width: Annotated[
        float | None,
        typer.Option(metavar="INCHES", help="Default: by the picture.", min=2, max=100, rich_help_panel=OUTPUT),
    ] = None,
    height: Annotated[
        float | None,
        typer.Option(metavar="INCHES", help="Default: by the picture.", min=1.5, max=100, rich_help_panel=OUTPUT),
    ] = None,
    dpi: Annotated[
        int, typer.Option("--dpi", metavar="N", help="Pixels per inch.", min=20, max=1200, rich_help_panel=OUTPUT)
    ] = 160,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="COLUMN",
            help="Column of row weights, not negative: histograms add them up, and points are the more opaque the "
            "heavier they are. Empty for none. Default: that of the fit, where DATA has it.",
            autocompletion=column,
            rich_help_panel=DATA,
        ),
    ] = None,
    missing: Annotated[
        MISSING_CHOICES,
        typer.Option(
            "--missing",
            help="Rows with a missing, NaN or infinite cell: an error that counts them, or left out of the picture "
            "(drop). With em those of a grid are drawn in the panels that they have the cells for.",
            rich_help_panel=DATA,
        ),
    ] = "error",
    reading: Reading,
    memory: Memory,
    common: Common,
) -> None:
    """Draws a model and data as a picture.

    One column: a histogram and the densities. Two: the rows, ellipses of 1 and 2
    standard deviations, contours of the density. More: a grid of all pairs. Of
    many rows a fixed sample is drawn. A component has its colour everywhere.
    """
    given = {
        "MODEL": model is not None,
        "DATA": bool(data),
        "--columns": bool(columns),
        "--projection": projection is not None,
        "--history": history,
        "--criterion": criterion is not None,
        "--weights": weights is not None,
    }
    _check_options(given, selection is not None, history)
    with library_imports():
        from gmmcli.data import Source
        from gmmcli.plot import check_picture, data_figure, figure_of, plot_history, plot_selection, write_figure

    check_picture(output)
    options = reading.options()
    console = Console(common.quiet)
    read = [path for path in (model, selection) if path is not None]
    not_over({"--output": output}, "the table of fits" if selection is not None else "the model", read)
    if selection is not None:
        fits = read_selection(selection, options, criterion)
        warn_of_letters(console, (row["family"] for row in fits))
        figure = figure_of(plot_selection(fits, criterion, size=(width, height)))
    elif history:
        fit = _fit_of(str(model))
        with telling(str(model), "fit it anew for --history"):
            check_history(fit)
            figure = figure_of(plot_history(brief(fit), size=(width, height)))
    else:
        mixture, metadata = open_model(str(model))
        coordinates = _coordinates(mixture, columns, projection)
        if coordinates.note:
            console.note(f"{coordinates.note}: {listing(coordinates.labels)}; --columns picks others")
        warn_of_letters(console, coordinates.labels)
        rows = None
        if data:
            source = Source(data, options, scratch=memory.scratch())
            not_over({"--output": output}, "data", source.paths)
            used = _weights_column(source, weights, metadata)
            rows = _rows(source, mixture, coordinates, missing, used)
            console.note(rows.caption())
            if used is not None and weights is None:
                console.note(f"row weights: {printable(used)}, as in the fit; --weights '' draws every row alike")
        figure = data_figure(rows, mixture, coordinates=coordinates, size=(width, height))
    write_figure(output, figure, dpi)
    console.note(f"{printable(output)}: written")


def _check_options(given: dict[str, bool], selection: bool, history: bool) -> None:
    """Raises UsageError for options that exclude each other, and where there is nothing to draw."""
    for name, wanted in given.items():
        if wanted and selection and name != "--criterion":
            raise UsageError(f"{name} does not apply with --selection: leave one out")
        if wanted and history and name in ("DATA", "--columns", "--projection", "--weights"):
            raise UsageError(f"{name} does not apply with --history: leave one out")
    if given["--criterion"] and not selection:
        raise UsageError("--criterion applies only with --selection")
    if not given["MODEL"] and not selection:
        raise UsageError("nothing to draw: name a MODEL, or a table of fits with --selection")
    if given["--weights"] and not given["DATA"]:
        raise UsageError("--weights applies only with DATA")


def _fit_of(path: str) -> dict[str, Any]:
    """What a model file says of its fit; raises InputError where that is nothing."""
    metadata = open_model(path)[1]
    if not metadata.get("history"):
        raise InputError(f"{printable(path)}: it has no history of a fit: fit it anew for --history")
    return metadata


def _coordinates(model: GaussianMixture, columns: list[str] | None, projection: str | None) -> Coordinates:
    from gmmcli.data import pick_columns
    from gmmcli.plot import choose_coordinates

    picked = None if columns is None else pick_columns(columns, column_names(model))
    return choose_coordinates(model, picked, projection)


def _weights_column(source: Source, asked: str | None, metadata: dict[str, Any]) -> str | None:
    """The column of row weights that is asked for, else that of the fit if the source has it; None for none."""
    if asked is not None:
        return asked or None
    fitted = metadata.get("weights_column")
    return fitted if isinstance(fitted, str) and fitted in source.names else None


def _rows(
    source: Source, model: GaussianMixture, coordinates: Coordinates, missing: MISSING_CHOICES, weights: str | None
) -> RowSample:
    """The rows to draw, of all that the inputs have, in one reading; raises InputError where none can be drawn."""
    sample = rows_to_draw(source, model, coordinates, missing, weights)
    if not sample.rows:
        raise InputError(f"{source.label}: no row has all cells that the picture needs: give other --columns")
    return sample
