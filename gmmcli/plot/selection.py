"""Numbers of components and families compared: `plot_selection` draws a criterion by K from a grid of fits.

- `chart_of`: the table of fits as a `Chart`: families, and the values that the axis shows.
- `telling_span`: the part of the values in which the good ones can be told apart.

Values beyond the axis, and fits that failed, have a marker at its end, in a row for each family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gmmcli.errors import InputError, Option, UsageError
from gmmcli.families import FAMILIES
from gmmcli.model.criteria import CRITERIA
from gmmcli.plot.axes import Names, lay_out, points_of, set_axis, widened, write_words
from gmmcli.plot.style import INK, PALETTE, QUIET, SMALL, house_style, legend, new_figure, tidy, width_of
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

RISING = [name for name, criterion in CRITERIA.items() if not criterion.less_is_better]
# Differences up to which all are shown: in nats per row, and on the scale of −2 log L, where 10 is strong evidence
# by Kass & Raftery, "Bayes factors" (JASA 1995).
LEAST_SPAN = {"holdout": 1e-3, "bic": 10.0, "icl": 10.0, "aic": 10.0}
FEW = 3  # sound values; all are shown if they are fewer
VISIBLE = 0.04  # of the axis: a lead of the best that can be seen
FAR, NEAR = 3.0, 1.5  # times the range of the better half, from the best: where the axis ends at the latest, and else
APART = 1.5  # times farther from the best than the value before it: a gap
SHORTEST = 0.1  # of LEAST_SPAN: the shortest axis, so that differences without meaning look like none
SIZE = (7.6, 4.6)  # inches
MOST_TICKS = 12  # of the numbers of components
MARKER, EDGE_MARKER = 5.5, 4.5  # points across, on the axis and at its end
RING = 13.0  # points across
MARKERS = "osDP<>*"  # of families; triangles that point up and down mark values beyond the axis
EDGE_ROW = 0.026  # of the axis, from one row of markers at its end to the next
AHEAD = 34.0  # points of the axis beyond the values shown, next to the best, for its name
BEHIND = 0.037  # of the axis beyond them at the other end
CLEAR = 0.02  # of the axis, beyond the values shown, that lines may enter

Row = Mapping[str, Any]
Side = Literal["above", "below"]
BEYOND: dict[Side, str] = {"above": "^", "below": "v"}


@dataclass(frozen=True)
class Family:
    """Fits of one family by rising number of components.

    index: among all families, for its colour and marker. values: NaN for a fit that failed.
    """

    name: str
    index: int
    components: Sequence[int]
    values: Sequence[float]
    sound: Sequence[bool]

    def having(self, sound: bool) -> list[float]:
        """Values of the fits that did not fail and are sound, or are not."""
        return [v for v, own in zip(self.values, self.sound, strict=True) if own == sound and not math.isnan(v)]


@dataclass(frozen=True)
class Chart:
    """The families, the best first, and the values from low to high that the axis shows.

    rising: whether the highest value is the best.
    """

    families: tuple[Family, ...]
    low: float
    high: float
    rising: bool

    def values(self, sound: bool) -> list[float]:
        """Such values of all families."""
        return [value for family in self.families for value in family.having(sound)]

    def end(self, *, good: bool) -> Side:
        """The end of the axis with the good values, or with the bad ones, at which failed fits are marked."""
        return "above" if good == self.rising else "below"

    def side(self, value: float) -> Side | None:
        """The end of the axis at which a value is marked; None if the axis shows it."""
        if math.isnan(value):
            return self.end(good=False)
        return "above" if value > self.high else "below" if value < self.low else None

    def at(self, side: Side) -> list[Family]:
        """The families that have markers at an end of the axis, from the end inwards, the worst first."""
        return [family for family in self.families[::-1] if any(self.side(value) == side for value in family.values)]


def value_of(row: Row, criterion: str) -> float:
    """The criterion of a fit; NaN if it has none or an infinite one."""
    value = row.get(criterion)
    return float(value) if value is not None and math.isfinite(value) else math.nan


def sign_of(criterion: str) -> int:
    """1 or −1. Times the criterion it is the lower the better."""
    return -1 if criterion in RISING else 1


def best_row(rows: Sequence[Row], criterion: str) -> Row | None:
    """The best of the rows that have a value and no reason against them."""
    sound = [row for row in rows if not math.isnan(value_of(row, criterion)) and not row.get("reason")]
    return min(sound, key=lambda row: sign_of(criterion) * row[criterion], default=None)


def chart_of(rows: Sequence[Row], criterion: str) -> Chart:
    """The chart of a table of fits by a criterion."""
    sign = sign_of(criterion)
    names = dict.fromkeys(str(row["family"]) for row in rows)
    known = [*FAMILIES, *(name for name in names if name not in FAMILIES)]
    families = []
    for name in names:
        own = sorted((row for row in rows if row["family"] == name), key=lambda row: row["components"])
        values = [value_of(row, criterion) for row in own]
        components, sound = [int(row["components"]) for row in own], [not row.get("reason") for row in own]
        families.append(Family(one_line(name, 40), known.index(name), components, values, sound))
    families.sort(key=lambda family: min((sign * v for v in family.values if not math.isnan(v)), default=math.inf))
    trusted, others = ([sign * v for family in families for v in family.having(sound)] for sound in (True, False))
    low, high = sorted(sign * end for end in telling_span(trusted, others, LEAST_SPAN[criterion]))
    return Chart(tuple(families), low, high, rising=sign < 0)


def telling_span(
    sound: Sequence[float],  # the lower the better
    others: Sequence[float],  # not to be trusted
    least: float,
) -> tuple[float, float]:
    """Least and greatest value that an axis shows.

    All values, if the lead of the best can be seen among them. But a bad fit, as of one component, can be so bad that
    all the others look alike. Then the axis shows values within FAR ranges of the better half of the sound values
    from the best or, if values go on beyond without a gap, within NEAR, and differences up to `least` in any case.
    Unsound values may be better than the best by any amount: that side ends likewise.
    """
    values, ranked = [*sound, *others], sorted(sound)
    low, high = min(values), max(values)
    if len(ranked) >= FEW and ranked[1] - ranked[0] < VISIBLE * (high - low):
        best = ranked[0]
        reach = max(ranked[(len(ranked) - 1) // 2] - best, least)
        low = best - _shown([best - value for value in values if value <= best], reach)
        high = best + _shown([value - best for value in values if value >= best], reach)
    short = max(SHORTEST * least - (high - low), 0.0)
    return low - short / 2, high + short / 2


def _shown(
    apart: Sequence[float],  # distances from the best, its own 0 among them
    reach: float,
) -> float:
    """The greatest of the distances that are shown."""
    end = max(a for a in apart if a <= FAR * reach)
    beyond = min((a for a in apart if a > end), default=math.inf)
    return end if beyond > APART * end else max(a for a in apart if a <= NEAR * reach)


def default_criterion(rows: Sequence[Row]) -> str:
    """The first criterion by which the chosen row is the best sound one, else bic.

    Only a table whose fits were chosen by the holdout has values of it.
    """
    for name in (*RISING, *CRITERIA):
        best = best_row(rows, name)
        if best is not None and best.get("chosen"):
            return name
    return "bic"


def plot_selection(
    rows: Sequence[Row],
    criterion: str | None = None,
    *,
    ax: Axes | None = None,
    size: tuple[float | None, float | None] = (None, None),
) -> Axes:
    """Draws a criterion against the number of components, a line for each family; returns the Axes.

    rows: of a grid of fits, each with `family`, `components`, the criterion's value under its name or None where the
    fit failed, `reason` it is not to be trusted or None, and `chosen`. A family has the same colour and marker by
    every criterion and in every table. criterion: bic, icl or aic, the lower the better, or holdout, the
    log-likelihood of rows not fitted, the higher the better; None takes the first by which the chosen row is the best
    sound one. The best sound cell is ringed and named, unsound ones are hollow. The axis shows the values that are
    near the best; triangles at its end mark those beyond, crosses fits that failed. size: inches, of a figure of its
    own.

    Raises UsageError for an unknown criterion, InputError where no row has a value of it.
    """
    criterion = criterion or default_criterion(rows)
    choice = f"choose one of {', '.join(CRITERIA)}"
    if criterion not in CRITERIA:
        raise UsageError("unknown criterion", subject=Option("criterion", criterion), remedy=choice)
    if all(math.isnan(value_of(row, criterion)) for row in rows):
        raise InputError(f"no row has a value of {criterion}", remedy=choice)
    chart, best = chart_of(rows, criterion), best_row(rows, criterion)
    name = "log-likelihood of rows held out" if chart.rising else criterion.upper()
    if ax is not None:
        write_words(ax, _caption(chart), _draw(ax, chart, name))
        _mark(ax, chart, best, criterion)
        return ax
    with house_style():
        ax = new_figure(size[0] or SIZE[0], size[1] or SIZE[1]).add_subplot()
        lay_out(ax, _caption(chart), _draw(ax, chart, name))
        _mark(ax, chart, best, criterion)
    return ax


def _draw(ax: Axes, chart: Chart, name: str) -> Names:
    """Draws the lines and the legend, sets the axes and returns them with their names."""
    tidy(ax)
    lines = [_draw_family(ax, chart, family) for family in chart.families[::-1]]  # the best on top
    legend(ax, _entries(chart))
    counts = [count for family in chart.families for count in family.components]
    low, high = min(counts), max(counts)
    margin = min(0.05 * (high - low), 0.8) or 0.2
    set_axis(ax.xaxis, low - margin, high + margin, MOST_TICKS, whole=True, within=(low, high))
    _set_vertical(ax, chart, lines)
    return [(ax.xaxis, "components"), (ax.yaxis, name)]


def _set_vertical(ax: Axes, chart: Chart, lines: Sequence[Line2D]) -> None:
    """Sets the vertical axis; the families' lines end with the values shown, the axis before the rows of markers."""
    from matplotlib.patches import Rectangle

    low, high = widened(chart.low, chart.high, 0.0)
    better, worse = chart.end(good=True), chart.end(good=False)
    margins = {better: min(AHEAD / points_of(ax.yaxis), 0.3), worse: BEHIND}
    edges = {side: EDGE_ROW * len(chart.at(side)) for side in BEYOND}
    unit = (high - low) / (1 - sum(margins.values()) - sum(edges.values()))
    shown = low - unit * margins["below"], high + unit * margins["above"]
    set_axis(ax.yaxis, shown[0] - unit * edges["below"], shown[1] + unit * edges["above"], within=shown)
    if any(edges.values()):
        ax.spines["left"].set_bounds(*shown)
        height = high - low + 2 * unit * CLEAR  # nothing but the name of the best stands ahead of it
        inside = Rectangle((0, low - unit * CLEAR), 1, height, transform=ax.get_yaxis_transform())
        for line in lines:
            line.set_clip_path(inside)


