"""Reductions of log joint densities log p(k, x), (K, B), to tensors (..., B): chunk by chunk, see model/densities.py.

Each `Reduction` has two functions that agree except for rounding: `differentiable`, and `in_place`, which writes over
the densities and stays within the part of Python that TorchScript knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import SMALLEST_LOGIT

Reduce = Callable[[Tensor], Sequence[Tensor]]


class Reduction(NamedTuple):
    """Two functions for one result."""

    differentiable: Reduce
    in_place: Reduce


def unreduced(joint: Tensor) -> list[Tensor]:
    """The densities themselves."""
    return [joint]


def _sum(
    parts: Tensor,  # (K, B)
) -> Tensor:
    """Σ_k (B,), one component after another: the order of torch's own sum depends on threads and memory layout."""
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
    """Least difference to the greatest logit, to which smaller ones are clamped: exp of less underflows, slowly."""
    return -700.0 if joint.dtype == torch.float64 else -80.0


def _shares_in_place(joint: Tensor) -> list[Tensor]:
    joint.sub_(joint.amax(0))
    negligible = joint <= _smallest(joint)
    parts = joint.clamp_(min=_smallest(joint)).exp_()
    return [(parts * _sum(parts).reciprocal_()).masked_fill_(negligible, 0.0)]


def _most_probable_in_place(joint: Tensor) -> list[Tensor]:
    """Greatest share and its k: max_k (log p(k, x) − max − k · step) is −k · step, less than log densities differ by.

    So two maxima give k. Torch's own argmax takes as long as everything else together.
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


SHARES = Reduction(_shares, _shares_in_place)  # p(k | x), (K, B)
MOST_PROBABLE = Reduction(_most_probable, _most_probable_in_place)  # greatest p(k | x), (B,), and the first such k
LOG_SUM = Reduction(_log_sum, _log_sum_in_place)  # log Σ_k p(k, x), (B,)
# log Σ_k p(k, x), and −Σ_k p(k | x) log p(k | x), (B,) each
LOG_SUM_AND_ENTROPY = Reduction(_log_sum_and_entropy, _log_sum_and_entropy_in_place)
