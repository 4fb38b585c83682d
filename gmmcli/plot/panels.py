"""Panels: data, components and density on given axes, without ticks, names, caption and legend.

- `draw_line`: a histogram under the densities of one coordinate. `draw_plane`: rows and ellipses of two.
- `draw_grid`: a grid of all pairs of coordinates.
- `number_components`: numbers beside the ellipses, if components are too many for a legend of words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.axes import Names, set_axis, widened
from gmmcli.plot.coordinates import marginal
from gmmcli.plot.picture import ELLIPSES, Picture, density, density_between, ellipses, levels, moments
from gmmcli.plot.style import BARS, INK, QUIET, colour, figure_of, label, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE = 600  # points of a density along the axis
PEAK = np.linspace(-6, 6, 91)  # further points, in standard deviations from each mean
BINS = (8, 30, 80)  # of a histogram: fewest of few rows, fewest of many, most
ROWS_SEEN = 20  # rows of a component for which bars are made narrow enough
CROWD = (150, 20_000)  # rows of a plane that is not crowded at all, and of one that is wholly crowded
RIM, RIM_CROWDED = (
    0.55,
    0.95,
)  # opacity of the white beside an ellipse, in a plane that is not and one that is crowded
RIM_WIDTH = 0.7  # points, at least, on either side
FAINTEST = 0.15  # opacity of the lightest rows
VECTOR_POINTS = 2_000  # more are pixels in an SVG or PDF too
DASHES = (0, (4, 2))  # of a background
SUM = "all components"
GAP = 0.09  # between panels, of a panel's side
TICKS = 3  # of an axis of a grid, at most
PAD = 1.0  # points around a number
GAPS = (1e-6, 5.0, 11.0, 20.0, 30.0, 42.0, 56.0)  # points between a mean and its number
ANGLES = 2 * np.pi * np.arange(16) / 16
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
OFFSETS = np.concatenate([np.zeros((1, 2)), *(gap * DIRECTIONS for gap in GAPS)])  # near ones first
LEADER_FROM = 11.0  # points from which on a line leads from a mean to its number

Planes = list[tuple["Axes", tuple[int, int]]]  # axes, and the two coordinates that each shows


def draw_line(
    ax: Axes, picture: Picture, coordinate: int, limits: tuple[float, float], *, thin: bool = False
) -> float:
    """Draws one coordinate; returns the highest density drawn. thin: lines for a small panel."""
    mixture, values = marginal(picture.mixture, [coordinate]), picture.points[:, coordinate]
    highest, shares = 0.0, mixture.weights.detach().numpy()
    means, std = moments(mixture)
    present = np.isfinite(values)
    if present.any():
        values, weights = values[present], picture.weights[present]
        seen = std[shares * _effective(weights) >= ROWS_SEEN]
        bins = bin_edges(values, weights, float(seen.min(initial=np.inf)))
        heights, edges = np.histogram(values, bins=bins, weights=weights, density=True)
        ax.stairs(heights, edges, fill=True, color=BARS, zorder=1, label="data")
        ax.stairs(heights, edges, color="white", linewidth=0.4, zorder=1.1)
        highest = float(heights.max())
    x = np.union1d(np.linspace(*limits, CURVE), means[:, 0] + PEAK[:, None] * std[:, 0])
    x = x[(x >= limits[0]) & (x <= limits[1])]
    total = density(mixture, x[:, None])
    with torch.no_grad():
        parts = total * mixture.responsibilities(torch.as_tensor(x)[:, None]).mT.numpy()  # π_k N(x | μ_k, σ_k²)
    for k, opacity in enumerate(_opacities(shares)):
        ax.fill_between(x, parts[k], color=colour(k), alpha=opacity, linewidth=0, zorder=2)
        name, width = label(k, shares[k]), 1.0 if thin else 1.5
        ax.plot(x, parts[k], color=colour(k), linewidth=width, zorder=3, label=name)
    if mixture.background is not None and mixture.box is not None:
        low, high = mixture.box[:, 0].tolist()
        weight = mixture.background.item()
        uniform = [weight / (high - low)] * 2
        ax.plot([low, high], uniform, color=colour(-1), linewidth=1.2, linestyle=DASHES, label=label(-1, weight))
    if len(shares) > 1 or mixture.box is not None:
        ax.plot(x, total, color=INK, linewidth=0.9 if thin else 1.2, zorder=3.5, label=SUM)
    return max(highest, float(total.max()))


def draw_plane(
    ax: Axes, picture: Picture, pair: tuple[int, int], contours: np.ndarray | None = None, size: float = 1.0
) -> None:
    """Draws two coordinates.

    contours: least and greatest coordinates (2, 2) between which contours are drawn, None for none. size: of points
    and lines, against those of a picture of one plane. The more rows there are, the smaller and fainter they are.
    """
    from matplotlib.patches import Rectangle

    mixture, points = marginal(picture.mixture, pair), picture.points[:, pair]
    if contours is not None:
        _draw_contours(ax, marginal(mixture, (0, 1), background=False), contours)
    present = np.isfinite(points).all(1)
    rows = int(present.sum())
    few, many = CROWD
    crowd = float(np.clip(np.log10(max(rows, 1) / few) / np.log10(many / few), 0, 1))
    if rows:
        opacity = 0.75 * (1 - crowd) + 0.3 * crowd
        opacities = (FAINTEST + (opacity - FAINTEST) * picture.weights[present]).tolist()
        area = size * (17 * (1 - crowd) + 2.2 * crowd)
        style: dict[str, Any] = {"s": area, "c": [colour(k) for k in picture.components[present].tolist()]}
        pixels = rows > VECTOR_POINTS
        ax.scatter(*points[present].T, **style, alpha=opacities, linewidths=0, zorder=2, rasterized=pixels)
    if mixture.box is not None:
        low, high = mixture.box.numpy()
        box = Rectangle(tuple(low), *(high - low), fill=False, edgecolor=colour(-1), linestyle=DASHES, zorder=1.2)
        box.set(linewidth=0.8 * size, gid="background")
        ax.add_patch(box)
    _draw_ellipses(ax, mixture, size, crowd)


def _draw_contours(ax: Axes, mixture: GaussianMixture, limits: np.ndarray) -> None:
    """Draws the contours of the density; a component between two cells of the mesh has none."""
    sides, values = density_between(limits, mixture)
    heights = levels(mixture)
    heights = heights[heights < values.max()]
    if len(heights):
        ax.contour(*sides, values, heights, colors=QUIET, linewidths=0.6, alpha=0.75, zorder=2.5)


def _draw_ellipses(ax: Axes, mixture: GaussianMixture, size: float, crowd: float) -> None:
    """Draws the ellipses with a white rim, the broader the more crowded the plane is, 0 to 1."""
    from matplotlib.patches import Polygon
    from matplotlib.patheffects import withStroke

    opacities = _opacities(mixture.weights.detach().numpy())
    for radius in ELLIPSES:
        inner = radius == min(ELLIPSES)
        line = (1.7 if inner else 1.1) * size
        rim = max(2.6 * size, line + 2 * RIM_WIDTH * crowd)
        halo = [withStroke(linewidth=rim, foreground="white", alpha=RIM + (RIM_CROWDED - RIM) * crowd)]
        for k, curve in enumerate(ellipses(mixture, radius)):
            if inner:
                ax.add_patch(Polygon(curve, facecolor=colour(k), alpha=opacities[k], linewidth=0, zorder=3.9))
            outline = Polygon(curve, fill=False, edgecolor=colour(k), path_effects=halo, zorder=4)
            outline.set(linewidth=line, gid=f"component {k}, {radius:g} std")
            ax.add_patch(outline)


def _opacities(weights: np.ndarray) -> np.ndarray:
    """Opacities (K,) with which components are filled, by their weight against the heaviest."""
    return 0.06 + 0.26 * weights / weights.max()


def bin_edges(
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) above 0
    widest: float = np.inf,
) -> np.ndarray:
    """Edges of the bars of a histogram; for whole numbers each bar holds equally many of them.

    The rule is Freedman and Diaconis', with at least about √N bars, since quartiles of a mixture describe none of its
    components. N is the effective number of rows. widest: greatest width of a bar; the greatest number of bars goes
    before it.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * abs(high):
        return np.array(widened(low, high, 0.0))
    rows, (least, enough, most) = _effective(weights), BINS
    quartiles = np.quantile(values, [0.25, 0.75], weights=weights, method="inverted_cdf")
    fewest = int(np.clip(1.3 * rows**0.5, least, enough))
    width = min(2 * (quartiles[1] - quartiles[0]) / rows ** (1 / 3), widest)
    width = float(np.clip(width, (high - low) / most, (high - low) / fewest))
    if high - low >= fewest and (values == np.round(values)).all():
        width = max(1.0, round(width))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    return np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)