def _draw_family(ax: Axes, chart: Chart, family: Family) -> Line2D:
    """Draws the line of a family and its markers; returns the line."""
    shade, marker = _colour_and_marker(family)
    line, *_ = ax.plot(family.components, family.values, color=shade, linewidth=1.4, zorder=2, label=family.name)
    line.set_gid(f"family {family.name}")
    cells = [*zip(family.components, family.values, family.sound, strict=True)]
    for sound, face in ((True, shade), (False, "white")):
        style = {"color": shade, "markerfacecolor": face, "markeredgewidth": 1.3, "linestyle": "none", "zorder": 3}
        on_axis = [(x, y) for x, y, own in cells if own == sound and chart.side(y) is None]
        if on_axis:
            ax.plot(*zip(*on_axis, strict=True), marker=marker, markersize=MARKER, **style)
        for side, arrow in BEYOND.items():
            beyond = [x for x, y, own in cells if own == sound and y == y and chart.side(y) == side]
            _draw_at_edge(ax, chart, family, beyond, side, marker=arrow, gid=f"beyond {family.name}", **style)
    failed = [x for x, y, _ in cells if y != y]
    style = {"color": shade, "markeredgewidth": 1.3, "linestyle": "none", "zorder": 3}
    _draw_at_edge(ax, chart, family, failed, chart.end(good=False), marker="x", gid=f"failed {family.name}", **style)
    return line


