"""How a fit went: `plot_history` draws its log-likelihood by pass from what a model file says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError
from gmmcli.names import printable
from gmmcli.plot.axes import describe, widened
from gmmcli.plot.style import PALETTE, caption, house_style, legend, new_figure, tidy

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

    metadata: of a model file, as gmmcli.metadata.describe makes it. Where other restarts ran to the end as well, the
    levels that they reached are ticks on the right edge, hollow where they are not to be trusted. size: inches, of a
    figure of its own. Raises InputError where the metadata have no history.
    """
    history = [r for r in metadata.get("history") or () if r.get("log_likelihood") is not None]
    if not history:
        raise InputError("the model has no history of its fit: gmm fit writes one")
    if ax is None:
        with house_style():
            axes = new_figure(size[0] or SIZE[0], size[1] or SIZE[1]).add_subplot()
            return plot_history(metadata, ax=axes)
    passes = [record["passes"] for record in history]
    levels = [record["log_likelihood"] for record in history]
    tidy(ax)
    marker = "o" if len(passes) < MARKED else None
    ax.plot(passes, levels, color=PALETTE[0], linewidth=1.6, marker=marker, markersize=3.5, zorder=3, gid="history")
    others = _ends(metadata)
    for level, sound in others:
        ax.plot([1.0], [level], marker="<", markersize=6, color=PALETTE[1], transform=ax.get_yaxis_transform(),
                markerfacecolor=PALETTE[1] if sound else "white", clip_on=False, zorder=4, gid="restart")  # fmt: skip
    describe(ax, "x", *widened(passes[0], passes[-1], 0.03), name="passes over the data")
    ax.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    low, high = widened(
        min(levels + [level for level, _ in others]), max(levels + [level for level, _ in others]), 0.06
    )
    describe(ax, "y", low, high, "log-likelihood per row, nats")
    ended = "converged" if metadata.get("converged") else "not converged"
    method = f"{metadata.get('method', '')}{' with ' + a if (a := metadata.get('acceleration')) else ''}"
    caption(
        ax,
        f"{printable(str(metadata.get('family', '')))}, {metadata.get('components')} components, {method}, {ended}",
    )
    if others:
        legend(ax, _restart_entries(others))
    return ax


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
