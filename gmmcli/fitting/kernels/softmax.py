"""Responsibilities from logits, in place, with as few readings of the chunk as there can be."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_LOGIT = -80.0  # exp of less underflows in float32, which costs 35 times the time; e⁻⁸⁰ is nothing


class Softmax:
    """The softmax over K of the logits that a buffer holds, (M, K, B), for M mixtures at once.

    background: (M,) logits of a component that is the same for every row, or None; scalars: float64, to which it
    adds, M log-likelihoods Σ w log Σ exp(logit) and, where there are as many again, M entropies −Σ w r log r.
    """

    def __init__(self, logits: Tensor, background: Tensor | None, scalars: Tensor):
        mixtures, _, rows = logits.shape
        self._logits = logits
        self._background = None if background is None else background[:, None, None]
        self._log_likelihoods, self._entropies = scalars[:mixtures], scalars[mixtures:]
        self._highest, self._total, self._scale = logits.new_empty(3, mixtures, 1, rows)

    def __call__(
        self,
        weights: Tensor | None,  # (B,)
    ) -> Tensor:
        """Leaves exp(logit − highest) in the buffer; returns what turns it into w r, (M, 1, B)."""
        highest, total, scale, rest = self._highest, self._total, self._scale, None
        torch.amax(self._logits, 1, keepdim=True, out=highest)
        if self._background is not None:
            torch.maximum(highest, self._background, out=highest)
            rest = (self._background - highest).clamp_(min=SMALLEST_LOGIT)
        self._logits.sub_(highest).clamp_(min=SMALLEST_LOGIT)
        shifted = self._logits.clone() if len(self._entropies) else None
        torch.sum(self._logits.exp_(), 1, keepdim=True, out=total)
        if rest is not None:
            total.add_(rest.exp())
        torch.reciprocal(total, out=scale)
        if shifted is not None:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
            mean = (self._logits * shifted).sum(1, keepdim=True)
            if rest is not None:
                mean += rest.exp() * rest
            self._add(self._entropies, total.log() - mean * scale, weights)
        self._add(self._log_likelihoods, total.log_().add_(highest), weights)
        return scale if weights is None else scale.mul_(weights)

    def _add(
        self,
        sums: Tensor,  # (M,)
        values: Tensor,  # (M, 1, B)
        weights: Tensor | None,
    ) -> None:
        if weights is not None:
            values = values * weights
        sums.add_(values.sum((1, 2)).to(sums))  # within a chunk torch sums pairwise