def _draw_at_edge(ax: Axes, chart: Chart, family: Family, counts: Sequence[int], side: Side, **style: Any) -> None:
    """Draws markers in the family's row at an end of the axis."""
    if counts:
        inwards = EDGE_ROW * (chart.at(side).index(family) + 0.6)
        height = 1 - inwards if side == "above" else inwards
        across = ax.get_xaxis_transform()
        ax.plot(counts, [height] * len(counts), markersize=EDGE_MARKER, transform=across, **style)


def _entries(chart: Chart) -> list[Any]:
    """Entries of the legend: the families, then the other markers that are drawn."""
    from matplotlib.lines import Line2D

    def sign(marker: str, label: str, face: str = QUIET, size: float = EDGE_MARKER) -> Line2D:
        style: dict[str, Any] = {"color": QUIET, "markerfacecolor": face, "markeredgewidth": 1.3, "linestyle": "none"}
        return Line2D([], [], marker=marker, markersize=size, label=label, **style)

    signs = [(family.name, *_colour_and_marker(family)) for family in chart.families]
    line: dict[str, Any] = {"markersize": MARKER, "linewidth": 1.4}
    found = [Line2D([], [], color=shade, marker=marker, label=name, **line) for name, shade, marker in signs]
    unsound = chart.values(sound=False)
    if unsound:
        found.append(sign("o", "not to be trusted", "white", MARKER))
    for side, arrow in BEYOND.items():
        if any(chart.side(value) == side for value in [*chart.values(sound=True), *unsound]):
            found.append(sign(arrow, f"{side} the axis"))
    if any(math.isnan(value) for family in chart.families for value in family.values):
        found.append(sign("x", "failed"))
    return found


