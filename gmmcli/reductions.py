"""What is made of log joint densities log p(k, x), (K, B), chunk by chunk: a `Reduction`, to tensors (..., B).

Each is there twice: `differentiable`, and `in_place`, which writes over the densities and is in the part of Python
that TorchScript knows. They agree but for rounding. Chunks are `padded`, so that no row depends on those beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT

Reduce = Callable[[Tensor], Sequence[Tensor]]


class Reduction(NamedTuple):
    """One and the same, in two ways."""

    differentiable: Reduce
    in_place: Reduce


def padded(
    columns: Tensor,  # (., B)
) -> Tensor:
    """With columns of zeros up to a multiple of 64, so that no sum over rows depends on how many columns there are.

    torch adds what is beyond the last multiple of 32 float64 columns, or of 64 of float32, in another order.
    """
    return torch.nn.functional.pad(columns, (0, -columns.shape[1] % 64)).contiguous()


def by_chunks(
    x: Tensor,  # (N, D)
    rows: int,
    joint_of: Callable[[Tensor], Tensor],
    reduce: Reduce,
) -> list[Tensor]:
    """The tensors (..., N) of all rows, so many at a time. joint_of: their padded log joint densities."""
    return joined([own(reduce(joint_of(some)), len(some)) for some in x.split(rows)])


def own(answers: Sequence[Tensor], rows: int) -> list[Tensor]:
    """The answers to so many rows, without those to what was padded."""
    return [answer[..., :rows] for answer in answers]


def joined(parts: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    """The answers to chunk after chunk as one."""
    return [torch.cat(part, -1) for part in zip(*parts, strict=True)]


# ---- differentiable


def _shares(joint: Tensor) -> list[Tensor]:
    return [joint.softmax(0)]


def _most_probable(joint: Tensor) -> Sequence[Tensor]:
    return joint.softmax(0).max(0)


def _log_sum(joint: Tensor) -> list[Tensor]:
    highest = joint.detach().amax(0)
    total = (joint - highest).clamp(min=SMALLEST_LOGIT).exp().sum(0).log() + highest
    return [torch.where(highest == -math.inf, highest, total)]


def _log_sum_and_entropy(joint: Tensor) -> list[Tensor]:
    return [*_log_sum(joint), torch.special.entr(joint.softmax(0)).sum(0)]


# ---- in place


def _smallest(joint: Tensor) -> float:
    """What a difference to the greatest logit is taken as at least: exp of less underflows, and is slow."""
    return -700.0 if joint.dtype == torch.float64 else -80.0


def _shares_in_place(joint: Tensor) -> list[Tensor]:
    joint.sub_(joint.amax(0))
    nothing = joint <= _smallest(joint)
    parts = joint.clamp_(min=_smallest(joint)).exp_()
    return [(parts * parts.sum(0).reciprocal_()).masked_fill_(nothing, 0.0)]


def _most_probable_in_place(joint: Tensor) -> list[Tensor]:
    """The greatest of log p(k, x) − max − k · step is −k · step, since no two log densities differ by as little.

    So two maxima tell k: torch's own search for it takes as long as all the rest.
    """
    step = 1e-300 if joint.dtype == torch.float64 else 1e-30
    steps = torch.arange(joint.shape[0], dtype=joint.dtype, device=joint.device)[:, None] * step
    component = joint.sub_(joint.amax(0)).sub_(steps).amax(0).mul_(-1 / step).round_().long()
    return [joint.clamp_(min=_smallest(joint)).exp_().sum(0).reciprocal_(), component]


def _log_sum_in_place(joint: Tensor) -> list[Tensor]:
    highest = joint.amax(0)
    total = joint.sub_(highest).clamp_(min=_smallest(joint)).exp_().sum(0).log_().add_(highest)
    return [torch.where(highest == -math.inf, highest, total)]


def _log_sum_and_entropy_in_place(joint: Tensor) -> list[Tensor]:
    share = _shares_in_place(joint.clone())[0]
    return [_log_sum_in_place(joint)[0], torch.special.entr(share).sum(0)]


# p(k | x), (K, B)
SHARES = Reduction(_shares, _shares_in_place)
# the greatest p(k | x), (B,), and the first k that has it
MOST_PROBABLE = Reduction(_most_probable, _most_probable_in_place)
# log Σ_k p(k, x), (B,)
LOG_SUM = Reduction(_log_sum, _log_sum_in_place)
# the same, and −Σ_k p(k | x) log p(k | x), (B,)
LOG_SUM_AND_ENTROPY = Reduction(_log_sum_and_entropy, _log_sum_and_entropy_in_place)
