"""A table of fits as numbers to draw: `chart_of` makes a `Chart` of families, and of the values that its axis shows.

- `Family`: the fits of one family by number of components.
- `telling_span`: the part of the values in which the good ones can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gmmcli.families import FAMILIES
from gmmcli.model.criteria import CRITERIA
from gmmcli.storage.names import one_line

RISING = [name for name, criterion in CRITERIA.items() if not criterion.less_is_better]
# Differences up to which all are shown: in nats per row, and on the scale of −2 log L, where 10 is strong evidence
# by Kass & Raftery, "Bayes factors" (JASA 1995).
LEAST_SPAN = {"holdout": 1e-3, "bic": 10.0, "icl": 10.0, "aic": 10.0}
FEW = 3  # sound values; all are shown if they are fewer
VISIBLE = 0.04  # of the axis: a lead of the best that can be seen
FAR, NEAR = 3.0, 1.5  # times the range of the better half, from the best: where the axis ends at the latest, and else
APART = 1.5  # times farther from the best than the value before it: a gap
SHORTEST = 0.1  # of LEAST_SPAN: the shortest axis, so that differences without meaning look like none

Row = Mapping[str, Any]
Side = Literal["above", "below"]


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
