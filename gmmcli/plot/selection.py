"""Numbers of components and families compared: `plot_selection` draws a criterion by K from a table of fits.

`Chart` holds the fits of every family. `telling_span` is the interval of values that the axis shows. Fits beyond the
axis and fits that failed have a marker at its end, in a row for each family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gmmcli.errors import InputError, Option, UsageError
from gmmcli.families import FAMILIES
from gmmcli.model.criteria import CRITERIA
from gmmcli.plot.axes import Names, Size, lay_out, new_axes, points_of, set_axis, widened, write_words
from gmmcli.plot.style import INK, PALETTE, QUIET, SMALL, house_style, legend, tidy, width_of
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# The axis shows all values that differ by less: on the scale of −2 log L, where 10 is strong evidence by Kass &
# Raftery, "Bayes factors" (JASA 1995), and for a log-likelihood per row in nats.
LEAST_SPAN = {False: 10.0, True: 1e-3}  # by whether the highest value is the best
FEW = 3  # with fewer sound values the axis shows all
VISIBLE = 0.04  # of the axis: the least lead of the best that can be seen
FAR, NEAR = 3.0, 1.5  # times the range of the better half, from the best: the longest axis, and the usual one
APART = 1.5  # a value so many times farther from the best than the one before it is beyond a gap
SHORTEST = 0.1  # of the least span: a shorter axis would magnify differences without meaning
SIZE = (7.6, 4.6)  # inches
MOST_TICKS = 12  # of the numbers of components
MARKERS = "osDP<>*"  # of families; triangles that point up and down mark values beyond the axis
MARKER, EDGE_MARKER, RING = 5.5, 4.5, 13.0  # points across: on the axis, at its end, around the best
LINE = 1.4  # points
EDGE_ROW = 0.026  # of the axis, from one row of markers at its end to the next
AHEAD = 34.0  # points of the axis ahead of the best value, for its name
BEHIND = 0.037  # of the axis beyond the values at the other end
CLEAR = 0.02  # of the axis, beyond the values shown, that lines may enter

Row = Mapping[str, Any]
Side = Literal["above", "below"]
BEYOND: dict[Side, str] = {"above": "^", "below": "v"}


class Fit(NamedTuple):
    """A fit by one criterion. value: NaN if it failed. cost: the lower the better, infinite if it failed."""

    family: str
    components: int
    value: float
    cost: float
    sound: bool
    chosen: bool

    @property
    def failed(self) -> bool:
        """Whether the fit failed."""
        return self.cost == math.inf


class Chart:
    """The fits to draw, the best family first, each by rising K; one of them has a value at least.

    looks: colour and marker of every family. rising: whether the highest value is the best. better, worse: the ends
    of the axis with the good and the bad values. low, high: the least and the greatest value that the axis shows.
    """

    def __init__(self, fits: Sequence[Fit], rising: bool) -> None:
        names = dict.fromkeys(fit.family for fit in fits)
        by_family = ([fit for fit in fits if fit.family == name] for name in names)
        families = [sorted(family, key=lambda fit: fit.components) for family in by_family]
        families.sort(key=lambda family: min(fit.cost for fit in family))
        self.families = {family[0].family: family for family in families}
        self.looks = {
            name: (PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)])
            for index, name in enumerate(dict.fromkeys([*FAMILIES, *names]))
        }
        self.fits, self.best, self.rising = fits, best_of(fits), rising
        self.better: Side = "above" if rising else "below"
        self.worse: Side = "below" if rising else "above"
        sound, others = ([f.cost for f in fits if not f.failed and f.sound is own] for own in (True, False))
        span = telling_span(sound, others, LEAST_SPAN[rising])
        self.low, self.high = sorted(-cost if rising else cost for cost in span)

    def side(self, fit: Fit) -> Side | None:
        """The end of the axis at which a fit is marked; None if the axis shows its value."""
        if fit.failed:
            return self.worse
        return "above" if fit.value > self.high else "below" if fit.value < self.low else None

    def beyond(self, side: Side) -> list[Fit]:
        """The fits with a value beyond this end of the axis."""
        return [fit for fit in self.fits if not fit.failed and self.side(fit) == side]

    def marked(self, side: Side) -> list[str]:
        """The families with markers at an end of the axis, from the end inwards, the worst first."""
        return [name for name in reversed(self.families) if side in map(self.side, self.families[name])]


def fits_of(rows: Sequence[Row], criterion: str) -> list[Fit]:
    """The rows of a table by a criterion. A fit with an infinite value counts as failed."""
    fits = []
    for row in rows:
        value = row.get(criterion)
        value = math.nan if value is None or not math.isfinite(value) else float(value)
        cost = math.inf if math.isnan(value) else value if CRITERIA[criterion].less_is_better else -value
        sound, chosen = not row.get("reason"), bool(row.get("chosen"))
        fits.append(Fit(str(row["family"]), int(row["components"]), value, cost, sound, chosen))
    return fits


def best_of(fits: Sequence[Fit]) -> Fit | None:
    """The best sound fit."""
    return min((fit for fit in fits if fit.sound and not fit.failed), key=lambda fit: fit.cost, default=None)


def telling_span(sound: Sequence[float], others: Sequence[float], least: float) -> tuple[float, float]:
    """Least and greatest value that an axis shows. sound, others: values of fits, the lower the better.

    The axis shows all values if the lead of the best can be seen among them. But a bad fit, as of one component, can
    be so bad that all others look alike. Then the axis ends within FAR ranges of the better half of the sound values
    from the best or, if values go on beyond without a gap, within NEAR. It shows differences up to `least` in any
    case. Unsound values may be better than the best by any amount: that side ends likewise.
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


