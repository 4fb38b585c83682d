"""The course of a fit: `plot_history` draws its log-likelihood by pass from the metadata of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError
from gmmcli.plot.axes import Names, Size, lay_out, new_axes, set_axis, widened, write_words
from gmmcli.plot.style import PALETTE, house_style, legend, tidy
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (7.6, 4.6)  # inches
MARKED = 60  # passes, of a history that has a marker at each
SOUND, UNSOUND = "ends of other restarts", "of these, not to be trusted"


def plot_history(metadata: Mapping[str, Any], *, ax: Axes | None = None, size: Size = (None, None)) -> Axes:
    """Draws the log-likelihood per row by pass of the best restart; returns the Axes.

    metadata: of a model file, as fitting.result.describe makes it. The final levels of other restarts are ticks on
    the right edge, hollow if they are not to be trusted. size: inches, of a figure of its own. Raises InputError if
    the metadata have no history.
    """
    if ax is not None:
        write_words(ax, _caption(metadata), _draw(ax, metadata))
        return ax
    with house_style():
        ax = new_axes(size, SIZE)
        lay_out(ax, _caption(metadata), _draw(ax, metadata))
    return ax


def _draw(ax: Axes, metadata: Mapping[str, Any]) -> Names:
    """Draws the line, the ends of other restarts and a legend; returns the axes and their names."""
    from matplotlib.lines import Line2D

    history = [r for r in metadata.get("history") or () if r.get("log_likelihood") is not None]
    if not history:
        raise InputError("no history of a fit", subject="model", remedy="fit it anew")
    passes = [record["passes"] for record in history]
    levels = [record["log_likelihood"] for record in history]
    tidy(ax)
    line: dict[str, Any] = {"color": PALETTE[0], "linewidth": 1.6, "markersize": 3.5}
    ax.plot(passes, levels, marker="o" if len(passes) < MARKED else None, zorder=3, gid="history", **line)
    entries = {}
    for level, sound in _ends(metadata):
        levels.append(level)
        tick: dict[str, Any] = {"marker": "<", "markersize": 6, "color": PALETTE[1], "linestyle": "none"}
        tick["markerfacecolor"] = PALETTE[1] if sound else "white"
        edge = ax.get_yaxis_transform()
        ax.plot([1.0], [level], transform=edge, clip_on=False, zorder=4, gid="restart", **tick)
        entries[sound] = Line2D([], [], label=SOUND if sound else UNSOUND, **tick)
    if entries:
        best = Line2D([], [], marker="o", label="the best restart", **line)
        legend(ax, [best, *(entries[sound] for sound in (True, False) if sound in entries)])
    set_axis(ax.xaxis, *widened(passes[0], passes[-1], 0.03), whole=True)
    set_axis(ax.yaxis, *widened(min(levels), max(levels), 0.06))
    return [(ax.xaxis, "passes over the data"), (ax.yaxis, "log-likelihood per row, nats")]


def _caption(metadata: Mapping[str, Any]) -> str:
    """Family, number of components, method, and whether the fit converged."""
    ended = "converged" if metadata.get("converged") else "not converged"
    method = " with ".join(str(metadata[key]) for key in ("method", "acceleration") if metadata.get(key))
    return f"{printable(str(metadata.get('family', '')))}, {metadata.get('components')} components, {method}, {ended}"


def _ends(metadata: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """Log-likelihoods per row that the other restarts ended at, and whether they are sound."""
    weight = metadata.get("weight") or 0
    return [
        (end["log_likelihood"] / weight, not end.get("unsound"))
        for end in metadata.get("restarts") or ()
        if weight and end.get("log_likelihood") is not None and end["restart"] != metadata.get("restart")
    ]
