"""Histogram of the scores of a fit's rows: counts in fixed bins, which add up over blocks of rows.

A score is log p(x) in nats. The bins do not depend on the rows. They are 1/32 nat wide near a centre, the mean score,
and wider with the distance u from it, by asinh(u / 8): some thousand bins hold any data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError

LINEAR = 8.0  # nats about the centre within which bins are nearly of the same width
BINS = 256  # for each unit of asinh


@dataclass(frozen=True)
class Scores:
    """counts: rows, or their weight, by the number of the bin; centre: nats."""

    centre: float
    counts: Mapping[int, float]

    def quantile(self, share: float) -> float:
        """The score, nats, below which this share of the rows lies, with rows spread evenly within a bin."""
        target, below = share * sum(self.counts.values()), 0.0
        last = 0
        for number, count in sorted(self.counts.items()):
            if below + count >= target and count > 0:
                low, high = self._edge(number), self._edge(number + 1)
                return low + (high - low) * (target - below) / count
            below, last = below + count, number
        return self._edge(last + 1)

    def _edge(self, number: int) -> float:
        return self.centre + LINEAR * math.sinh(number / BINS)

    def to_json(self) -> dict[str, Any]:
        """JSON values: the centre, and the bins that have rows with their counts."""
        numbers = sorted(self.counts)
        counts = [int(count) if count.is_integer() else count for count in (float(self.counts[n]) for n in numbers)]
        return {"centre": self.centre, "bins": numbers, "counts": counts}

    @classmethod
    def from_json(cls, value: Any) -> Scores:
        """The scores that `to_json` gave. Raises InputError for any other value."""
        try:
            bins, counts = value["bins"], value["counts"]
            scores = cls(float(value["centre"]), dict(zip(bins, counts, strict=True)))
            ends = scores._edge(min(bins)), scores._edge(max(bins) + 1)
            sound = all(type(n) is int for n in bins) and all(type(c) in (int, float) and c >= 0 for c in counts)
            if sound and 0 < float(sum(counts)) < math.inf and all(map(math.isfinite, ends)):
                return scores
        except (TypeError, KeyError, ValueError, OverflowError):
            pass
        raise InputError("the metadata have no sound counts of the scores of the rows that were fitted")


class ScoreCounter:
    """Counts scores (B,) of one block after another.

    weight: the total weight of all rows. A block's counts are rounded to 2^-52 of it, so that their sums are exact
    and equal in whatever order blocks are added.
    """

    def __init__(self, centre: float, weight: float):
        self._centre = centre
        self._unit = 2.0 ** (math.frexp(weight)[1] - 52)
        self._counts: dict[int, float] = {}

    def add(self, numbers: Tensor, counts: Tensor) -> None:
        """Adds the bins and counts that `count` gave."""
        for number, count in zip(numbers.long().tolist(), counts.tolist(), strict=True):
            self._counts[number] = self._counts.get(number, 0.0) + count

    def count(self, scores: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """The bins of a block's scores (B,) and their counts, or weights."""
        bins = ((scores - self._centre) / LINEAR).asinh().mul(BINS).floor().long()
        lowest = int(bins.min())  # bins are a few hundred thousand at most: counting takes less time than sorting
        rows = (bins - lowest).bincount()
        numbers = rows.nonzero()[:, 0]
        counts = rows if weights is None else (bins - lowest).bincount(weights)
        return numbers + lowest, counts[numbers].double().div_(self._unit).round_().mul_(self._unit)

    def counted(self) -> Tensor:
        """The bins that have rows and their counts, (bins, 2)."""
        return torch.tensor(sorted(self._counts.items()), dtype=torch.float64).reshape(-1, 2)

    def scores(self) -> Scores:
        """The histogram of everything that was added."""
        return Scores(self._centre, dict(sorted(self._counts.items())))
