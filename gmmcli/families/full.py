"""Full covariances: one for every component (`full`) or one for all (`tied`).

The scale is `scale_tril`, the lower Cholesky factor L of Σ = L Lᵀ, (J, D, D) with a positive diagonal.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gmmcli.families.base import Family, Parameters, exp_diagonal
from gmmcli.families.linear import cholesky, raised
from gmmcli.families.quadratic import PRODUCTS


class FullFamily(Family):
    """Every entry of the covariance is free."""

    coordinates = "whitened"
    scale_name = "scale_tril"

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (self.sharing(components), dims, dims)

    def covariance_count(self, components: int, dims: int) -> int:
        return self.sharing(components) * dims * (dims + 1) // 2

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return scale @ scale.mT

    def scale_from_scatter(
        self, scatter: Tensor, counts: Tensor, dims: int, floor: float, previous: Parameters | None
    ) -> Tensor:
        return cholesky(raised(PRODUCTS.unpack(scatter / counts[:, None], dims), floor))

    def from_covariances(self, covariances: Tensor, weights: Tensor) -> Tensor:
        return cholesky(covariances)

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        return scale

    def from_raw(self, raw: Tensor, dims: int) -> Tensor:
        return exp_diagonal(raw, dims)

    def scale_outer(self, scale: Tensor, dims: int, factor: Tensor) -> Tensor:
        if factor.ndim == 2:
            return factor @ scale
        return scale * (factor[:, None] if factor.ndim == 1 else factor)

    def scale_problem(self, scale: Tensor, dims: int) -> str | None:
        if bool((scale.triu(1) != 0).any()):
            return "not lower triangular"
        if bool((scale.diagonal(dim1=-2, dim2=-1) <= 0).any()):
            return "a covariance is not positive definite: its factor has a diagonal entry that is not positive"
        return None

    def marginal(self, p: Parameters, columns: Tensor) -> tuple[Family, Parameters]:
        rows = p.scale[:, columns]
        return self, replace(p, means=p.means[:, columns], scale=cholesky(rows @ rows.mT))


FULL = FullFamily("full")
TIED = FullFamily("tied", shared=True)
