"""How many components, and which family: `plot_selection` draws a criterion by K from a grid of fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError, UsageError
from gmmcli.families import FAMILIES
from gmmcli.model.criteria import CRITERIA
from gmmcli.plot.axes import describe, widened
from gmmcli.plot.beside import write_beside
from gmmcli.plot.lines import BEYOND, Chart, Family, draw_family, legend_entries, set_vertical
from gmmcli.plot.room import make_room
from gmmcli.plot.span import telling_span
from gmmcli.plot.style import INK, caption, house_style, legend, new_figure, tidy
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

RISING = [name for name, criterion in CRITERIA.items() if not criterion.less_is_better]
# Differences up to which all are shown: in nats per row, and on the scale of −2 log L, where 10 is strong evidence
# by Kass & Raftery, "Bayes factors" (JASA 1995).
LEAST_SPAN = {"holdout": 1e-3, "bic": 10.0, "icl": 10.0, "aic": 10.0}
SIZE = (7.6, 4.6)  # inches
MOST_TICKS = 12  # of the numbers of components
RING = 13.0  # points across


def default_criterion(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first criterion by which the chosen row is the best sound one, else bic.

    A table has values of the holdout only where that was to choose.
    """
    for name in (*RISING, *CRITERIA):
        best = best_row(rows, name)
        if best is not None and best.get("chosen"):
            return name
    return "bic"


def best_row(rows: Sequence[Mapping[str, Any]], criterion: str) -> Mapping[str, Any] | None:
    """The best of the rows that have a value and no reason against them."""
    sound = [row for row in rows if _value(row, criterion) is not None and not row.get("reason")]
    return min(sound, key=lambda row: _sign(criterion) * row[criterion], default=None)


def plot_selection(
    rows: Sequence[Mapping[str, Any]],
    criterion: str | None = None,
    *,
    ax: Axes | None = None,
    size: tuple[float | None, float | None] = (None, None),
) -> Axes:
    """Draws a criterion against the number of components, a line for each family; returns the Axes.

    rows: of a grid of fits, each with `family`, `components`, the criterion's value under its name or None where the
    fit failed, `reason` it is not to be trusted or None, and `chosen`. A family has the same colour and marker by
    every criterion and in every table. criterion: bic, icl or aic, the lower the
    better, or holdout, the log-likelihood of rows not fitted, the higher the better; None takes the first by which
    the chosen row is the best sound one. The best sound cell is ringed and named, unsound ones are hollow. The axis
    shows the values that are near the best; triangles at its end stand for those beyond, crosses for fits that
    failed. size: inches, of a figure of its own.

    Raises UsageError for an unknown criterion, InputError where no row has a value of it.
    """
    criterion = criterion or default_criterion(rows)
    if criterion not in CRITERIA:
        raise UsageError(f"unknown criterion {criterion!r}: choose {', '.join(CRITERIA)}")
    if all(_value(row, criterion) is None for row in rows):
        raise InputError(f"no row has a value of {criterion}: choose another criterion of {', '.join(CRITERIA)}")
    chart = _chart(rows, criterion)
    if ax is not None:
        caption(ax, _caption(chart))
        _draw(ax, chart, rows, criterion)()
        _mark(ax, chart, rows, criterion)
        return ax
    with house_style():
        ax = new_figure(size[0] or SIZE[0], size[1] or SIZE[1]).add_subplot()
        make_room(ax, _caption(chart), _draw(ax, chart, rows, criterion))
        _mark(ax, chart, rows, criterion)
    return ax


def _draw(ax: Axes, chart: Chart, rows: Sequence[Mapping[str, Any]], criterion: str) -> Callable[[], None]:
    """Draws lines and legend; returns what sets both axes by the size that they then have."""
    tidy(ax)
    for family in chart.families[::-1]:  # the best on top
        draw_family(ax, chart, family)
    counts = sorted({int(row["components"]) for row in rows})
    legend(ax, legend_entries(chart))

    def describe_axes() -> None:
        low, high = counts[0], counts[-1]
        ticks = min(MOST_TICKS, high - low + 2)
        describe(
            ax, "x", *widened(low, high, 0.05), "components", ticks=ticks, locate=partial(_whole_numbers, low, high)
        )
        set_vertical(ax, chart, "log-likelihood of rows held out" if chart.rising else criterion.upper())

    return describe_axes


def _whole_numbers(low: int, high: int, most: int) -> Locator:
    """Ticks at some whole numbers of the range."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    rounded = MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    ticks = rounded.tick_values(low, high)
    return FixedLocator([float(tick) for tick in ticks if low <= tick <= high])


def _value(row: Mapping[str, Any], criterion: str) -> float | None:
    """The criterion of a fit, None where it has none or it is no number."""
    value = row.get(criterion)
    return None if value is None or not math.isfinite(value) else float(value)


def _sign(criterion: str) -> int:
    """Times the criterion: the lower the better."""
    return -1 if criterion in RISING else 1


def _chart(rows: Sequence[Mapping[str, Any]], criterion: str) -> Chart:
    """The families, the one with the best value first, and the values that the axis shows."""
    sign = _sign(criterion)
    families = []
    names = dict.fromkeys(str(row["family"]) for row in rows)
    known = [*FAMILIES, *(name for name in names if name not in FAMILIES)]
    for name in names:
        own = sorted((row for row in rows if row["family"] == name), key=lambda row: row["components"])
        found = [_value(row, criterion) for row in own]
        values = [float("nan") if value is None else value for value in found]
        components, sound = [int(row["components"]) for row in own], [not row.get("reason") for row in own]
        families.append(Family(one_line(name, 40), known.index(name), components, values, sound))
    families.sort(key=lambda family: min((sign * v for v in family.values if v == v), default=float("inf")))
    chart = Chart(tuple(families), 0.0, 0.0, rising=sign < 0)
    trusted, others = ([sign * value for value in chart.values(ok)] for ok in (True, False))
    low, high = sorted(sign * end for end in telling_span(trusted, others, LEAST_SPAN[criterion]))
    return replace(chart, low=low, high=high)


def _caption(chart: Chart) -> str:
    """What is better, how far the best is ahead, and how many fits are beyond the axis."""
    ranked = sorted(chart.values(sound=True), reverse=chart.rising)
    ringed = "the best sound fit ringed" if ranked else "no fit is sound"
    if len(ranked) > 1:
        ahead = abs(ranked[1] - ranked[0])
        ringed += f", {f'{ahead:,.0f}' if ahead >= 1000 else f'{ahead:.3g}'} ahead"
    values = [*chart.values(sound=True), *chart.values(sound=False)]
    parts = ["the higher the better" if chart.rising else "the lower the better", ringed]
    counts = {side: sum(chart.side(value) == side for value in values) for side in BEYOND}
    beyond = [f"{count} of {len(values)} fits {side} the axis" for side, count in counts.items() if count]
    return " · ".join([*parts, *beyond])


def _mark(ax: Axes, chart: Chart, rows: Sequence[Mapping[str, Any]], criterion: str) -> None:
    """Rings the best cell and names it where nothing is drawn, if possible on the side where none is better."""
    best = best_row(rows, criterion)
    if best is None:
        return
    count, value = best["components"], best[criterion]
    text = f"{one_line(str(best['family']), 40)}, {count} component{'s' if count > 1 else ''}: {value:,.6g}"
    write_beside(ax, text.replace("-", "−"), (count, value), clear=RING / 2 + 2, above=chart.rising)
    ax.plot([count], [value], linestyle="none", marker="o", markersize=RING, markerfacecolor="none", color=INK,
            markeredgewidth=1.2, zorder=4, gid="best")  # fmt: skip
