"""Free vectors of parameters, and the curvature of the log-likelihood along past steps, in the geometry of EM.

`Chart` maps parameters to free vectors and back: any vector is a mixture. A vector is (log π less its mean, μ, raw
scale), F numbers: K logits, one more for a background, K · D means and the family's raw scale if it is learned.

`Secants` are the past steps. With g the gradient of the mean log-likelihood, z = G(θ) − θ the step of the EM map G
and M the information of the complete data, z ≈ M⁻¹ g: EM is steepest ascent in the metric M. Over a step s,
y = −Δg ≈ H s with H the negative Hessian, and −Δz ≈ M⁻¹ y. So every vector comes with its image under M, and M itself
is never computed. Such a pair is one tensor (2, F), the vector and its dual: a residual (z, g), a step (s, M s), a
lag (−Δz, −Δg). The eigenvalues λ of M⁻¹ H are the shares of information that the data has: 1 where components are
told apart, and 1 − λ is EM's rate (Dempster, Laird & Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.objective import Objective
from gmmcli.passes.sums import SufficientStatistics

NOISE = 1e-8  # eigenvalues below this share of the largest are rounding
FLATTEST = 1e-6  # curvature along a step, relative to M, below which the step says nothing of where the top is


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


def inner(a: Tensor, b: Tensor) -> float:
    """aᵀ M b of two duals (2, F)."""
    return float(a[0] @ b[1])


@dataclass(frozen=True)
class Secants:
    """The last few steps (m, 2, F) and lags (m, 2, F), the newest last."""

    steps: Tensor
    lags: Tensor

    @classmethod
    def none(cls, size: int) -> Secants:
        """No step yet, F = size."""
        empty = torch.empty(0, 2, size, dtype=torch.float64)
        return cls(empty, empty)

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)

    def extended(self, step: Tensor, lag: Tensor, depth: int) -> Secants:
        """With one more, whose lag has a positive length, and no more than `depth` of them."""
        return Secants(*(torch.cat([old, new[None]])[-depth:] for old, new in ((self.steps, step), (self.lags, lag))))

    def ascent(self, residual: Tensor) -> Tensor:
        """H⁻¹ g as a dual (2, F) for the residual (z, g), by limited-memory BFGS that begins from EM's H = M.

        Nocedal & Wright, "Numerical Optimization" (2006), algorithm 7.4, whose products with the first H⁻¹ are
        carried along. BFGS from EM: Jamshidian & Jennrich, "Acceleration of the EM algorithm by using quasi-Newton
        methods", JRSS B 59 (1997).
        """
        kept = []
        for step, lag in zip(self.steps.flip(0), self.lags.flip(0), strict=True):
            curvature = float(step[0] @ lag[1])  # sᵀ H s
            if curvature > FLATTEST * abs(inner(step, step)):
                share = float(step[0] @ residual[1]) / curvature
                residual = residual - share * lag
                kept.append((step, lag, curvature, share))
        for step, lag, curvature, share in reversed(kept):
            residual = residual + (share - float(lag[1] @ residual[0]) / curvature) * step
        return residual

    def slowness(self) -> float:
        """The largest 1/λ that the steps have met, at least 1; infinite when they have met negative curvature.

        By Rayleigh and Ritz: the extremes of (aᵀ H⁻¹ a) / (aᵀ M⁻¹ a) over the span of the lags' duals a.
        """
        if not len(self):
            return float("inf")
        length = (self.lags[:, 0] * self.lags[:, 1]).sum(1).sqrt()[:, None]
        falls = self.lags[:, 1] / length
        weak = (self.lags[:, 0] / length) @ falls.mT
        strong = (self.steps[:, 0] / length) @ falls.mT
        values, vectors = torch.linalg.eigh((weak + weak.mT) / 2)
        sound = values > NOISE * values[-1]
        basis = vectors[:, sound] / values[sound].sqrt()
        ritz = torch.linalg.eigvalsh(basis.mT @ ((strong + strong.mT) / 2) @ basis)
        return max(1.0, float(ritz[-1])) if float(ritz[0]) > 0 else float("inf")
