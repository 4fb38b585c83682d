"""Which part of a criterion's range is worth drawing: `telling_span`, where the good values can be told apart."""

from __future__ import annotations

from collections.abc import Sequence

FEW = 3  # sound values, of which all are shown where they are fewer
VISIBLE = 0.04  # of the axis: a lead of the best that can be seen
FAR, NEAR = 3.0, 1.5  # times the range of the better half, from the best: where the axis ends at the latest, and else
GAP = 1.5  # times farther from the best, and a value is apart from those before it
SHORTEST = 0.1  # of `least`: an axis no shorter, for differences that mean nothing to look like nothing


def telling_span(
    sound: Sequence[float],  # the lower the better
    others: Sequence[float],  # not to be trusted
    least: float,
) -> tuple[float, float]:
    """The least and the greatest value that an axis shows.

    All of them, where the lead of the best is to be seen among them. But a bad fit, as of one component, can be so
    bad that all the others look alike. Then the axis shows what is within FAR ranges of the better half of the sound
    values from the best, or, where values go on beyond without a gap, within NEAR; and differences up to `least` in
    any case. Unsound values may be better than the best by any amount: on that side it ends likewise.
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
    beyond = min((a for a in apart if a > end), default=float("inf"))
    return end if beyond > GAP * end else max(a for a in apart if a <= NEAR * reach)
