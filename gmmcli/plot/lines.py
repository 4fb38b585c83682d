"""The lines of a picture of a selection: `Family`, one line; `Chart`, all of them and the axis; how they are drawn.

Values beyond the axis, and fits that failed, have a marker at its end, in a row for each family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gmmcli.plot.axes import describe, widened
from gmmcli.plot.style import PALETTE, QUIET, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Side = Literal["above", "below"]
MARKERS = "osDP<>*"  # of families; triangles that point up and down are of values beyond the axis
BEYOND: dict[Side, str] = {"above": "^", "below": "v"}
SIZE = 5.5  # of markers, points
EDGE_SIZE = 4.5  # of those at the end of the axis
EDGE_ROW = 7.0  # points from one row of them to the next
AHEAD, BEHIND = 34.0, 10.0  # points beyond what is shown: where the best is, for its name, and at the other end


@dataclass(frozen=True)
class Family:
    """Fits of one family by rising number of components; a value is NaN where the fit failed.

    place: among all families, which says its colour and marker.
    """

    name: str
    place: int
    components: Sequence[int]
    values: Sequence[float]
    sound: Sequence[bool]


@dataclass(frozen=True)
class Chart:
    """The families, and the values low to high that the axis shows. rising: the higher the better."""

    families: tuple[Family, ...]
    low: float
    high: float
    rising: bool

    def values(self, sound: bool) -> list[float]:
        """Of all fits that did not fail and are sound, or that are not."""
        cells = [cell for family in self.families for cell in zip(family.values, family.sound, strict=True)]
        return [value for value, own in cells if value == value and own == sound]

    @property
    def worse(self) -> Side:
        """The end of the axis where bad values are, and failed fits are marked."""
        return "below" if self.rising else "above"

    def side(self, value: float) -> Side | None:
        """The end of the axis where a value is marked, None where it is on the axis itself."""
        if value != value:
            return self.worse
        return "above" if value > self.high else "below" if value < self.low else None

    def at(self, side: Side) -> list[Family]:
        """The families that have markers at an end of the axis, from the end inwards, the worst first."""
        return [family for family in self.families[::-1] if any(self.side(value) == side for value in family.values)]


def draw_family(ax: Axes, chart: Chart, family: Family) -> None:
    """Draws the line of a family and its markers."""
    shade, marker = _look(family)
    cells = list(zip(family.components, family.values, family.sound, strict=True))
    ax.plot(family.components, family.values, color=shade, linewidth=1.4, zorder=2, label=family.name,
            gid=f"family {family.name}")  # fmt: skip
    for sound, face in ((True, shade), (False, "white")):
        there = [(x, y) for x, y, ok in cells if ok == sound and chart.side(y) is None]
        _markers(ax, there, marker, shade, face, SIZE)
        for side, arrow in BEYOND.items():
            beyond = [(x, y) for x, y, ok in cells if ok == sound and y == y and chart.side(y) == side]
            _at_edge(ax, chart, family, beyond, side, arrow, face, f"beyond {family.name}")
    failed = [(x, y) for x, y, _ in cells if y != y]
    _at_edge(ax, chart, family, failed, chart.worse, "x", shade, f"failed {family.name}")


def set_vertical(ax: Axes, chart: Chart, name: str) -> None:
    """Sets limits, ticks and label of the vertical axis; it and the families' lines end where what is shown does."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import FixedLocator

    low, high = widened(chart.low, chart.high, 0.0)
    height = ax.get_window_extent().height / figure_of(ax).dpi * 72  # points
    margins: dict[Side, float] = {"above": AHEAD, "below": AHEAD, chart.worse: BEHIND}
    rows = {side: EDGE_ROW * len(chart.at(side)) for side in margins}
    unit = (high - low) / max(height - sum(margins.values()) - sum(rows.values()), 0.3 * height)
    shown = low - unit * margins["below"], high + unit * margins["above"]
    describe(ax, "y", shown[0] - unit * rows["below"], shown[1] + unit * rows["above"], name, ticks=6)
    if any(rows.values()):
        ticks = ax.yaxis.get_major_locator().tick_values(*shown)
        ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if shown[0] <= tick <= shown[1]]))
        ax.spines["left"].set_bounds(*shown)
        inside = Rectangle((0, shown[0]), 1, shown[1] - shown[0], transform=ax.get_yaxis_transform())
        for line in ax.lines:
            if str(line.get_gid()).startswith("family "):
                line.set_clip_path(inside)


def legend_entries(chart: Chart) -> list[Any]:
    """The families, then what the other markers mean, where there are any."""
    from matplotlib.lines import Line2D

    def sign(marker: str, label: str, face: str = QUIET, size: float = SIZE) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, markersize=size, color=QUIET, markerfacecolor=face,
                      markeredgewidth=1.3, label=label)  # fmt: skip

    found = []
    for family in chart.families:
        shade, marker = _look(family)
        found.append(Line2D([], [], color=shade, marker=marker, markersize=SIZE, linewidth=1.4, label=family.name))
    unsound = chart.values(sound=False)
    if unsound:
        found.append(sign("o", "not to be trusted", "white"))
    for side, arrow in BEYOND.items():
        if any(chart.side(value) == side for value in [*chart.values(sound=True), *unsound]):
            found.append(sign(arrow, f"{side} the axis", size=EDGE_SIZE))
    if any(value != value for family in chart.families for value in family.values):
        found.append(sign("x", "failed", size=EDGE_SIZE))
    return found


def _look(family: Family) -> tuple[str, str]:
    """Colour and marker."""
    return PALETTE[family.place % len(PALETTE)], MARKERS[family.place % len(MARKERS)]


def _markers(
    ax: Axes, there: Sequence[tuple[float, float]], marker: str, shade: str, face: str, size: float, **more: Any
) -> None:
    if there:
        ax.plot(*zip(*there, strict=True), linestyle="none", marker=marker, markersize=size, color=shade,
                markerfacecolor=face, markeredgewidth=1.3, **{"zorder": 3, **more})  # fmt: skip


def _at_edge(
    ax: Axes,
    chart: Chart,
    family: Family,
    there: Sequence[tuple[float, float]],
    side: Side,
    marker: str,
    face: str,
    gid: str,
) -> None:
    """Markers in the family's row at an end of the axis."""
    from matplotlib.transforms import ScaledTranslation

    if not there:
        return
    inwards = EDGE_ROW * (chart.at(side).index(family) + 0.6) / 72
    shift = ScaledTranslation(0, -inwards if side == "above" else inwards, figure_of(ax).dpi_scale_trans)
    _markers(ax, [(x, float(side == "above")) for x, _ in there], marker, _look(family)[0], face, EDGE_SIZE,
             transform=ax.get_xaxis_transform() + shift, gid=gid)  # fmt: skip
