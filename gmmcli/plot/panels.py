"""One panel each: `draw_line`, a histogram under the densities of one coordinate, and `draw_plane`, of two.

They draw data, components and density on given axes, and neither ticks, labels, caption nor legend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmcli.plot.marginal import Marginal
from gmmcli.plot.picture import ELLIPSES
from gmmcli.plot.style import BARS, INK, QUIET, colour, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MESH = 240  # cells along each side under the contours
CURVE = 600  # points of a density along the axis, and
PEAK = np.linspace(-6, 6, 91)  # standard deviations from each mean where it has more
BINS = (8, 30, 80)  # of a histogram: fewest of few rows, fewest of many, most
ROWS_SEEN = 20  # of a component for which bars are narrow enough
RIM, RIM_CROWDED = 0.55, 0.95  # opacity of the white beside an ellipse, and where it stands on very many points
RIM_WIDTH = 0.7  # points, at least, on either side
FAINTEST = 0.15  # opacity of a row next to which the heaviest weighs any number of times more
VECTOR_POINTS = 2_000  # more are pixels in an SVG or PDF too
SUM = "all components"


def draw_line(
    ax: Axes,
    marginal: Marginal,
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,)
    limits: np.ndarray,  # (2,)
    *,
    thin: bool = False,
) -> float:
    """Draws one coordinate; returns the highest density drawn. thin: lines for a small panel."""
    highest = 0.0
    there = np.isfinite(values)
    if there.any():
        values, weights = values[there], weights[there]
        bins = bin_edges(values, weights, widest_bar(marginal, np.square(weights.sum()) / np.square(weights).sum()))
        heights, edges = np.histogram(values, bins=bins, weights=weights, density=True)
        ax.stairs(heights, edges, fill=True, color=BARS, zorder=1, label="data")
        ax.stairs(heights, edges, color="white", linewidth=0.4, zorder=1.1)
        highest = float(heights.max())
    around = marginal.means[:, 0] + PEAK[:, None] * marginal.std[:, 0]
    x = np.union1d(np.linspace(limits[0], limits[1], CURVE), around.ravel())
    x = x[(x >= limits[0]) & (x <= limits[1])]
    densities = marginal.weighted_densities(x[:, None])
    total = densities.sum(0)
    for k, opacity in enumerate(opacities(marginal.weights)):
        ax.fill_between(x, densities[k], color=colour(k), alpha=opacity, linewidth=0, zorder=2)
        ax.plot(
            x,
            densities[k],
            color=colour(k),
            linewidth=1.0 if thin else 1.5,
            zorder=3,
            label=label(k, marginal.weights[k]),
        )
    if marginal.box is not None:
        low, high = marginal.box[:, 0]
        uniform = marginal.background / (high - low)
        total = total + uniform * ((x >= low) & (x <= high))
        name = label(-1, marginal.background)
        ax.plot([low, high], [uniform] * 2, color=colour(-1), linewidth=1.2, linestyle=(0, (4, 2)), label=name)
    if len(marginal.weights) > 1 or marginal.box is not None:
        ax.plot(x, total, color=INK, linewidth=0.9 if thin else 1.2, zorder=3.5, label=SUM)
    return max(highest, float(total.max()))


def draw_plane(
    ax: Axes,
    marginal: Marginal,
    points: np.ndarray,  # (B, 2)
    components: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) against the heaviest
    limits: np.ndarray,  # (2, 2) least and greatest
    *,
    contours: bool = True,
    size: float = 1.0,
) -> None:
    """Draws two coordinates. size: of points and lines, against those of a picture of one plane."""
    from matplotlib.patches import Polygon, Rectangle
    from matplotlib.patheffects import Normal, Stroke

    if contours:
        levels = marginal.levels()
        sides = [np.linspace(limits[0, d], limits[1, d], MESH) for d in range(2)]
        mesh = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
        density = marginal.weighted_densities(mesh).sum(0).reshape(MESH, MESH)
        reached = levels[levels < density.max()]  # a component between two cells of the mesh has no contour
        if len(reached):
            ax.contour(*sides, density, reached, colors=QUIET, linewidths=0.6, alpha=0.75, zorder=2.5)
    there = np.isfinite(points).all(1)
    if there.any():
        draw_points(ax, points[there], components[there], weights[there], size)
    if marginal.box is not None:
        low, high = marginal.box
        ax.add_patch(
            Rectangle(
                (low[0], low[1]), *(high - low), fill=False, edgecolor=colour(-1), linestyle=(0, (4, 2)), zorder=1.2,
                linewidth=0.8 * size, gid="background",
            )
        )  # fmt: skip
    crowd = crowding(int(there.sum()))
    for radius in ELLIPSES:
        inner = radius == min(ELLIPSES)
        line = (1.7 if inner else 1.1) * size
        rim = max(2.6 * size, line + 2 * RIM_WIDTH * crowd)
        halo = [Stroke(linewidth=rim, foreground="white", alpha=RIM + (RIM_CROWDED - RIM) * crowd), Normal()]
        for k, (curve, opacity) in enumerate(
            zip(marginal.ellipses(radius), opacities(marginal.weights), strict=True)
        ):
            if inner:
                ax.add_patch(Polygon(curve, facecolor=colour(k), alpha=opacity, linewidth=0, zorder=3.9))
            outline = Polygon(curve, fill=False, edgecolor=colour(k), path_effects=halo, zorder=4)
            outline.set(linewidth=line, gid=f"component {k}, {radius:g} std")
            ax.add_patch(outline)


def draw_points(
    ax: Axes,
    points: np.ndarray,  # (B, 2)
    components: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) against the heaviest
    size: float,
) -> None:
    """The rows, in the colours of their components: smaller and fainter the more there are, fainter the lighter."""
    colours = np.array([colour(-1), *(colour(k) for k in range(int(components.max(initial=0)) + 1))])
    crowd = crowding(len(points))
    opacity = 0.75 * (1 - crowd) + 0.3 * crowd
    ax.scatter(
        points[:, 0],
        points[:, 1],
        s=size * (17 * (1 - crowd) + 2.2 * crowd),
        c=colours[components + 1].tolist(),
        alpha=(FAINTEST + (opacity - FAINTEST) * weights).tolist(),
        linewidths=0,
        zorder=2,
        rasterized=len(points) > VECTOR_POINTS,
    )


def crowding(rows: int) -> float:
    """How crowded a plane of so many rows is, 0 to 1."""
    return float(np.clip(np.log10(max(rows, 1) / 150) / np.log10(20_000 / 150), 0, 1))


def opacities(weights: np.ndarray) -> np.ndarray:
    """How opaque components are filled, (K,): by their weight against the heaviest."""
    return 0.06 + 0.26 * weights / weights.max()


def bin_edges(
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) above 0
    widest: float = np.inf,
) -> np.ndarray:
    """Edges of a histogram's bars, for whole numbers such that each bar holds as many of them.

    By Freedman and Diaconis, but not fewer than about √N: the quartiles of a mixture are those of no one component.
    widest: of a bar, as far as no more than the most are needed for it.
    N is Kish's effective number of rows, (Σw)²/Σw²: a few heavy rows fill no more bars than as many alike.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-12 * abs(high):
        half = abs(low) * 0.05 or 0.5
        return np.array([low - half, low + half])
    quartiles = quantiles(values, weights, [0.25, 0.75])
    effective = weights.sum() ** 2 / np.square(weights).sum()
    width = 2 * (quartiles[1] - quartiles[0]) / effective ** (1 / 3)
    least, enough, most = BINS
    fewest = int(np.clip(1.3 * effective**0.5, least, enough))
    width = float(np.clip(min(width, widest), (high - low) / most, (high - low) / fewest))
    if high - low >= fewest and (values == np.round(values)).all():
        width = max(1.0, round(width))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    count = int(np.ceil((high - low) / width))
    return np.linspace(low, high, count + 1)


def widest_bar(marginal: Marginal, rows: float) -> float:
    """The widest bar that shows the peak of each component of one coordinate that ROWS_SEEN of the rows belong to.

    That is a standard deviation of the narrowest of them. Infinite where all components are lighter.
    """
    return float(min(marginal.std[marginal.weights * rows >= ROWS_SEEN, 0], default=np.inf))


def quantiles(
    values: np.ndarray,  # (B,)
    weights: np.ndarray,  # (B,) above 0
    shares: list[float],
) -> np.ndarray:
    """The values below which these shares of the weight lie, between two of them by interpolation.

    Each value stands at the middle of its own weight; of equal weights they are np.quantile's.
    """
    order = np.argsort(values, kind="stable")
    w = weights[order]
    middles = np.cumsum(w) - w / 2
    return np.interp(middles[0] + np.array(shares) * (middles[-1] - middles[0]), middles, values[order])
