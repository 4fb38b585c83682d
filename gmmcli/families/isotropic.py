"""Isotropic covariances v I: one v for every component (`isotropic`) or one for all (`shared_isotropic`).

The scale is `variances`, (J,). The one quadratic feature is ‖x‖².
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Distances, QuadFiller
from gmmcli.families.variances import VarianceFamily


class IsotropicFamily(VarianceFamily):
    """The same variance in every direction. Q = 1."""

    coordinates = "scalar"

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (self.sharing(components),)

    def scale_count(self, dims: int) -> int:
        return 1

    def rank_rows(self, dims: int) -> int:
        return 2

    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        return (degrees + 2) / dims, torch.full((1,), variance, dtype=torch.float64)  # log |Σ| = D log v

    def quad_size(self, dims: int) -> int:
        return 1

    @property
    def quad_filler(self) -> QuadFiller:
        return _square_norms

    def quad_places(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        return [z, spare, out]

    def spare_size(self, dims: int) -> int:
        return dims

    def quad_coefficients(self, scale: Tensor) -> Tensor:
        return -0.5 / scale[:, None]

    def precision_times(self, scale: Tensor, vectors: Tensor) -> Tensor:
        return vectors / scale[:, None]

    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        return dims * scale.log()

    @property
    def distances(self) -> Distances:
        return _summed

    def distance_factors(self, scale: Tensor) -> Tensor:
        return scale.reciprocal()

    def scale_from_scatter(self, scatter: Tensor, counts: Tensor, dims: int, floor: float) -> Tensor:
        return (scatter[:, 0] / (counts * dims)).clamp_min(floor)

    def from_covariances(self, covariances: Tensor) -> Tensor:
        return covariances.diagonal(dim1=-2, dim2=-1).mean(-1)

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return scale[:, None].expand(-1, dims).diag_embed()

    def marginal_scale(self, scale: Tensor, columns: Tensor) -> Tensor:
        return scale

    def variances(self, scale: Tensor, dims: int) -> Tensor:
        return scale[:, None].expand(-1, dims)

    def quad_of_squares(self, squares: Tensor) -> Tensor:
        return squares.sum(1, keepdim=True)

    def widened(self, quads: Tensor, observed: Tensor, dims: int) -> Tensor:
        return quads

    def quad_of_products(self, products: Tensor) -> Tensor:
        return products.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)

    def eigenvalue_range(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        return scale, scale

    def colour(self, scale: Tensor, component: Tensor, noise: Tensor) -> Tensor:
        std = scale.sqrt()
        return noise * (std[component] if len(std) > 1 else std)[:, None]


def _square_norms(places: list[Tensor]) -> None:
    torch.mul(places[0], places[0], out=places[1])
    torch.sum(places[1], 0, keepdim=True, out=places[2])


def _summed(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """Σ_d (x_d − μ_kd)² / v_k, column by column."""
    found = x.new_zeros(centres.shape[0], x.shape[1])
    for d in range(x.shape[0]):
        difference = x[d] - centres[:, d : d + 1]
        found.addcmul_(difference, difference)
    return found * factors[:, None]


ISOTROPIC = IsotropicFamily("isotropic")
SHARED_ISOTROPIC = IsotropicFamily("shared_isotropic", shared=True)