def _effective(weights: np.ndarray) -> float:
    """Kish's effective number of rows, (Σw)²/Σw²: a few heavy rows fill no more bars than equally many alike."""
    return weights.sum() ** 2 / np.square(weights).sum()


def draw_grid(ax: Axes, picture: Picture, limits: np.ndarray) -> tuple[Names, Planes]:
    """Draws the grid as inset axes of `ax`, row by row; returns the axes that have names, and the planes.

    limits: (2, d) of each coordinate, the same in all its panels. The corner above the diagonal stays free.
    """
    ax.set_axis_off()
    dims, labels = picture.dims, picture.coordinates.labels
    side = 1 / (dims + (dims - 1) * GAP)
    step = side * (1 + GAP)
    size = max(0.45, 0.85 - 0.05 * dims)
    sides = [widened(*pair) for pair in limits.T.tolist()]
    names: Names = []
    planes: Planes = []
    for row in range(dims):
        for column in range(row + 1):
            panel = ax.inset_axes((column * step, (dims - 1 - row) * step, side, side))
            tidy(panel, left=column < row)
            if column == row:
                highest = draw_line(panel, picture, row, sides[row], thin=True)
                panel.set_ylim(0.0, highest * 1.12 if highest > 0 else 1.0)
                panel.yaxis.set_visible(False)
            else:
                draw_plane(panel, picture, (column, row), size=size)
                set_axis(panel.yaxis, *sides[row], TICKS, short=True)
                planes.append((panel, (column, row)))
            set_axis(panel.xaxis, *sides[column], TICKS, short=True)
            panel.tick_params(labelbottom=row == dims - 1, labelleft=not column)
            if row == dims - 1:
                names.append((panel.xaxis, labels[column]))
            if row and not column:
                names.append((panel.yaxis, labels[row]))
    return names, planes