def _colour_and_marker(family: Family) -> tuple[str, str]:
    """Colour and marker."""
    return PALETTE[family.index % len(PALETTE)], MARKERS[family.index % len(MARKERS)]


def _caption(chart: Chart) -> str:
    """The better direction, by how much the best leads, and how many fits are beyond the axis."""
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


def _mark(ax: Axes, chart: Chart, best: Row | None, criterion: str) -> None:
    """Rings the best cell and names it in the part of the axis ahead of all values, if it fits."""
    if best is None:
        return
    count, value = best["components"], best[criterion]
    style: dict[str, Any] = {"marker": "o", "markersize": RING, "markerfacecolor": "none", "markeredgewidth": 1.2}
    ax.plot([count], [value], linestyle="none", color=INK, zorder=4, gid="best", **style)
    text = f"{one_line(str(best['family']), 40)}, {count} component{'s' if count > 1 else ''}: {value:,.6g}"
    half = (width_of(text, SMALL) / 2 + 2) / points_of(ax.xaxis)
    if half > 0.5:
        return
    end = chart.high if chart.rising else chart.low
    across, height = ax.transAxes.inverted().transform(ax.transData.transform((count, end)))
    edge = EDGE_ROW * len(chart.at(chart.end(good=True)))
    middle = (height + (1 - edge if chart.rising else edge)) / 2  # between the values and the end of the axis
    leader = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": RING / 2}
    position: dict[str, Any] = {"xytext": (min(max(across, half), 1 - half), middle), "textcoords": "axes fraction"}
    position |= {"ha": "center", "va": "center", "arrowprops": None if value == end else leader, "parse_math": False}
    ax.annotate(text.replace("-", "−"), (count, value), fontsize=SMALL, color=INK, zorder=5, **position)
