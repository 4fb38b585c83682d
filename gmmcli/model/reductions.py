"""Reductions of log joint densities log p(k, x), (K, B), to tensors (..., B): chunk by chunk, see model/densities.py.

They write over the densities, are differentiable all the same, and stay within the part of Python that TorchScript
knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Reduce = Callable[[Tensor], Sequence[Tensor]]


def unreduced(joint: Tensor) -> list[Tensor]:
    """The densities themselves."""
    return [joint]


def shares(joint: Tensor) -> list[Tensor]:
    """p(k | x), (K, B)."""
    smallest = _smallest(joint)
    joint.sub_(joint.detach().amax(0))
    negligible = joint <= smallest
    parts = joint.clamp_(min=smallest).exp_()
    return [(parts * _sum(parts).reciprocal_()).masked_fill_(negligible, 0.0)]


def most_probable(joint: Tensor) -> list[Tensor]:
    """The greatest p(k | x), (B,), and the first k that has it, (B,) int64.

    max_k (log p(k, x) − max − k · step) is −k · step, less than log densities differ by. So two maxima give k:
    torch's own argmax takes as long as everything else together.
    """
    step = 1e-300 if joint.dtype == torch.float64 else 1e-30
    steps = torch.arange(joint.shape[0], dtype=joint.dtype, device=joint.device)[:, None] * step
    below = (joint - joint.amax(0)).sub_(steps)
    component = below.detach().amax(0).mul_(-1 / step).round_().long()
    return [_sum(below.clamp_(min=_smallest(joint)).exp_()).reciprocal_(), component]


def log_sum(joint: Tensor) -> list[Tensor]:
    """log p(x) = log Σ_k p(k, x), (B,)."""
    highest = joint.detach().amax(0)
    total = _sum(joint.sub_(highest).clamp_(min=_smallest(joint)).exp_()).log_().add_(highest)
    return [torch.where(highest == -math.inf, highest, total)]


def log_sum_and_entropy(joint: Tensor) -> list[Tensor]:
    """log p(x), and −Σ_k p(k | x) log p(k | x), (B,) each."""
    share = shares(joint.clone())[0]
    return [log_sum(joint)[0], _sum(torch.special.entr(share))]


def _sum(
    parts: Tensor,  # (K, B)
) -> Tensor:
    """Σ_k (B,), one component after another: the order of torch's own sum depends on threads and memory layout."""
    total = parts[0].clone()
    for k in range(1, parts.shape[0]):
        total.add_(parts[k])
    return total


def _smallest(joint: Tensor) -> float:
    """The least difference to the greatest logit; smaller ones are clamped, since exp underflows slowly."""
    return -700.0 if joint.dtype == torch.float64 else -80.0
