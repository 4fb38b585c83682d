"""Affine changes of coordinates, x = shift + factor z, of the three kinds that covariance families are closed under.

A scalar factor keeps every family, a diagonal one the families with free variances per column, a lower-triangular
one those with a full covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

WELL_CONDITIONED = 1e4  # condition number up to which a product with the inverse errs by no more than 1e-12


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
        return self.inner_columns(x.reshape(-1, len(self.shift)).mT).mT.reshape(x.shape)

    def inner_columns(
        self,
        x: Tensor,  # (D, B)
        out: Tensor | None = None,  # (D, B)
    ) -> Tensor:
        """The same of rows that are held as columns, (D, B). out: where they are put, of the same precision."""
        if out is not None:
            if self.factor.ndim == 2 and self._multiplies:
                return torch.mm(self._inverse_factor, x - self.shift[:, None], out=out)
            return out.copy_(self.inner_columns(x))
        centred = x - self.shift[:, None]
        if self.factor.ndim < 2:
            return centred / (self.factor if self.factor.ndim == 0 else self.factor[:, None])
        if self._multiplies:
            return self._inverse_factor @ centred
        return torch.linalg.solve_triangular(self.factor, centred, upper=False)

    @cached_property
    def _inverse_factor(self) -> Tensor:
        return inverse_tril(self.factor)

    @cached_property
    def _multiplies(self) -> bool:
        """Whether a product with the inverse is as good as solving, which takes ten times as long."""
        return float(self.factor.norm() * self._inverse_factor.norm()) <= WELL_CONDITIONED

    def outer(self, z: Tensor) -> Tensor:
        """Outer coordinates x = shift + factor z of rows z (..., D)."""
        return self.shift + (z * self.factor if self.factor.ndim < 2 else z @ self.factor.mT)

    def inverse(self) -> Affine:
        """The map from outer to inner coordinates, as an Affine of the same kind."""
        factor = 1 / self.factor if self.factor.ndim < 2 else inverse_tril(self.factor)
        return Affine(self.inner(torch.zeros_like(self.shift)), factor)

    def inverse_congruence(self, covariances: Tensor) -> Tensor:
        """factor⁻¹ Σ factor⁻ᵀ: covariances (..., D, D) of x in the coordinates of z."""
        if self.factor.ndim == 0:
            return covariances / self.factor.square()
        if self.factor.ndim == 1:
            return covariances / (self.factor[:, None] * self.factor)
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


def inverse_tril(factor: Tensor) -> Tensor:
    """The inverses of lower-triangular matrices (..., D, D)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