def _shown(apart: Sequence[float], reach: float) -> float:
    """The greatest of the distances from the best that are shown; its own, 0, is among them."""
    end = max(a for a in apart if a <= FAR * reach)
    beyond = min((a for a in apart if a > end), default=math.inf)
    return end if beyond > APART * end else max(a for a in apart if a <= NEAR * reach)


def default_criterion(rows: Sequence[Row]) -> str:
    """The first criterion by which the chosen row is the best sound one, else bic. A holdout goes before others."""
    for name in sorted(CRITERIA, key=lambda name: CRITERIA[name].less_is_better):
        best = best_of(fits_of(rows, name))
        if best is not None and best.chosen:
            return name
    return "bic"


def plot_selection(
    rows: Sequence[Row], criterion: str | None = None, *, ax: Axes | None = None, size: Size = (None, None)
) -> Axes:
    """Draws a criterion against the number of components, a line for each family; returns the Axes.

    rows: of a grid of fits, each with `family`, `components`, the criterion's value under its name (None if the fit
    failed), the `reason` to distrust it or None, and `chosen`. criterion: bic, icl or aic, the lower the better;
    holdout, the log-likelihood of rows not fitted, the higher the better; None for that of default_criterion. size:
    inches, of a figure of its own.

    A family has one colour and marker in all pictures. The best sound fit is ringed and named, unsound fits are
    hollow. The axis shows the values near the best; triangles at its end mark values beyond, crosses failed fits.

    Raises UsageError for an unknown criterion, InputError where no row has a value of it.
    """
    criterion = criterion or default_criterion(rows)
    choice = f"choose one of {', '.join(CRITERIA)}"
    if criterion not in CRITERIA:
        raise UsageError("unknown criterion", subject=Option("criterion", criterion), remedy=choice)
    label, less_is_better = CRITERIA[criterion]
    fits = fits_of(rows, criterion)
    if all(fit.failed for fit in fits):
        raise InputError(f"no row has a value of {criterion}", remedy=choice)
    chart = Chart(fits, rising=not less_is_better)
    if ax is not None:
        write_words(ax, _caption(chart), _draw(ax, chart, label))
        _mark_best(ax, chart)
        return ax
    with house_style():
        ax = new_axes(size, SIZE)
        lay_out(ax, _caption(chart), _draw(ax, chart, label))
        _mark_best(ax, chart)
    return ax


def _draw(ax: Axes, chart: Chart, label: str) -> Names:
    """Draws the lines and the legend, sets the axes and returns them with their names."""
    tidy(ax)
    lines = [_draw_family(ax, chart, name) for name in reversed(chart.families)]  # the best on top
    legend(ax, _entries(chart))
    counts = [fit.components for fit in chart.fits]
    low, high = min(counts), max(counts)
    margin = min(0.05 * (high - low), 0.8) or 0.2
    set_axis(ax.xaxis, low - margin, high + margin, MOST_TICKS, whole=True, within=(low, high))
    _set_vertical(ax, chart, lines)
    return [(ax.xaxis, "components"), (ax.yaxis, label)]


def _set_vertical(ax: Axes, chart: Chart, lines: Sequence[Line2D]) -> None:
    """Sets the vertical axis. The families' lines end with the values shown, the axis before the rows of markers."""
    from matplotlib.transforms import Bbox, TransformedBbox

    low, high = widened(chart.low, chart.high, 0.0)
    margins: dict[Side, float] = {chart.better: min(AHEAD / points_of(ax.yaxis), 0.3), chart.worse: BEHIND}
    edges = {side: EDGE_ROW * len(chart.marked(side)) for side in BEYOND}
    unit = (high - low) / (1 - sum(margins.values()) - sum(edges.values()))
    shown = low - unit * margins["below"], high + unit * margins["above"]
    set_axis(ax.yaxis, shown[0] - unit * edges["below"], shown[1] + unit * edges["above"], within=shown)
    if not any(edges.values()):
        return
    ax.spines["left"].set_bounds(*shown)
    clear = unit * CLEAR  # nothing but the name of the best stands farther ahead of it
    inside = TransformedBbox(Bbox([(0, low - clear), (1, high + clear)]), ax.get_yaxis_transform())
    for line in lines:
        line.set_clip_box(inside)


