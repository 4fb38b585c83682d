"""Parameters of a mixture as one free vector, for methods that extrapolate: the vector's own space has no bounds.

The vector is (log π less its mean, μ, raw scale), F numbers: K logits, K · D means and the family's raw scale
where it is learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters, Unconstrained
from gmmcli.fitting.em import expected_log_joint
from gmmcli.fitting.statistics import SufficientStatistics


@dataclass(frozen=True)
class Chart:
    """The map between a family's parameters and free vectors. floor: smallest variance or eigenvalue."""

    family: Family
    floor: float

    def vector(self, p: Parameters) -> Tensor:
        """The free vector (F,) of parameters."""
        u = self.family.unconstrain(p)
        raw = [u.raw.flatten()] if self.family.learned else []
        return torch.cat([u.logits - u.logits.mean(), u.means.flatten(), *raw])

    def parameters(self, vector: Tensor, like: Parameters) -> Parameters:
        """The parameters at a free vector, the floor held; shapes, and a scale that is not learned, as in `like`."""
        return self.family.hold(self._constrain(vector, like), self.floor)

    def gradient(self, vector: Tensor, like: Parameters, statistics: SufficientStatistics) -> Tensor:
        """∂ (mean log-likelihood) / ∂ vector, (F,), by Fisher's identity from the statistics of a pass there."""
        with torch.enable_grad():
            free = vector.detach().requires_grad_()
            value = expected_log_joint(self.family, statistics, self._constrain(free, like))
            (gradient,) = torch.autograd.grad(value, free)
        return gradient

    def _constrain(self, vector: Tensor, like: Parameters) -> Parameters:
        k, d = like.means.shape
        logits, means, raw = vector.split([k, k * d, len(vector) - k - k * d])
        if self.family.learned:
            return self.family.constrain(Unconstrained(logits, means.reshape(k, d), raw.reshape(like.scale.shape)))
        return replace(like, weights=logits.softmax(0), means=means.reshape(k, d))
