"""Densities of the rows of a fit, in the coordinates of the fit, and the histogram of their scores.

- `log_joint_of_rows`, `log_volumes`, `chunk_rows`: densities of a block's z. It has rows [1, z] and, with missing
  cells, a mask of the observed ones. The score histogram, the certainty and the worst rows of a fit are made of them.
- `Scores`: the histogram of log p(x), in nats. `count_scores`, `added_up`: counts in its bins.

The bins do not depend on the rows. They are 1/32 nat wide near a centre, the mean score, and wider with the distance
u from it, by asinh(u / 8). Some thousand bins hold any data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.families.base import Family, Parameters
from gmmcli.model.densities import Background, Densities, unreduced
from gmmcli.passes.kernels.choice import ROUNDING_LIMIT, Reach
from gmmcli.passes.prepared import PreparedData

CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}  # of a chunk: rows × components, or rows × columns
LINEAR = 8.0  # nats: so near the centre bins have nearly equal widths
BINS = 256  # for each unit of asinh


def log_joint_of_rows(
    data: PreparedData, family: Family, p: Parameters, *, exact: bool = False
) -> Callable[[Tensor], Tensor]:
    """The function from rows of a block's z to log p(k, z), (K, B) in nats; a background is one more row, the last.

    z and p: in the coordinates of the fit. With missing cells log p(k, z_o), of those that are observed. exact:
    evaluate from differences to the means even where one product for all components would do.
    """
    product = None if exact or data.incomplete else _product(data, family, p)
    p = p.to(data.device)
    log_widths = data.log_ranges.to(data.device)
    shift, std = torch.zeros_like(log_widths), torch.ones_like(log_widths)
    background = None
    if p.background is not None:
        infinite = torch.full_like(log_widths, math.inf)[:, None]  # all rows of a fit lie in the box
        background = Background(-infinite, infinite, log_widths[:, None], p.background.log())
    densities = Densities(family, p, shift, std, background)

    def log_joint(z: Tensor) -> Tensor:
        columns = z[1 : 1 + data.dims].double()
        if product is not None:
            return product(columns)
        if data.incomplete:
            columns = torch.where(z[1 + data.dims :] > 0, columns, math.nan)
        return densities.reduced(columns, unreduced, marginal=data.incomplete)[0]

    return log_joint


def log_volumes(data: PreparedData) -> Callable[[Tensor], Tensor | float]:
    """The function from rows of a block's z to log p(z) − log p(x), x in data units, of each row, nats."""
    if not data.incomplete:
        volume = data.affine.log_det()
        return lambda z: volume
    factors = data.affine.factor.log().expand(data.dims).to(data.device)
    return lambda z: factors @ (z[1 + data.dims :] > 0).double()


def chunk_rows(data: PreparedData, p: Parameters) -> int:
    """Rows of z that are evaluated at a time: a matter of data and model, as its last bits are."""
    numbers = CHUNK_NUMBERS.get(data.device.type, CHUNK_NUMBERS["cuda"])
    return max(512, numbers // max(p.components, data.dims))


def _product(data: PreparedData, family: Family, p: Parameters) -> Callable[[Tensor], Tensor] | None:
    """log p(k, z) of complete rows (D, B) by one product for all components; None where its terms may cancel."""
    eta = family.coefficients(p, smallest=0.0)  # on the host, where the bounds are; −∞ is over any
    reach = Reach(data.bound[: 1 + data.dims], family.quad_bound(data.bound[: 1 + data.dims]), data.radius)
    if torch.finfo(torch.float64).eps * reach.largest_terms(eta) > ROUNDING_LIMIT:
        return None
    constants, slopes = eta.linear[:, :1], torch.cat([eta.linear[:, 1:], eta.quad.expand(p.components, -1)], 1)
    if p.background is not None:
        level = p.background.log() - data.log_box
        constants = torch.cat([constants, level.reshape(1, 1)])
        slopes = torch.cat([slopes, slopes.new_zeros(1, slopes.shape[1])])
    constants, slopes = constants.to(data.device), slopes.to(data.device)
    return lambda z: torch.addmm(constants, slopes, torch.cat([z, family.quad(z)]))


@dataclass(frozen=True)
class Scores:
    """The histogram. counts: rows, or their weight, by the index of the bin. centre: nats."""

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


def count_scores(scores: Tensor, weights: Tensor | None, centre: float, weight: float) -> Tensor:
    """Bins that have rows and their counts, (bins, 2) float64, of the scores (B,) of a block.

    weights: (B,), counted instead of rows. weight: the total weight of all rows. Counts are rounded to 2^-52 of it.
    So their sums are exact, and equal in whatever order blocks are added.
    """
    unit = 2.0 ** (math.frexp(weight)[1] - 52)
    bins = ((scores - centre) / LINEAR).asinh().mul(BINS).floor().long()
    lowest = int(bins.min())  # bins are a few hundred thousand at most: counting takes less time than sorting
    rows = (bins - lowest).bincount()
    numbers = rows.nonzero()[:, 0]
    counts = rows if weights is None else (bins - lowest).bincount(weights)
    counts = counts[numbers].double().div_(unit).round_().mul_(unit)
    return torch.stack([(numbers + lowest).double(), counts], 1)


def added_up(counts: Tensor) -> Tensor:
    """Bins in ascending order and their total counts, (bins, 2), of counts (n, 2) that may repeat bins."""
    bins, index = counts[:, 0].unique(return_inverse=True)
    return torch.stack([bins, counts.new_zeros(len(bins)).index_add(0, index, counts[:, 1])], 1)
