"""Diagonal covariances: one for every component (`diagonal`) or one for all (`shared_diagonal`).

The scale is `variances`, (J, D). The quadratic features are the squares x_i².
"""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.families.base import Distances, QuadFiller
from gmmcli.families.variances import VarianceFamily


class DiagonalFamily(VarianceFamily):
    """Columns are independent within a component. Q = D."""

    coordinates = "columns"

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (self.sharing(components), dims)

    def scale_count(self, dims: int) -> int:
        return dims

    def rank_rows(self, dims: int) -> int:
        return 2

    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        return degrees + 2, torch.full((dims,), variance, dtype=torch.float64)

    def quad_size(self, dims: int) -> int:
        return dims

    @property
    def quad_filler(self) -> QuadFiller:
        return _squares

    def quad_places(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        return [z, out]

    def quad_coefficients(self, scale: Tensor) -> Tensor:
        return -0.5 / scale

    def precision_times(self, scale: Tensor, vectors: Tensor) -> Tensor:
        return vectors / scale

    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        return scale.log().sum(-1)

    @property
    def distances(self) -> Distances:
        return _weighted

    def distance_factors(self, scale: Tensor) -> Tensor:
        return scale.reciprocal()

    def scale_from_scatter(self, scatter: Tensor, counts: Tensor, dims: int, floor: float) -> Tensor:
        return (scatter / counts[:, None]).clamp_min(floor)

    def from_covariances(self, covariances: Tensor) -> Tensor:
        return covariances.diagonal(dim1=-2, dim2=-1).clone()

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return scale.diag_embed()

    def marginal_scale(self, scale: Tensor, columns: Tensor) -> Tensor:
        return scale[:, columns]

    def variances(self, scale: Tensor, dims: int) -> Tensor:
        return scale

    def quad_of_squares(self, squares: Tensor) -> Tensor:
        return squares

    def widened(self, quads: Tensor, observed: Tensor, dims: int) -> Tensor:
        wide = quads.new_zeros(len(quads), dims)
        wide[:, observed] = quads
        return wide

    def quad_of_products(self, products: Tensor) -> Tensor:
        return products.diagonal(dim1=-2, dim2=-1)

    def eigenvalue_range(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        return scale.amin(-1), scale.amax(-1)

    def colour(self, scale: Tensor, component: Tensor, noise: Tensor) -> Tensor:
        std = scale.sqrt()
        return noise * (std[component] if len(std) > 1 else std)


def _squares(places: list[Tensor]) -> None:
    torch.mul(places[0], places[0], out=places[1])


def _weighted(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """Σ_d (x_d − μ_kd)² / v_kd, column by column."""
    found = x.new_zeros(centres.shape[0], x.shape[1])
    for d in range(x.shape[0]):
        found.addcmul_((x[d] - centres[:, d : d + 1]).square(), factors[:, d : d + 1])
    return found


DIAGONAL = DiagonalFamily("diagonal")
SHARED_DIAGONAL = DiagonalFamily("shared_diagonal", shared=True)
