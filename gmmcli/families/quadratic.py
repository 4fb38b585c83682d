"""Quadratic forms xᵀ Σ⁻¹ x of rows, by features or by distances, for the three shapes of a covariance.

- `Form`: the contract. `PRODUCTS`: any covariance. `SQUARES`: diagonal ones. `NORM`: multiples of I.
- A feature is a number made of a row alone: the pass multiplies features by coefficients of the components.
- A distance is made of the difference between row and mean: it loses no digits, and densities use it.

The functions of rows are in the part of Python that TorchScript knows, so that loops over rows can be compiled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

# A function that writes the quadratic features of B rows, given the views that `Form.views` makes.
QuadFiller = Callable[[list[Tensor]], None]

# A function from rows x (D, B), means (K, D) and factors (K, …) to the squared Mahalanobis distances (K, B). It is
# differentiable and made of elementwise operations in the order of the columns: so a row's bits depend on that row
# alone.
Distances = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Form(ABC):
    """Features and distances of one shape of covariance.

    fill: writes the features. They are non-decreasing in every |z_i|, and ‖quad(z)‖ ≤ ‖z‖². distances: squared
    Mahalanobis distances. differentiable: the same bits, where gradients may be asked for; TorchScript need not know
    it. Each is one object for all mixtures. spare: whether `fill` writes D numbers beside the features of a row.
    wide: whether `distances` holds D numbers for each component and row.
    """

    fill: QuadFiller
    distances: Distances
    differentiable: Distances
    spare: bool = False
    wide: bool = False

    @abstractmethod
    def size(self, dims: int) -> int:
        """Q, the number of features."""

    @abstractmethod
    def views(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        """The views with which `fill` writes to `out` (Q, B) the features of the columns of z (D, B).

        spare: (spare_size, B).
        """

    @abstractmethod
    def of_products(self, products: Tensor) -> Tensor:
        """Σ r quad(x) as (K, Q) from Σ r x xᵀ, (K, D, D), of which only the lower triangle is read."""

    @final
    def spare_size(self, dims: int) -> int:
        """Numbers that `fill` writes beside the features of a row."""
        return dims if self.spare else 0


class Products(Form):
    """Features x_i x_j with i ≤ j, row by row of the upper triangle, Q = D (D + 1) / 2. Factors L⁻¹, (K, D, D)."""

    def size(self, dims: int) -> int:
        return dims * (dims + 1) // 2

    def views(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        columns = range(len(z))
        by_column = out.split([len(z) - i for i in columns])
        return [view for i in columns for view in (z[i:], z[i], by_column[i])]

    def of_products(self, products: Tensor) -> Tensor:
        rows, columns = torch.triu_indices(products.shape[-1], products.shape[-1], device=products.device)
        return products[:, columns, rows]

    def unpack(self, packed: Tensor, dims: int) -> Tensor:
        """Symmetric matrices (J, D, D) from their upper triangles (J, Q): the inverse of `of_products`."""
        rows, columns = torch.triu_indices(dims, dims, device=packed.device)
        matrix = packed.new_empty(len(packed), dims, dims)
        matrix[:, rows, columns] = packed
        matrix[:, columns, rows] = packed
        return matrix

    def coefficients(self, precisions: Tensor) -> Tensor:
        """(J, Q) with coefficients · quad(x) = −½ xᵀ Σ⁻¹ x, from precisions Σ⁻¹ (J, D, D)."""
        rows, columns = torch.triu_indices(precisions.shape[-1], precisions.shape[-1], device=precisions.device)
        factor = torch.where(rows == columns, -0.5, -1.0).to(precisions.dtype)  # x_i x_j stands for two entries
        return precisions[:, rows, columns] * factor


class Squares(Form):
    """Features x_i², Q = D. Factors 1 / v, (K, D)."""

    def size(self, dims: int) -> int:
        return dims

    def views(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        return [z, out]

    def of_products(self, products: Tensor) -> Tensor:
        return products.diagonal(dim1=-2, dim2=-1)


class Norm(Form):
    """The feature ‖x‖², Q = 1. Factors 1 / v, (K,)."""

    def size(self, dims: int) -> int:
        return 1

    def views(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        return [z, spare, out]

    def of_products(self, products: Tensor) -> Tensor:
        return products.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)


def _fill_products(views: list[Tensor]) -> None:
    for i in range(0, len(views), 3):
        torch.mul(views[i], views[i + 1], out=views[i + 2])


def _fill_squares(views: list[Tensor]) -> None:
    torch.mul(views[0], views[0], out=views[1])


def _fill_norm(views: list[Tensor]) -> None:
    torch.mul(views[0], views[0], out=views[1])
    torch.sum(views[1], 0, keepdim=True, out=views[2])


def _whitened(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """‖W_k (x − μ_k)‖², W_k lower triangular: column by column."""
    dims = x.shape[0]
    u = x.new_zeros(centres.shape[0], dims, x.shape[1])
    for j in range(dims):
        difference = x[j] - centres[:, j : j + 1]
        u[:, j:].addcmul_(factors[:, j:, j : j + 1], difference[:, None])
    squares = torch.zeros_like(u[:, 0])
    for i in range(dims):
        squares.addcmul_(u[:, i], u[:, i])
    return squares


class _Whitened(torch.autograd.Function):
    """`_whitened` with a gradient by products: through its steps one by one it would take ten times as long."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:  # pyright: ignore
        return _whitened(x, centres, factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # pyright: ignore
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore
        """Gradients from u = W d and d = x − μ: ∂/∂d = 2 g Wᵀ u and ∂/∂W = 2 g u dᵀ."""
        x, centres, factors = ctx.saved_tensors
        differences = x - centres[:, :, None]  # (K, D, B)
        doubled = 2 * gradient[:, None] * (factors @ differences)
        by_difference = factors.mT @ doubled
        return by_difference.sum(0), -by_difference.sum(2), (doubled @ differences.mT).tril()


def _weighted(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """Σ_d (x_d − μ_kd)² / v_kd, column by column."""
    squares = x.new_zeros(centres.shape[0], x.shape[1])
    for d in range(x.shape[0]):
        squares.addcmul_((x[d] - centres[:, d : d + 1]).square(), factors[:, d : d + 1])
    return squares


def _summed(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """Σ_d (x_d − μ_kd)² / v_k, column by column."""
    squares = x.new_zeros(centres.shape[0], x.shape[1])
    for d in range(x.shape[0]):
        difference = x[d] - centres[:, d : d + 1]
        squares.addcmul_(difference, difference)
    return squares * factors[:, None]


PRODUCTS = Products(_fill_products, _whitened, _Whitened.apply, wide=True)
SQUARES = Squares(_fill_squares, _weighted, _weighted)
NORM = Norm(_fill_norm, _summed, _summed, spare=True)
