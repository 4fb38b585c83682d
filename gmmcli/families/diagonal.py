"""Diagonal covariances: each with a variance for every column, or with one for all columns.

The scale is `variances`, each free and positive: (J, D), or (J,) where they are pooled over columns. The families:

- `diagonal`, `shared_diagonal`: variances of each column, for every component or for all.
- `isotropic`, `shared_isotropic`: one variance for every component, or for all.
- `constant`: one variance that the user gives. With v → 0 the fit is k-means; with the right v it is the mixture of
  known noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from gmmcli.families.base import LOG_2PI, SMALLEST_WEIGHT, Coefficients, Family, Parameters
from gmmcli.families.quadratic import NORM, SQUARES


class DiagonalFamily(Family):
    """Columns are independent within a component. pooled: whether a component has one variance for all columns.

    There are Q variances, one for D / Q columns each.

    The missing cells of a row drop out of its density. So one pass serves all patterns of missing cells: with masked
    features m z and m, m being 1 for an observed cell and 0 for a missing one.
    """

    scale_name = "variances"
    by_cell = True

    def __init__(self, name: str, *, pooled: bool = False, shared: bool = False, learned: bool = True):
        super().__init__(name, shared=shared, learned=learned)
        self.pooled = pooled
        self.coordinates = "scalar" if pooled else "columns"
        self.form = NORM if pooled else SQUARES

    def _by_column(self, scale: Tensor) -> Tensor:
        """Variances that broadcast over columns, (J, D) or (J, 1)."""
        return scale[:, None] if self.pooled else scale

    def _of_squares(self, squares: Tensor) -> Tensor:
        """Quadratic features (J, Q) of sums of x_i², (K, D); those of a shared covariance are pooled."""
        quads = squares.sum(1, keepdim=True) if self.pooled else squares
        return quads.sum(0, keepdim=True) if self.shared else quads

    @final
    def masked_coefficients(self, p: Parameters) -> Coefficients:
        """η(θ) for the features [1, m z, m] and quad(m z): log π_k + Σ_d m_d log N(z_d | μ_kd, v_kd)."""
        variances = self._by_column(p.scale).expand(p.components, p.dims)
        slope = p.means / variances
        each = -0.5 * (LOG_2PI + variances.log() + slope * p.means)
        weights = p.weights.clamp_min(SMALLEST_WEIGHT).log()
        return Coefficients(torch.cat([weights[:, None], slope, each], 1), self.quad_coefficients(p.scale, p.dims))

    @final
    def complete_cells(
        self, p: Parameters, counts: Tensor, cells: Tensor, sums: Tensor, quads: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums (K, D) and quads (J, Q) with the expectation of the missing cells.

        cells: (K, D) Σ r m. sums, quads: of m z.
        """
        missing = counts[:, None] - cells
        squares = missing * (p.means.square() + self._by_column(p.scale))
        return sums + missing * p.means, quads + self._of_squares(squares)

    def complete(
        self, p: Parameters, observed: Tensor, counts: Tensor, sums: Tensor, quads: Tensor
    ) -> tuple[Tensor, Tensor]:
        cells, wide = torch.zeros_like(p.means), torch.zeros_like(p.means)
        cells[:, observed], wide[:, observed] = counts[:, None], sums
        if not self.pooled:
            quads = quads.new_zeros(len(quads), p.dims).index_copy(1, observed, quads)
        return self.complete_cells(p, counts, cells, wide, quads)

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (self.sharing(components),) if self.pooled else (self.sharing(components), dims)

    def covariance_count(self, components: int, dims: int) -> int:
        return self.sharing(components) * self.form.size(dims)

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return self._by_column(scale).expand(-1, dims).diag_embed()

    def scale_from_scatter(
        self, scatter: Tensor, counts: Tensor, dims: int, floor: float, previous: Parameters | None
    ) -> Tensor:
        variances = (scatter / (counts * (dims // self.form.size(dims)))[:, None]).clamp_min(floor)
        return variances[:, 0] if self.pooled else variances

    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        spread = torch.full((self.form.size(dims),), variance, dtype=torch.float64)
        return (degrees + 2) / (dims // self.form.size(dims)), spread  # log |Σ| = D log v where one variance serves D

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        return self.covariances(scale, dims).sqrt()

    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        return (dims // self.form.size(dims)) * self._by_column(scale).log().sum(-1)

    def quad_coefficients(self, scale: Tensor, dims: int) -> Tensor:
        return -0.5 / self._by_column(scale)

    def precision_times(self, scale: Tensor, vectors: Tensor) -> Tensor:
        return vectors / self._by_column(scale)

    def distance_factors(self, scale: Tensor, dims: int) -> Tensor:
        return scale.reciprocal()

    def eigenvalue_range(self, scale: Tensor, dims: int) -> tuple[Tensor, Tensor]:
        variances = self._by_column(scale)
        return variances.amin(-1), variances.amax(-1)

    def project(self, scale: Tensor, dims: int, floor: float) -> Tensor:
        return scale.clamp_min(floor)

    def colour(self, scale: Tensor, component: Tensor, noise: Tensor) -> Tensor:
        std = self._by_column(scale).sqrt()
        return noise * (std[component] if len(std) > 1 else std)

    def to_raw(self, scale: Tensor, dims: int) -> Tensor:
        return scale.log()

    def from_raw(self, raw: Tensor, dims: int) -> Tensor:
        return raw.exp().reshape(-1) if self.pooled else raw.exp().reshape(-1, dims)

    def scale_outer(self, scale: Tensor, dims: int, factor: Tensor) -> Tensor:
        return scale * factor.square()

    def scale_problem(self, scale: Tensor, dims: int) -> str | None:
        return "a variance is not positive" if bool((scale <= 0).any()) else None

    def marginal(self, p: Parameters, columns: Tensor) -> tuple[Family, Parameters]:
        scale = p.scale if self.pooled else p.scale[:, columns]
        return self, replace(p, means=p.means[:, columns], scale=scale)


DIAGONAL = DiagonalFamily("diagonal")
ISOTROPIC = DiagonalFamily("isotropic", pooled=True)
SHARED_ISOTROPIC = DiagonalFamily("shared_isotropic", pooled=True, shared=True)
CONSTANT = DiagonalFamily("constant", pooled=True, shared=True, learned=False)
SHARED_DIAGONAL = DiagonalFamily("shared_diagonal", shared=True)
