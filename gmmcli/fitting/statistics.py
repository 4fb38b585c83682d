"""Sufficient statistics of a pass, and the fixed-point sums that make them independent of who adds.

Floating-point addition is not associative: a sum over blocks would change its last bits with the number of
workers, processes or the order of reading. Here every number of a block is turned into two int64 limbs at a
scale known before the pass; integers are added, in any order, and turned back once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import NumericalError

HIGH_BITS = 62  # the high limb holds the sum's magnitude in units of 2^(exponent − HIGH_BITS)
SMALLEST_BOUND = 1e-290
LOW_BITS = 40  # the low limb divides that unit; leaves room to add 2^22 blocks


@dataclass(frozen=True)
class SufficientStatistics:
    """What one pass over the data says of one mixture. Float64; N is the total row weight.

    counts: (K,) Σ_n w_n r_nk.
    sums: (K, D) Σ_n w_n r_nk x_n.
    quads: (J, Q) Σ_n w_n r_nk quad(x_n), summed over k where the covariance is shared.
    log_likelihood: Σ_n w_n log p(x_n), nats.
    entropy: Σ_n w_n Σ_k −r_nk log r_nk, nats, or None when the pass was not asked for it.
    weight: N, the weight of the rows that were passed over.
    """

    counts: Tensor  # (K,)
    sums: Tensor  # (K, D)
    quads: Tensor  # (J, Q)
    log_likelihood: float
    weight: float
    entropy: float | None = None

    @property
    def mean_log_likelihood(self) -> float:
        """Log-likelihood in nats per row."""
        return self.log_likelihood / self.weight


@dataclass(frozen=True)
class FixedPoint:
    """A vector of sums as integers: value = (high + low · 2^−LOW_BITS) · 2^(exponent − HIGH_BITS).

    high, low: (M,) int64; exponent: (M,) int64 such that every partial sum stays below 2^exponent. faults: (1,)
    int64, how many numbers were not finite or beyond their bound; they are left out, and `decode` refuses.
    """

    high: Tensor
    low: Tensor
    exponent: Tensor
    faults: Tensor

    @classmethod
    def zeros(cls, bound: Tensor) -> FixedPoint:
        """Empty sums for numbers whose absolute values add up to at most `bound` (M,) float64."""
        sound = bound.isfinite()
        exponent = torch.frexp(torch.where(sound, bound, 0).clamp_min(SMALLEST_BOUND)).exponent.long() + 1
        nothing = torch.zeros_like(exponent)
        return cls(nothing, nothing, exponent, (~sound).sum()[None])

    def encode(self, values: Tensor) -> FixedPoint:
        """The values of one block, (M,) float64, at this vector's scales."""
        scaled = _times_power(values, HIGH_BITS - self.exponent)
        sound = scaled.abs() <= 2.0**HIGH_BITS
        scaled = torch.where(sound, scaled, 0)
        high = scaled.round()
        low = ((scaled - high) * 2.0**LOW_BITS).round()  # the difference is exact
        return FixedPoint(high.long(), low.long(), self.exponent, (~sound).sum()[None])

    def merge(self, other: FixedPoint) -> FixedPoint:
        """The sum of two; associative and commutative, exactly."""
        return FixedPoint(self.high + other.high, self.low + other.low, self.exponent, self.faults + other.faults)

    def reduced(self, reduce: Callable[[Tensor], Tensor]) -> FixedPoint:
        """The sums after `reduce` has added the integers, (2 M + 1,) int64, over all processes."""
        total = reduce(torch.cat([self.high, self.low, self.faults]))
        size = len(self.high)
        return FixedPoint(total[:size], total[size : 2 * size], self.exponent, total[2 * size :])

    def decode(self) -> Tensor:
        """The sums as (M,) float64. Raises NumericalError when any number added was not finite or too large."""
        if int(self.faults):
            raise NumericalError(
                "a sum over the data is not finite: the parameters are degenerate or the data extreme"
            )
        scaled = self.high.double() + self.low.double() * 2.0**-LOW_BITS
        return _times_power(scaled, self.exponent - HIGH_BITS)


def _times_power(values: Tensor, power: Tensor) -> Tensor:
    """values · 2^power, in two steps so that no intermediate power overflows."""
    half = power // 2
    return torch.ldexp(torch.ldexp(values, half), power - half)
