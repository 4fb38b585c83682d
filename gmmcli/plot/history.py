"""How a fit went: `plot_history` draws its log-likelihood by pass from what a model file says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError
from gmmcli.plot.axes import ROUND, describe, widened
from gmmcli.plot.room import make_room
from gmmcli.plot.style import PALETTE, caption, house_style, legend, new_figure, tidy
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (7.6, 4.6)  # inches
MARKED = 60  # passes, of a history whose passes are marked each


def plot_history(
    metadata: Mapping[str, Any],
    *,
    ax: Axes | None = None,
    size: tuple[float | None, float | None] = (None, None),
) -> Axes:
    """Draws the log-likelihood per row by pass of the restart that was kept; returns the Axes.

    metadata: of a model file, as fitting.result.describe makes it. Where other restarts ran to the end as well, the
    levels that they reached are ticks on the right edge, hollow where they are not to be trusted. size: inches, of a
    figure of its own. Raises InputError where the metadata have no history.
    """
    history = [r for r in metadata.get("history") or () if r.get("log_likelihood") is not None]
    if not history:
        raise InputError("the model has no history of its fit: gmm fit writes one")
    if ax is not None:
        caption(ax, _caption(metadata))
        _draw(ax, history, metadata)()
        return ax
    with house_style():
        ax = new_figure(size[0] or SIZE[0], size[1] or SIZE[1]).add_subplot()
        make_room(ax, _caption(metadata), _draw(ax, history, metadata))
    return ax


def _draw(ax: Axes, history: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> Callable[[], None]:
    """Draws the line, the ends of other restarts and a legend; returns what sets both axes by their size."""
    passes = [record["passes"] for record in history]
    levels = [record["log_likelihood"] for record in history]
    tidy(ax)
    marker = "o" if len(passes) < MARKED else None
    ax.plot(passes, levels, color=PALETTE[0], linewidth=1.6, marker=marker, markersize=3.5, zorder=3, gid="history")
    others = _ends(metadata)
    for level, sound in others:
        ax.plot([1.0], [level], marker="<", markersize=6, color=PALETTE[1], transform=ax.get_yaxis_transform(),
                markerfacecolor=PALETTE[1] if sound else "white", clip_on=False, zorder=4, gid="restart")  # fmt: skip
    low, high = widened(
        min(levels + [level for level, _ in others]), max(levels + [level for level, _ in others]), 0.06
    )
    if others:
        legend(ax, _restart_entries(others))

    def describe_axes() -> None:
        from matplotlib.ticker import MaxNLocator

        whole = partial(MaxNLocator, steps=ROUND, integer=True)
        describe(ax, "x", *widened(passes[0], passes[-1], 0.03), name="passes over the data", locate=whole)
        describe(ax, "y", low, high, "log-likelihood per row, nats")

    return describe_axes


def _caption(metadata: Mapping[str, Any]) -> str:
    """What was fitted, how, and whether it converged."""
    ended = "converged" if metadata.get("converged") else "not converged"
    method = f"{metadata.get('method', '')}{' with ' + a if (a := metadata.get('acceleration')) else ''}"
    return f"{printable(str(metadata.get('family', '')))}, {metadata.get('components')} components, {method}, {ended}"


def _ends(metadata: Mapping[str, Any]) -> list[tuple[float, bool]]:
    """The log-likelihoods per row that the other restarts ended at, and whether they are sound."""
    weight = metadata.get("weight") or 0
    return [
        (end["log_likelihood"] / weight, not end.get("unsound"))
        for end in metadata.get("restarts") or ()
        if weight and end.get("log_likelihood") is not None and end["restart"] != metadata.get("restart")
    ]


def _restart_entries(ends: Sequence[tuple[float, bool]]) -> list[Any]:
    from matplotlib.lines import Line2D

    found = [
        Line2D([], [], color=PALETTE[0], marker="o", markersize=3.5, linewidth=1.6, label="the fit that was kept")
    ]
    for sound, name in ((True, "ends of other restarts"), (False, "of these, not to be trusted")):
        if any(own == sound for _, own in ends):
            found.append(
                Line2D([], [], linestyle="none", marker="<", markersize=6, color=PALETTE[1],
                       markerfacecolor=PALETTE[1] if sound else "white", label=name)
            )  # fmt: skip
    return found
