"""Sufficient statistics of a pass, and the fixed-point sums that make them independent of who adds.

Floating-point addition is not associative: a sum over blocks would change its last bits with the number of
workers, processes or the order of reading. Here every number of a block is turned into two int64 limbs at a
scale known before the pass; integers are added, in any order, and turned back once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.passes.execution import Group
from gmmcli.passes.workers import compiled

HIGH_BITS = 62  # the high limb holds the sum's magnitude, at most 2^HIGH_BITS units
SMALLEST_BOUND = 1e-280  # its factor is a normal number, and so is that of the largest bound
COMPILED_NUMBERS = 1 << 12  # from which on adding them is compiled
LOW_BITS = 40  # the low limb divides that unit; leaves room to add 2^22 blocks


@dataclass(frozen=True)
class SufficientStatistics:
    """Sufficient statistics of one mixture from one pass over the data. Float64; N is the total row weight.

    counts: (K,) Σ_n w_n r_nk.
    sums: (K, D) Σ_n w_n r_nk x_n.
    quads: (J, Q) Σ_n w_n r_nk quad(x_n), summed over k where the covariance is shared.
    log_likelihood: Σ_n w_n log p(x_n), nats.
    entropy: Σ_n w_n Σ_k −r_nk log r_nk, nats, or None when the pass was not asked for it.
    weight: N, the weight of the rows that were passed over; background: of it, Σ_n w_n r_n of a background, or None.
    noise: differences of the mean log-likelihood up to this are rounding, nats per row.
    """

    counts: Tensor  # (K,)
    sums: Tensor  # (K, D)
    quads: Tensor  # (J, Q)
    log_likelihood: float
    weight: float
    entropy: float | None = None
    noise: float = 0.0
    background: float | None = None

    @property
    def mean_log_likelihood(self) -> float:
        """Log-likelihood in nats per row."""
        return self.log_likelihood / self.weight


@dataclass(frozen=True)
class FixedPoint:
    """A vector of sums as integers: value = (high + low · 2^−LOW_BITS) / factor.

    high, low: (M,) int64; factor: (M,) float64, powers of two such that every partial sum times its factor stays
    below 2^HIGH_BITS. faults: (M,) int64, how many numbers were not finite or beyond their bound; they are left out,
    and the sum is NaN.
    """

    high: Tensor
    low: Tensor
    factor: Tensor
    faults: Tensor

    @classmethod
    def zeros(cls, bound: Tensor) -> FixedPoint:
        """Empty sums for numbers whose absolute values add up to at most `bound` (M,) float64."""
        sound = bound.isfinite()
        # a bound of 2^E to 2^(E + 1) has the factor 2^(HIGH_BITS − 2 − E): by the exponent's bits, which ldexp and
        # frexp take twenty times as long to move
        exponent = torch.where(sound, bound, 0).clamp_min_(SMALLEST_BOUND).view(torch.int64).bitwise_right_shift_(52)
        factor = exponent.neg_().add_(HIGH_BITS - 2 + 2 * 1023).bitwise_left_shift_(52).view(torch.float64)
        high = torch.zeros_like(bound, dtype=torch.int64)
        return cls(high, high.clone(), factor, (~sound).long())

    def empty(self) -> FixedPoint:
        """Sums of nothing, at the same scales and on the same device."""
        return FixedPoint(
            torch.zeros_like(self.high), torch.zeros_like(self.low), self.factor, torch.zeros_like(self.faults)
        )

    @cached_property
    def _scratch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Two float64 and one int64 vector: with large statistics, allocating takes longer than adding."""
        return torch.empty_like(self.factor), torch.empty_like(self.factor), torch.empty_like(self.high)

    def add_(self, values: Tensor) -> FixedPoint:
        """Adds the values of one block, (M,) float64, in place."""
        large = len(values) >= COMPILED_NUMBERS and values.device.type == "cpu"
        add = compiled(_add_limbs) if large else _add_limbs
        add(values, self.factor, self.high, self.low, self.faults, *self._scratch)
        return self

    def merge(self, other: FixedPoint) -> FixedPoint:
        """The sum of two; associative and commutative, exactly."""
        return FixedPoint(self.high + other.high, self.low + other.low, self.factor, self.faults + other.faults)

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> FixedPoint:
        """The sums after `reduce` has added the integers, (3 M,) int64, over all processes."""
        high, low, faults = reduce(torch.cat([self.high, self.low, self.faults])).chunk(3)
        return FixedPoint(high, low, self.factor, faults)

    def to(self, device: torch.device | str) -> FixedPoint:
        """The sums on another device."""
        return FixedPoint(*(t.to(device) for t in (self.high, self.low, self.factor, self.faults)))

    def values(self) -> Tensor:
        """The sums as (M,) float64, NaN where a number added was not finite or too large."""
        scaled = self.high.double() + self.low.double() * 2.0**-LOW_BITS
        return (scaled / self.factor).masked_fill_(self.faults > 0, torch.nan)

    def decode(self) -> Tensor:
        """The sums as (M,) float64. Raises NumericalError when any number added was not finite or too large."""
        return require_finite(self.values())


class Sums:
    """Base of folds of sums in fixed point. bound: (M,) upper bounds of the sums of absolute values."""

    def __init__(self, bound: Tensor) -> None:
        self._total = FixedPoint.zeros(bound)

    def merge(self, other: Sums) -> None:
        """Takes in the sums of another fold."""
        self._total = self._total.merge(other._total)

    def over(self, group: Group) -> Tensor:
        """The sums (M,) over all processes. Raises NumericalError where one is not finite."""
        return self._total.reduced(group.sum).decode()


def require_finite(values: Tensor) -> Tensor:
    """The sums themselves; raises NumericalError where one is not a number."""
    if bool(values.isnan().any()):
        raise NumericalError("a sum over the data is not finite: degenerate parameters or extreme data")
    return values


def _add_limbs(
    values: Tensor,
    factor: Tensor,
    high: Tensor,
    low: Tensor,
    faults: Tensor,
    scaled: Tensor,
    whole: Tensor,
    integer: Tensor,
    limit: float = 2.0**HIGH_BITS,
    unit: float = 2.0**LOW_BITS,
) -> None:
    """Adds values × factor to the limbs, all (M,); the last three tensors hold what lies between."""
    torch.mul(values, factor, out=scaled)
    clamp = values.device.type != "cpu"  # on a GPU a check would make the host wait
    if not clamp:
        least, most = torch.aminmax(scaled)
        clamp = not (float(least) >= -limit and float(most) <= limit)
    if clamp:
        fault = ~(scaled.abs() <= limit)
        scaled.masked_fill_(fault, 0)
        faults.add_(fault)
    torch.round(scaled, out=whole)
    high.add_(integer.copy_(whole))
    scaled.sub_(whole).mul_(unit).round_()  # the difference is exact
    low.add_(integer.copy_(scaled))
