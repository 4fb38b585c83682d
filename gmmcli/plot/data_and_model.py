"""Data and the mixture fitted to them, in one picture: on given axes, or as a figure of its own.

- `plot_data_and_model`: draws and returns the Axes.
- `data_figure`: the same as a new figure in the house style, of a size that suits it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.axes import density_axis, describe, widened
from gmmcli.plot.coordinates import Coordinates
from gmmcli.plot.legends import LONGEST, Key, key_of, many
from gmmcli.plot.pairs import describe_pairs, draw_pairs, tag_pairs
from gmmcli.plot.panels import draw_line, draw_plane
from gmmcli.plot.picture import Picture, picture
from gmmcli.plot.room import LEAST, PANEL, make_room
from gmmcli.plot.style import caption, figure_of, house_style, new_figure, tidy
from gmmcli.plot.tags import tag_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LINE_SIZE = (7.6, 4.2)  # inches
PLANE_SIZE = (7.6, 5.2)
GRID_SIDE = 1.2  # and
PANEL_SIDE = 1.6  # for each column
GRID_LABELS = 1.1  # beside the panels
LEGEND_GAP = 0.3  # between a grid and a legend that does not fit in it
LEGEND_COLUMN = 1.0  # for each further column of a legend


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
    heavier they are against the heaviest, and rows of weight 0 are not there. ax: where to draw; without it on a
    figure of its own, `Axes.figure`, which pyplot does not know: `Axes.figure.savefig` writes it, and `ax=plt.gca()`
    draws on one that `plt.show()` shows. columns: names of the model's columns to draw, in order (x1 to xD where it
    has none); by default all or, of more than six, those that tell the components apart best. projection: "pca"
    draws the first two principal components of the columns under the mixture, in units of their standard
    deviations.

    Raises InputError for a column that the model or the data lack and for weights that are none, UsageError for an
    unknown projection.
    """
    shown = picture(data, model, columns=columns, projection=projection, weights=weights)
    if ax is not None:
        return draw(ax, shown)
    return draw_figure(shown).axes[0]


def data_figure(
    data: Any,
    model: GaussianMixture,
    *,
    weights: Any = None,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
    coordinates: Coordinates | None = None,
    size: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """The picture of plot_data_and_model as a figure.

    coordinates: what choose_coordinates made of columns and projection. size: inches, None for what suits it.
    """
    shown = picture(data, model, columns=columns, projection=projection, coordinates=coordinates, weights=weights)
    return draw_figure(shown, size)


def draw_figure(
    shown: Picture,
    size: tuple[float | None, float | None] = (None, None),
    *,
    limits: np.ndarray | None = None,
    title: str | None = None,
    place: Bbox | None = None,
) -> Figure:
    """A picture as a figure. limits: (2, d), in place of what the picture needs; title: in place of its caption.

    place: of the axes, where the figure is not to find it.
    """
    wide, high = natural_size(shown)
    width, height = size[0] or wide, size[1] or high
    with house_style():
        figure = new_figure(width, height)
        ax = figure.add_subplot()
        if place is not None:
            figure.set_layout_engine("none")
            ax.set_position(place)
        key = key_of(shown, min(width, height) - GRID_LABELS, figure)
        words = shown.caption if title is None else title
        describe_all = _draw(ax, shown, key, limits)
        panels = shown.dims if shown.dims > 2 else 0
        make_room(ax, words, describe_all, (panels * PANEL, panels * PANEL) if panels else LEAST)
        _tag(ax, shown)
    return figure


def draw(ax: Axes, shown: Picture) -> Axes:
    """Draws a picture on given axes, whose place is that of others, and returns them."""
    caption(ax, shown.caption)
    figure = figure_of(ax)
    _draw(ax, shown, key_of(shown, min(ax.get_window_extent().size) / figure.dpi, figure))()
    _tag(ax, shown)
    return ax


def _draw(ax: Axes, shown: Picture, key: Key, limits: np.ndarray | None = None) -> Callable[[], None]:
    """Draws a picture and its legend; returns what sets its ticks and names by the size that the axes then have."""
    limits = shown.limits() if limits is None else limits
    names = shown.coordinates.labels
    if shown.dims > 2:
        grid = draw_pairs(ax, shown, limits)
        key.draw(ax)
        return lambda: describe_pairs(grid, names)
    tidy(ax)
    sides = np.array([widened(*pair) for pair in limits.T.tolist()])  # (d, 2)
    highest = 0.0
    if shown.dims == 1:
        highest = draw_line(ax, shown.marginal, shown.points[:, 0], shown.weights, sides[0])
    else:
        draw_plane(ax, shown.marginal, shown.points, shown.components, shown.weights, sides.T)
    key.draw(ax)

    def describe_axes() -> None:
        describe(ax, "x", sides[0, 0], sides[0, 1], names[0])
        if shown.dims == 1:
            density_axis(ax, highest)
        else:
            describe(ax, "y", sides[1, 0], sides[1, 1], names[1])

    return describe_axes


def _tag(ax: Axes, shown: Picture) -> None:
    """Numbers the components of a plane, or of those of a grid, where they are many."""
    if shown.dims == 2 and many(shown):
        tag_components(ax, shown.marginal)
    elif shown.dims > 2 and many(shown):
        tag_pairs(ax, shown)


def natural_size(shown: Picture) -> tuple[float, float]:
    """Inches: a grid has panels of one size, and many components get room for their legend."""
    with house_style():
        figure = new_figure(*PLANE_SIZE)
        if shown.dims <= 2:
            columns = -(-len(key_of(shown, 0.0, figure).handles) // LONGEST)
            width, height = LINE_SIZE if shown.dims == 1 else PLANE_SIZE
            return width + (columns - 1) * LEGEND_COLUMN, height
        side = GRID_SIDE + PANEL_SIDE * shown.dims
        key = key_of(shown, side - GRID_LABELS, figure)
        return side + (0 if key.inside else key.width + LEGEND_GAP), side
