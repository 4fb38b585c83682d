"""What families have in common whose scale is a tensor of variances, each free and positive."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor

from gmmcli.families.base import LOG_2PI, SMALLEST_WEIGHT, Coefficients, Family, Parameters


class VarianceFamily(Family):
    """The scale is `variances`; raw is their logarithm, and a floor is a floor on each.

    Columns are independent within a component, so that the cells that a row lacks drop out of its density: with
    masked features, m z and m where m tells which cells are there, one pass serves all patterns of missing cells.
    """

    scale_name = "variances"
    by_cell = True

    @abstractmethod
    def variances(self, scale: Tensor, dims: int) -> Tensor:
        """Variances of each column, (J, D)."""

    @abstractmethod
    def quad_of_squares(
        self,
        squares: Tensor,  # (K, D)
    ) -> Tensor:
        """The quadratic features (K, Q) of sums of x_i²."""

    @abstractmethod
    def widened(
        self,
        quads: Tensor,  # (J, Q')
        observed: Tensor,  # (D',) int64
        dims: int,
    ) -> Tensor:
        """Quadratic features of these columns as those of all, 0 where a column is missing, (J, Q)."""

    @final
    def masked_coefficients(self, p: Parameters) -> Coefficients:
        """η(θ) for the features [1, m z, m] and quad(m z): log π_k + Σ_d m_d log N(z_d | μ_kd, v_kd)."""
        variances = self.variances(p.scale, p.dims).expand(p.components, -1)
        slope = p.means / variances
        each = -0.5 * (LOG_2PI + variances.log() + slope * p.means)
        weights = p.weights.clamp_min(SMALLEST_WEIGHT).log()
        return Coefficients(torch.cat([weights[:, None], slope, each], 1), self.quad_coefficients(p.scale))

    @final
    def complete_cells(
        self,
        p: Parameters,
        counts: Tensor,  # (K,)
        cells: Tensor,  # (K, D)
        sums: Tensor,  # (K, D)
        quads: Tensor,  # (J, Q)
    ) -> tuple[Tensor, Tensor]:
        """Sums and quads with what is expected of the missing cells, given Σ r m and those of m z."""
        lacking = counts[:, None] - cells
        squares = lacking * (p.means.square() + self.variances(p.scale, p.dims))
        more = self.quad_of_squares(squares)
        return sums + lacking * p.means, quads + (more.sum(0, keepdim=True) if self.shared else more)

    def complete(
        self, p: Parameters, observed: Tensor, counts: Tensor, sums: Tensor, quads: Tensor
    ) -> tuple[Tensor, Tensor]:
        cells, wide = torch.zeros_like(p.means), torch.zeros_like(p.means)
        cells[:, observed], wide[:, observed] = counts[:, None], sums
        return self.complete_cells(p, counts, cells, wide, self.widened(quads, observed, p.dims))

    def project(self, scale: Tensor, floor: float) -> Tensor:
        return scale.clamp_min(floor)

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        return self.covariances(scale, dims).sqrt()

    def to_raw(self, scale: Tensor) -> Tensor:
        return scale.log()

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw.exp()

    def scale_outer(self, scale: Tensor, factor: Tensor) -> Tensor:
        return scale * factor.square()

    def scale_problem(self, scale: Tensor) -> str | None:
        return "a variance is not positive" if bool((scale <= 0).any()) else None
