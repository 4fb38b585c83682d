"""How many components, and which family: `plot_selection` draws a criterion by K from a grid of fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError, UsageError
from gmmcli.names import one_line
from gmmcli.plot.axes import describe, widened
from gmmcli.plot.style import INK, PALETTE, QUIET, SMALL, caption, house_style, legend, new_figure, plain, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CRITERIA = ("bic", "icl", "aic", "holdout")
RISING = ("holdout",)  # the higher the better
MARKERS = "osD^vPX"
SIZE = (7.6, 4.6)  # inches
STAGGER = 0.07  # of the failed cells of one K, so that none hides another


def default_criterion(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first criterion by which the chosen row is the best sound one, else bic."""
    for name in CRITERIA:
        best = best_row(rows, name)
        if best is not None and best.get("chosen"):
            return name
    return CRITERIA[0]


def best_row(rows: Sequence[Mapping[str, Any]], criterion: str) -> Mapping[str, Any] | None:
    """The best of the rows that have a value and no reason against them."""
    sound = [row for row in rows if row.get(criterion) is not None and not row.get("reason")]
    sign = -1 if criterion in RISING else 1
    return min(sound, key=lambda row: sign * row[criterion], default=None)


def plot_selection(
    rows: Sequence[Mapping[str, Any]],
    criterion: str | None = None,
    *,
    ax: Axes | None = None,
    size: tuple[float | None, float | None] = (None, None),
) -> Axes:
    """Draws a criterion against the number of components, a line for each family; returns the Axes.

    rows: of a grid of fits, each with `family`, `components`, the criterion's value under its name or None where the
    fit failed, `reason` it is not to be trusted or None, and `chosen`. criterion: bic, icl or aic, the lower the
    better, or holdout, the log-likelihood of rows not fitted, the higher the better; None takes the first by which
    the chosen row is the best sound one. The best sound cell is ringed and named, unsound ones are hollow, failed
    ones crosses on the upper edge. size: inches, of a figure of its own.

    Raises UsageError for an unknown criterion, InputError where no row has a value of it.
    """
    criterion = criterion or default_criterion(rows)
    if criterion not in CRITERIA:
        raise UsageError(f"unknown criterion {criterion!r}: choose {', '.join(CRITERIA)}")
    values = [row[criterion] for row in rows if row.get(criterion) is not None]
    if not values:
        raise InputError(f"no row has a value of {criterion}: choose another criterion of {', '.join(CRITERIA)}")
    if ax is None:
        with house_style():
            axes = new_figure(size[0] or SIZE[0], size[1] or SIZE[1]).add_subplot()
            return plot_selection(rows, criterion, ax=axes)
    counts = sorted({int(row["components"]) for row in rows})
    tidy(ax)
    rising = criterion in RISING
    families = _families(rows, criterion)
    handles = [_draw_family(ax, family, place, rows, criterion) for place, family in enumerate(families)]
    describe(ax, "x", *widened(counts[0], counts[-1], 0.05), name="components", ticks=min(12, len(counts) + 1))
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # type: ignore[attr-defined]
    low, high = widened(min(values), max(values), 0.13)
    describe(ax, "y", low, high, criterion.upper() if not rising else "log-likelihood of rows held out", ticks=6)
    handles += _notes(rows, criterion)
    best = best_row(rows, criterion)
    if best is not None:
        _mark(ax, best, criterion, below=not rising, right=best["components"] <= (counts[0] + counts[-1]) / 2)
    caption(ax, f"{'the higher' if rising else 'the lower'} the better; the best sound fit is ringed")
    legend(ax, handles)
    return ax


def _families(rows: Sequence[Mapping[str, Any]], criterion: str) -> list[str]:
    """Names of the families, the one with the best value first, as the lines lie."""
    sign = -1 if criterion in RISING else 1

    def rank(family: str) -> float:
        own = [sign * r[criterion] for r in rows if r["family"] == family and r.get(criterion) is not None]
        return min(own, default=float("inf"))

    return sorted(dict.fromkeys(str(row["family"]) for row in rows), key=rank)


def _draw_family(ax: Axes, family: str, place: int, rows: Sequence[Mapping[str, Any]], criterion: str) -> Any:
    """Draws the line of a family, its markers, and crosses for what failed; returns its entry in the legend."""
    from matplotlib.lines import Line2D

    own = sorted((row for row in rows if row["family"] == family), key=lambda row: row["components"])
    shade, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
    x = [row["components"] for row in own]
    y = [float("nan") if row.get(criterion) is None else row[criterion] for row in own]
    ax.plot(x, y, color=shade, linewidth=1.4, zorder=2, label=one_line(family, 40), gid=f"family {family}")
    for sound, face in ((True, shade), (False, "white")):
        there = [(a, b) for a, b, row in zip(x, y, own, strict=True) if b == b and sound == (not row.get("reason"))]
        if there:
            ax.plot(*zip(*there, strict=True), linestyle="none", marker=marker, markersize=5.5, color=shade,
                    markerfacecolor=face, markeredgewidth=1.3, zorder=3)  # fmt: skip
    failed = [a + STAGGER * place for a, b in zip(x, y, strict=True) if b != b]
    if failed:
        ax.plot(failed, [0.985] * len(failed), linestyle="none", marker="x", markersize=5, color=shade,
                markeredgewidth=1.3, transform=ax.get_xaxis_transform(), zorder=3)  # fmt: skip
    return Line2D([], [], color=shade, marker=marker, markersize=5.5, linewidth=1.4, label=one_line(family, 40))


def _notes(rows: Sequence[Mapping[str, Any]], criterion: str) -> list[Any]:
    """What the legend says of hollow markers and crosses, where there are any."""
    from matplotlib.lines import Line2D

    found = []
    if any(row.get("reason") and row.get(criterion) is not None for row in rows):
        found.append(
            Line2D([], [], linestyle="none", marker="o", markersize=5.5, color=QUIET, markerfacecolor="white",
                   label="not to be trusted")
        )  # fmt: skip
    if any(row.get(criterion) is None for row in rows):
        found.append(Line2D([], [], linestyle="none", marker="x", markersize=5, color=QUIET, label="failed"))
    return found


def _mark(ax: Axes, best: Mapping[str, Any], criterion: str, *, below: bool, right: bool) -> None:
    """Rings the best cell and names it, on the side where no line can be: beyond the best there is none."""
    x, y = best["components"], best[criterion]
    ax.plot([x], [y], linestyle="none", marker="o", markersize=13, markerfacecolor="none", color=INK,
            markeredgewidth=1.2, zorder=4, gid="best")  # fmt: skip
    text = f"{one_line(str(best['family']), 40)}, {x} component{'s' if x > 1 else ''}: {y:,.6g}"
    shown = ax.annotate(
        text.replace("-", "−"),
        (x, y),
        xytext=(-6 if right else 6, -12 if below else 12),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top" if below else "bottom",
        fontsize=SMALL,
        color=INK,
        zorder=5,
    )
    plain(shown)