def number_components(planes: Planes, picture: Picture, size: float) -> None:
    """Writes the number of each component at its mean or, where another number is, nearby.

    Heavy components come first; one without a free position gets no number. The axes have their limits and extents
    already. size: of the letters, in points.
    """
    means, order = moments(picture.mixture)[0], picture.mixture.weights.argsort(descending=True, stable=True)
    for ax, pair in planes:
        taken: list[Any] = []
        for k in order.tolist():
            _number(ax, k, means[k, pair], size, taken)


def _number(ax: Axes, component: int, mean: np.ndarray, size: float, taken: list[Any]) -> None:
    """Writes a number near its mean, (2,), clear of the taken boxes, in pixels, and adds its own box to them."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    style: dict[str, Any] = {"fontsize": size, "fontweight": "bold", "color": colour(component)}
    unit, area, point = figure_of(ax).dpi / 72, ax.get_window_extent(), ax.transData.transform(mean)
    probe = Text(0, 0, str(component), figure=figure_of(ax), **style)
    half = np.array(probe.get_window_extent().size) / 2 + PAD * unit
    for offset in OFFSETS:
        edge = half * offset / max(np.abs(offset).max(), 1e-9)  # from the middle of the number to its edge
        centre = np.clip(point + offset * unit + edge, area.min + half, area.max - half)
        box = Bbox([centre - half, centre + half])
        if not box.count_overlaps(taken):
            break
    else:
        return
    taken.append(box)
    far = np.linalg.norm(np.maximum(np.abs(centre - point) - half, 0)) > LEADER_FROM * unit
    leader = {"arrowstyle": "-", "color": colour(component), "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
    style |= {"path_effects": [withStroke(linewidth=2.6, foreground="white")], "arrowprops": leader if far else None}
    position: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "zorder": 6}
    ax.annotate(str(component), tuple(mean), xytext=(centre - point) / unit, **position, **style)
