"""Parameters of a mixture as one free vector, for methods that extrapolate: any vector is a mixture.

The vector is (log π less its mean, μ, raw scale), F numbers: K logits, one more for a background, K · D means and the
family's raw scale if it is learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.objective import Objective
from gmmcli.passes.sums import SufficientStatistics


@dataclass(frozen=True)
class Chart:
    """The map between the parameters of an objective's family and free vectors."""

    objective: Objective

    def vector(self, p: Parameters) -> Tensor:
        """The free vector (F,) of parameters."""
        family = self.objective.family
        u = family.unconstrain(p)
        raw = [u.raw.flatten()] if family.learned else []
        return torch.cat([u.logits - u.logits.mean(), u.means.flatten(), *raw])

    def parameters(self, vector: Tensor, like: Parameters) -> Parameters:
        """The parameters at a free vector, with the floor held.

        like: parameters of the same shapes, and with the scale if it is not learned.
        """
        return self.objective.hold(self._constrain(vector, like))

    def gradient(self, vector: Tensor, like: Parameters, statistics: SufficientStatistics) -> Tensor:
        """∂ objective / ∂ vector, (F,), by Fisher's identity from the statistics of a pass there."""
        with torch.enable_grad():
            free = vector.detach().requires_grad_()
            value = self.objective.expected(statistics, self._constrain(free, like))
            (gradient,) = torch.autograd.grad(value, free)
        return gradient

    def _constrain(self, vector: Tensor, like: Parameters) -> Parameters:
        k, d = like.means.shape
        heads = k if like.background is None else k + 1
        logits, means, raw = vector.split([heads, k * d, len(vector) - heads - k * d])
        family = self.objective.family
        if not family.learned:
            raw = family.to_raw(like.scale, d)
        p = family.constrain(Unconstrained(logits, means.reshape(k, d), raw))
        return p if family.learned else replace(p, scale=like.scale)
