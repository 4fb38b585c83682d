"""`Secants`: the curvature of the log-likelihood from past steps, in the geometry of EM.

With g the gradient of the mean log-likelihood, z = G(θ) − θ the step of the EM map G and M the information of the
complete data, z ≈ M⁻¹ g: EM is steepest ascent in the metric M. Over a step s, y = −Δg ≈ H s with H the negative
Hessian, and −Δz ≈ M⁻¹ y. So every vector comes with its image under M, and M itself is never computed. Such a pair is
one tensor (2, F), the vector and its dual: a residual (z, g), a step (s, M s), a lag (−Δz, −Δg). The eigenvalues λ of
M⁻¹ H are the shares of information that the data has: 1 where components lie apart. EM's rate is 1 − λ (Dempster,
Laird & Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NOISE = 1e-8  # eigenvalues below this share of the largest are rounding
FLATTEST = 1e-6  # least curvature along a step, relative to M; a flatter step does not locate the maximum


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
        """Secants without a step. size: F."""
        empty = torch.empty(0, 2, size, dtype=torch.float64)
        return cls(empty, empty)

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)

    def extended(self, step: Tensor, lag: Tensor, depth: int) -> Secants:
        """The secants and one more, the newest `depth` of them. lag: of positive length."""
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
        """The largest 1/λ along the steps, at least 1; infinite if the curvature is negative along one.

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