def _draw_family(ax: Axes, chart: Chart, family: str) -> Line2D:
    """Draws the line of a family and its markers; returns the line."""
    (shade, marker), fits, shown = chart.looks[family], chart.families[family], one_line(family, 40)
    counts, values = [fit.components for fit in fits], [fit.value for fit in fits]
    line, *_ = ax.plot(counts, values, color=shade, linewidth=LINE, zorder=2, gid=f"family {shown}")
    alike: dict[tuple[Side | None, bool, bool], list[Fit]] = {}
    for fit in fits:
        alike.setdefault((chart.side(fit), fit.failed, fit.failed or fit.sound), []).append(fit)
    for (side, failed, filled), some in alike.items():
        counts, face = [fit.components for fit in some], shade if filled else "white"
        if side is None:
            ax.plot(counts, [fit.value for fit in some], zorder=3, **_sign(marker, MARKER, shade, face))
            continue
        inwards = EDGE_ROW * (chart.marked(side).index(family) + 0.6)
        heights = [1 - inwards if side == "above" else inwards] * len(some)
        kind, sign = ("failed", "x") if failed else ("beyond", BEYOND[side])
        style = _sign(sign, EDGE_MARKER, shade, face) | {"transform": ax.get_xaxis_transform(), "zorder": 3}
        ax.plot(counts, heights, gid=f"{kind} {shown}", **style)
    return line


def _sign(marker: str, size: float, shade: str, face: str) -> dict[str, Any]:
    """The style of markers without a line."""
    style = {"color": shade, "markerfacecolor": face, "markeredgewidth": 1.3, "linestyle": "none"}
    return {"marker": marker, "markersize": size, **style}


def _entries(chart: Chart) -> list[Line2D]:
    """Entries of the legend: the families, then the other markers that are drawn."""
    from matplotlib.lines import Line2D

    styles: list[tuple[str, dict[str, Any]]] = []
    for name in chart.families:
        shade, marker = chart.looks[name]
        style = {"color": shade, "marker": marker, "markersize": MARKER, "linewidth": LINE}
        styles.append((one_line(name, 40), style))
    if any(not fit.sound and not fit.failed for fit in chart.fits):
        styles.append(("not to be trusted", _sign("o", MARKER, QUIET, "white")))
    for side, arrow in BEYOND.items():
        if chart.beyond(side):
            styles.append((f"{side} the axis", _sign(arrow, EDGE_MARKER, QUIET, QUIET)))
    if any(fit.failed for fit in chart.fits):
        styles.append(("failed", _sign("x", EDGE_MARKER, QUIET, QUIET)))
    return [Line2D([], [], label=label, **style) for label, style in styles]


def _caption(chart: Chart) -> str:
    """The better direction, the lead of the best, and the numbers of fits beyond the axis."""
    values = [fit for fit in chart.fits if not fit.failed]
    ranked = sorted((fit.value for fit in values if fit.sound), reverse=chart.rising)
    ringed = "the best sound fit ringed" if ranked else "no fit is sound"
    if len(ranked) > 1:
        ahead = abs(ranked[1] - ranked[0])
        ringed += f", {f'{ahead:,.0f}' if ahead >= 1000 else f'{ahead:.3g}'} ahead"
    counts = {side: len(chart.beyond(side)) for side in BEYOND}
    beyond = [f"{count} of {len(values)} fits {side} the axis" for side, count in counts.items() if count]
    return " · ".join(["the higher the better" if chart.rising else "the lower the better", ringed, *beyond])


def _mark_best(ax: Axes, chart: Chart) -> None:
    """Rings the best fit and writes its name in the part of the axis ahead of all values, if the name fits."""
    if chart.best is None:
        return
    family, count, value, *_ = chart.best
    ring: dict[str, Any] = _sign("o", RING, INK, "none") | {"markeredgewidth": 1.2}
    ax.plot([count], [value], zorder=4, gid="best", **ring)
    text = f"{one_line(family, 40)}, {count} component{'s' if count > 1 else ''}: {value:,.6g}".replace("-", "−")
    left, right = ax.get_xlim()
    half = (width_of(text, SMALL) / 2 + 2) / points_of(ax.xaxis) * (right - left)
    if 2 * half > right - left:
        return
    bottom, top = ax.spines["left"].get_bounds() or ax.get_ylim()
    end, edge = (chart.high, top) if chart.rising else (chart.low, bottom)
    position = min(max(count, left + half), right - half), (end + edge) / 2
    leader = {"arrowstyle": "-", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": RING / 2}
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": INK, "parse_math": False}
    ax.annotate(text, (count, value), position, arrowprops=None if value == end else leader, zorder=5, **style)
