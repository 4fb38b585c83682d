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
    """With columns of zeros up to a multiple of 64.

    So exponentials and logarithms of all columns are those of whole vectors of the processor, never of what is left.
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


def _sum(
    parts: Tensor,  # (K, B)
) -> Tensor:
    """Σ_k, one component after another, (B,): torch's own sum has an order that threads and places may change."""
    total = parts[0].clone()
    for k in range(1, parts.shape[0]):
        total.add_(parts[k])
    return total


# ---- differentiable


def _shares(joint: Tensor) -> list[Tensor]:
    parts = (joint - joint.detach().amax(0)).exp()
    return [parts / _sum(parts)]


def _most_probable(joint: Tensor) -> Sequence[Tensor]:
    return _shares(joint)[0].max(0)


def _log_sum(joint: Tensor) -> list[Tensor]:
    highest = joint.detach().amax(0)
    total = _sum((joint - highest).clamp(min=SMALLEST_LOGIT).exp()).log() + highest
    return [torch.where(highest == -math.inf, highest, total)]


def _log_sum_and_entropy(joint: Tensor) -> list[Tensor]:
    return [*_log_sum(joint), _sum(torch.special.entr(_shares(joint)[0]))]


# ---- in place


def _smallest(joint: Tensor) -> float:
    """What a difference to the greatest logit is taken as at least: exp of less underflows, and is slow."""
    return -700.0 if joint.dtype == torch.float64 else -80.0


def _shares_in_place(joint: Tensor) -> list[Tensor]:
    joint.sub_(joint.amax(0))
    nothing = joint <= _smallest(joint)
    parts = joint.clamp_(min=_smallest(joint)).exp_()
    return [(parts * _sum(parts).reciprocal_()).masked_fill_(nothing, 0.0)]


def _most_probable_in_place(joint: Tensor) -> list[Tensor]:
    """The greatest of log p(k, x) − max − k · step is −k · step, since no two log densities differ by as little.

    So two maxima tell k: torch's own search for it takes as long as all the rest.
    """
    step = 1e-300 if joint.dtype == torch.float64 else 1e-30
    steps = torch.arange(joint.shape[0], dtype=joint.dtype, device=joint.device)[:, None] * step
    component = joint.sub_(joint.amax(0)).sub_(steps).amax(0).mul_(-1 / step).round_().long()
    return [_sum(joint.clamp_(min=_smallest(joint)).exp_()).reciprocal_(), component]


def _log_sum_in_place(joint: Tensor) -> list[Tensor]:
    highest = joint.amax(0)
    total = _sum(joint.sub_(highest).clamp_(min=_smallest(joint)).exp_()).log_().add_(highest)
    return [torch.where(highest == -math.inf, highest, total)]


def _log_sum_and_entropy_in_place(joint: Tensor) -> list[Tensor]:
    share = _shares_in_place(joint.clone())[0]
    return [_log_sum_in_place(joint)[0], _sum(torch.special.entr(share))]


# p(k | x), (K, B)
SHARES = Reduction(_shares, _shares_in_place)
# the greatest p(k | x), (B,), and the first k that has it
MOST_PROBABLE = Reduction(_most_probable, _most_probable_in_place)
# log Σ_k p(k, x), (B,)
LOG_SUM = Reduction(_log_sum, _log_sum_in_place)
# the same, and −Σ_k p(k | x) log p(k | x), (B,)
LOG_SUM_AND_ENTROPY = Reduction(_log_sum_and_entropy, _log_sum_and_entropy_in_place)
