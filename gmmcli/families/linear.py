"""Linear algebra of covariance matrices, and affine changes of coordinates.

- `cholesky`, `inverse_tril`, `below`, `raised`, `regression`: factors, eigenvalue floors, regressions among columns.
- `Affine`: x = shift + factor z. A scalar factor keeps every family, a diagonal one the families with free variances
  per column, a lower-triangular one those with a full covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gmmcli.errors import NumericalError

WELL_CONDITIONED = 1e4  # condition number up to which a product with the inverse errs by no more than 1e-12


def cholesky(covariances: Tensor) -> Tensor:
    """Lower Cholesky factors of covariances (J, D, D). Raises NumericalError unless all are positive definite."""
    factor, info = torch.linalg.cholesky_ex(covariances)
    if bool((info != 0).any()):
        k = int((info != 0).nonzero()[0])
        raise NumericalError("not positive definite", subject=f"covariance {k}")
    return factor


def inverse_tril(factor: Tensor) -> Tensor:
    """Inverses of lower-triangular matrices (..., D, D)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


def below(covariances: Tensor, floor: float) -> Tensor:
    """Mask (J,) of covariances (J, D, D) with an eigenvalue below the floor: if Σ − floor I has no factor."""
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return torch.linalg.cholesky_ex(covariances - floor * eye).info != 0


def raised(covariances: Tensor, floor: float) -> Tensor:
    """Covariances (J, D, D) with every eigenvalue below the floor raised to it. The others keep their bits.

    Clamping the eigenvalues of the scatter matrix maximises the likelihood under Σ ⪰ floor I. So EM stays monotone
    where the floor binds.
    """
    binds = below(covariances, floor)
    if not bool(binds.any()):
        return covariances
    values, vectors = torch.linalg.eigh(covariances[binds])
    # A little above the floor, so that a later factorisation cannot fail by rounding at a floor of 0.
    values = values.clamp_min(max(floor, torch.finfo(values.dtype).tiny))
    covariances = covariances.clone()
    covariances[binds] = (vectors * values[:, None, :]) @ vectors.mT
    return covariances


def regression(covariances: Tensor, observed: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes Σ_mo Σ_oo⁻¹ (J, M, D') of missing on observed columns, and residual covariances (J, M, M).

    The residual covariance is Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om. covariances: (J, D, D). observed, missing: indices of columns,
    (D',) and (M,) int64.
    """
    rest = covariances[:, missing][:, :, missing]
    across = covariances[:, missing][:, :, observed]
    if not len(observed):
        return across, rest
    factor = cholesky(covariances[:, observed][:, :, observed])
    half = torch.linalg.solve_triangular(factor, across.mT, upper=False).mT
    slope = torch.linalg.solve_triangular(factor.mT, half.mT, upper=True).mT
    return slope, rest - half @ half.mT


@dataclass(frozen=True)
class Affine:
    """The map from inner coordinates z to outer coordinates x = shift + factor z.

    shift: (D,) float64.
    factor: () scalar, (D,) diagonal or (D, D) lower triangular, float64, with a positive diagonal.
    """

    shift: Tensor  # (D,)
    factor: Tensor  # (), (D,) or (D, D)

    @classmethod
    def identity(cls, dims: int) -> Affine:
        """The map that changes nothing."""
        return cls(torch.zeros(dims, dtype=torch.float64), torch.ones((), dtype=torch.float64))

    def inner(self, x: Tensor) -> Tensor:
        """Inner coordinates z = factor⁻¹ (x − shift) of rows x (..., D)."""
        centred = (x - self.shift).reshape(-1, len(self.shift)).mT
        if self.factor.ndim < 2:
            z = centred / (self.factor if self.factor.ndim == 0 else self.factor[:, None])
        elif self.inverse_factor is not None:
            z = self.inverse_factor @ centred
        else:
            z = torch.linalg.solve_triangular(self.factor, centred, upper=False)
        return z.mT.reshape(x.shape)

    @cached_property
    def inverse_factor(self) -> Tensor | None:
        """factor⁻¹, (D, D), where a product with it is as good as solving and ten times as fast; else None."""
        if self.factor.ndim < 2:
            return None
        inverse = inverse_tril(self.factor)
        return inverse if float(self.factor.norm() * inverse.norm()) <= WELL_CONDITIONED else None

    def outer(self, z: Tensor) -> Tensor:
        """Outer coordinates x = shift + factor z of rows z (..., D)."""
        return self.shift + (z * self.factor if self.factor.ndim < 2 else z @ self.factor.mT)

    def inverse(self) -> Affine:
        """The map from outer to inner coordinates, as an Affine of the same kind."""
        factor = 1 / self.factor if self.factor.ndim < 2 else inverse_tril(self.factor)
        return Affine(self.inner(torch.zeros_like(self.shift)), factor)

    def inverse_congruence(self, covariances: Tensor) -> Tensor:
        """factor⁻¹ Σ factor⁻ᵀ: covariances (..., D, D) of x in the coordinates of z."""
        if self.factor.ndim < 2:
            return covariances / (self.factor.reshape(-1, 1) * self.factor)
        inverse = self.inverse().factor
        return inverse @ covariances @ inverse.mT

    def log_det(self) -> float:
        """log |det factor|: log p(x) = log p(z) − log_det()."""
        if self.factor.ndim == 0:
            return len(self.shift) * float(self.factor.log())
        diagonal = self.factor if self.factor.ndim == 1 else self.factor.diagonal()
        return float(diagonal.log().sum())

    def inner_bound(self, minimum: Tensor, maximum: Tensor) -> Tensor:
        """Upper bounds (D,) of |z| over the box minimum ≤ x ≤ maximum, both (D,)."""
        reach = torch.maximum((minimum - self.shift).abs(), (maximum - self.shift).abs())
        if self.factor.ndim < 2:
            return reach / self.factor
        return self.inverse().factor.abs() @ reach
