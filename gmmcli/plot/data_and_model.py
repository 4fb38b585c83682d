"""Data and the mixture fitted to them, in one picture with its legend.

- `plot_data_and_model`: draws on given axes or on a figure of its own; returns the Axes.
- `data_figure`: the picture as a figure in the house style, of a size that suits it. `draw_figure`: of a Picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.axes import LEAST, Names, Size, lay_out, new_axes, set_axis, settle, widened, write_words
from gmmcli.plot.coordinates import Coordinates, choose_coordinates
from gmmcli.plot.panels import SUM, Planes, draw_grid, draw_line, draw_plane, number_components
from gmmcli.plot.picture import Picture, picture
from gmmcli.plot.style import BARS, INK, QUIET, SMALL, colour, figure_of, house_style, label, legend, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LINE_SIZE = (7.6, 4.2)  # inches
PLANE_SIZE = (7.6, 5.2)
GRID_SIDE = 1.2  # of a grid, added to its panels
PANEL_SIDE = 1.6  # of each panel
GRID_NUMBERS = 6.0  # points, of the letters of the numbers of components
LEAST_PANEL = 0.4  # smaller panels lose the legend, then the caption
LEGEND_GAP = 0.3  # between a grid and a legend that does not fit in it
LEGEND_COLUMN = 1.0  # for each further column of a legend
LEGEND_ENTRIES = 12  # components, at most, of a legend in full words
LONGEST = 18  # entries of a column beside the axes
NAMED = 54  # components, at most, of a legend, heaviest first
GRID_COLUMNS = (1, 2, 3, 4)  # of a legend in the free corner of a grid

ELLIPSE = "1 and 2 std. deviations"
CONTOUR = "density: 10, 30, … 90 % inside"
ONE_DENSITY, SUM_DENSITY = "density of a component", "density of all"


def plot_data_and_model(
    data: Any,
    model: GaussianMixture,
    *,
    ax: Axes | None = None,
    weights: Any = None,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
) -> Axes:
    """Draws rows and a mixture; returns the Axes, and shows nothing.

    One column: a histogram, the weighted density of each component and their sum. Two: the rows in the colours of
    their most probable components, each component's ellipses of 1 and 2 standard deviations, filled the more
    opaque the heavier, and contours of the components' density that hold 10, 30, 50, 70 and 90 % of it. More: a
    grid of all pairs of columns, as inset axes of the Axes returned (its `child_axes`).

    data: tensor, array, DataFrame, Table, RowSample, or None for the mixture alone; rows that lack a cell which is
    needed are left out. Of more than 20,000 rows (5,000 in a grid) a fixed sample is drawn; the caption says so.
    weights: (N,) row weights, such as those of the fit: histograms add them up, points are the more opaque the
    heavier they are against the heaviest, and rows of weight 0 are not drawn. ax: the axes to draw on; by default
    those of a new figure, `Axes.figure`, which pyplot does not know: `Axes.figure.savefig` writes it, and
    `ax=plt.gca()` draws on one that `plt.show()` shows. columns: names of the model's columns to draw, in order (x1
    to xD if it has none); by default all or, of more than six, those that tell the components apart best.
    projection: "pca" draws the first two principal components of the columns under the mixture, in units of their
    standard deviations.

    Raises InputError for a column that the model or the data lack and for values that are no weights, UsageError
    for an unknown projection.
    """
    shown = picture(data, model, choose_coordinates(model, columns, projection), weights)
    if ax is None:
        return draw_figure(shown).axes[0]
    names, planes = _draw(ax, shown, shown.limits())
    _draw_legend(ax, shown)
    write_words(ax, shown.caption, names)
    _number(planes, shown)
    return ax


def data_figure(
    data: Any, model: GaussianMixture, *, coordinates: Coordinates | None = None, size: Size = (None, None)
) -> Figure:
    """The picture of plot_data_and_model as a figure.

    coordinates: by default those of choose_coordinates. size: inches, None for what suits the picture.
    """
    return draw_figure(picture(data, model, coordinates or choose_coordinates(model)), size)


def draw_figure(
    shown: Picture,
    size: Size = (None, None),
    *,
    limits: np.ndarray | None = None,
    title: str | None = None,
    position: Bbox | None = None,
) -> Figure:
    """A picture as a figure.

    limits: (2, d), in place of those of the picture; title: in place of its caption; position: of the axes, in place
    of a layout.
    """
    grid_side = GRID_SIDE + PANEL_SIDE * shown.dims
    usual = {1: LINE_SIZE, 2: PLANE_SIZE}.get(shown.dims, (grid_side, grid_side))
    with house_style():
        ax = new_axes(size, usual)
        figure = figure_of(ax)
        names, planes = _draw(ax, shown, shown.limits() if limits is None else limits)
        if position is not None:
            figure.set_layout_engine("none")
            ax.set_position(position)
        words = shown.caption if title is None else title
        write_words(ax, words, names)
        settle(figure)
        beside = _draw_legend(ax, shown)
        if size[0] is None:
            figure.set_figwidth(usual[0] + beside)
        panels = LEAST_PANEL * shown.dims
        lay_out(ax, words, names, (panels, panels) if shown.dims > 2 else LEAST)
        _number(planes, shown)
    return figure


def _draw(ax: Axes, shown: Picture, limits: np.ndarray) -> tuple[Names, Planes]:
    """Draws a picture without words; returns its axes that have names, and its planes."""
    if shown.dims > 2:
        return draw_grid(ax, shown, limits)
    tidy(ax)
    across, *others = [widened(*pair) for pair in limits.T.tolist()]
    set_axis(ax.xaxis, *across)
    if others:
        draw_plane(ax, shown, (0, 1), contours=np.array([across, *others]).T)
        set_axis(ax.yaxis, *others[0])
    else:
        highest = draw_line(ax, shown, 0, across)
        set_axis(ax.yaxis, 0.0, highest * 1.06 if highest > 0 else 1.0, 4)
    names = [*shown.coordinates.labels, "density"]
    return [(ax.xaxis, names[0]), (ax.yaxis, names[1])], [(ax, (0, 1))] * len(others)


def _many(shown: Picture) -> bool:
    """Whether components are too many for a legend of full words, and get numbers in planes."""
    return len(shown.shares) > LEGEND_ENTRIES


def _number(planes: Planes, shown: Picture) -> None:
    """Numbers the components of the planes if they are many."""
    if _many(shown):
        number_components(planes, shown, SMALL if shown.dims == 2 else GRID_NUMBERS)


# ---- the legend -------------------------------------------------------------------------------------------


def _draw_legend(ax: Axes, shown: Picture) -> float:
    """Draws the legend; returns the inches by which the figure should be wider for it.

    It stands beside the axes. A grid has it in its free corner, if need be without the entries of the diagonal.
    """
    title = "component" if _many(shown) else ""
    entries, single = _entries(shown)
    panels = [panel.get_window_extent() for panel in ax.child_axes]
    for handles, columns in product(([*entries, *single], entries), GRID_COLUMNS if panels else ()):
        found = legend(ax, handles, title=title, columns=columns, inside=True)
        if not found.get_window_extent().count_overlaps(panels):
            return 0.0
    handles = [*entries, *single]
    columns = -(-len(handles) // LONGEST)
    found = legend(ax, handles, title=title, columns=columns)
    if not panels:
        return (columns - 1) * LEGEND_COLUMN
    return found.get_window_extent().width / figure_of(ax).dpi + LEGEND_GAP


def _entries(shown: Picture) -> tuple[list[Any], list[Any]]:
    """Entries for components and planes, and those for single coordinates."""
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def sign(name: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=name, **style)

    def dot(component: int, weight: float) -> Line2D:
        name = label(component, weight, short=_many(shown))
        return sign(name, marker="o", markersize=6, color=colour(component))

    entries: list[Any] = [dot(k, weight) for k, weight in enumerate(shown.shares[:NAMED].tolist())]
    if len(shown.shares) > NAMED:
        entries.append(sign(f"and {len(shown.shares) - NAMED} more"))
    if shown.background:
        entries.append(dot(-1, shown.background))
    if shown.dims > 1:
        hollow = {"markerfacecolor": "none", "markeredgewidth": 1.1}
        entries.append(sign(ELLIPSE, marker="o", markersize=7, color=INK, **hollow))
    if shown.dims == 2:
        return [*entries, Line2D([], [], color=QUIET, linewidth=0.6, label=CONTOUR)], []
    single: list[Any] = []
    if shown.dims > 2:
        single.append(Patch(facecolor=to_rgba(QUIET, 0.3), edgecolor=QUIET, linewidth=1.0, label=ONE_DENSITY))
    if len(shown.shares) > 1 or shown.mixture.box is not None:
        single.append(Line2D([], [], color=INK, linewidth=1.2, label=SUM_DENSITY if shown.dims > 2 else SUM))
    if len(shown.points):
        single.append(Patch(color=BARS, label="data, weighted" if (shown.weights < 1).any() else "data"))
    return entries, single
