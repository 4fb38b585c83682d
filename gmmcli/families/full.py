"""Full covariances: one for every component (`full`) or one for all (`tied`).

The scale is `scale_tril`, the lower Cholesky factor L of Σ = L Lᵀ, (J, D, D) with a positive diagonal. The
quadratic features are the products x_i x_j with i ≤ j, row by row of the upper triangle.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.affine import inverse_tril
from gmmcli.families.base import Distances, Family, Parameters, QuadFiller


class FullFamily(Family):
    """Every entry of the covariance is free. Q = D (D + 1) / 2."""

    coordinates = "whitened"
    scale_name = "scale_tril"

    def scale_shape(self, components: int, dims: int) -> tuple[int, ...]:
        return (self.sharing(components), dims, dims)

    def scale_count(self, dims: int) -> int:
        return dims * (dims + 1) // 2

    def rank_rows(self, dims: int) -> int:
        return dims + 1

    def inverse_wishart(self, degrees: float, variance: float, dims: int) -> tuple[float, Tensor]:
        return degrees + dims + 1, self.quad_of_products(variance * torch.eye(dims, dtype=torch.float64)[None])[0]

    def quad_size(self, dims: int) -> int:
        return dims * (dims + 1) // 2

    @property
    def quad_filler(self) -> QuadFiller:
        return _products

    def quad_places(self, z: Tensor, out: Tensor, spare: Tensor) -> list[Tensor]:
        columns = range(len(z))
        by_column = out.split([len(z) - i for i in columns])
        return [view for i in columns for view in (z[i:], z[i], by_column[i])]

    def quad_coefficients(self, scale: Tensor) -> Tensor:
        precision = torch.cholesky_inverse(scale)
        dims = scale.shape[-1]
        rows, columns = torch.triu_indices(dims, dims, device=scale.device)
        factor = torch.where(rows == columns, -0.5, -1.0).to(scale.dtype)  # x_i x_j stands for two entries
        return precision[:, rows, columns] * factor

    def precision_times(self, scale: Tensor, vectors: Tensor) -> Tensor:
        return torch.cholesky_solve(vectors[:, :, None], scale.expand(len(vectors), -1, -1))[:, :, 0]

    def log_det(self, scale: Tensor, dims: int) -> Tensor:
        return 2 * scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def distances(self) -> Distances:
        return _whitened

    @property
    def differentiable_distances(self) -> Distances:
        return _Whitened.apply

    def distance_factors(self, scale: Tensor) -> Tensor:
        return inverse_tril(scale)  # ‖L⁻¹ (x − μ)‖²: as exact as solving for each row, and faster

    def distance_numbers(self, dims: int) -> int:
        return dims

    def scale_from_scatter(self, scatter: Tensor, counts: Tensor, dims: int, floor: float) -> Tensor:
        return _factor(_unpack(scatter / counts[:, None], dims), floor)

    def project(self, scale: Tensor, floor: float) -> Tensor:
        covariances = self.covariances(scale, scale.shape[-1])
        binds = _below(covariances, floor)
        return torch.where(binds[:, None, None], _factor(covariances, floor), scale) if binds.any() else scale

    def from_covariances(self, covariances: Tensor) -> Tensor:
        return _cholesky(covariances)

    def covariances(self, scale: Tensor, dims: int) -> Tensor:
        return scale @ scale.mT

    def scale_trils(self, scale: Tensor, dims: int) -> Tensor:
        return scale

    def marginal_scale(self, scale: Tensor, columns: Tensor) -> Tensor:
        rows = scale[:, columns]
        return _cholesky(rows @ rows.mT)

    def complete(
        self, p: Parameters, observed: Tensor, counts: Tensor, sums: Tensor, quads: Tensor
    ) -> tuple[Tensor, Tensor]:
        missing = self.others(observed, p.dims)
        covariances = self.covariances(p.scale, p.dims)
        slope, rest = regression(covariances, observed, missing)
        # E[x | x_o] = base + lift x_o
        lift = slope.new_zeros(len(slope), p.dims, len(observed))
        lift[:, observed] = torch.eye(len(observed), dtype=slope.dtype, device=slope.device)
        lift[:, missing] = slope
        base = torch.zeros_like(p.means)
        base[:, missing] = p.means[:, missing] - (slope @ p.means[:, observed, None])[:, :, 0]
        lifted = (lift @ sums[:, :, None])[:, :, 0]
        cross = lifted[:, :, None] * base[:, None, :]
        products = cross + cross.mT + counts[:, None, None] * base[:, :, None] * base[:, None, :]
        if self.shared:
            products, rows = products.sum(0, keepdim=True), counts.sum()[None]
        else:
            rows = counts
        products = products + lift @ _unpack(quads, len(observed)) @ lift.mT
        grid = missing[:, None], missing[None, :]
        products[:, grid[0], grid[1]] += rows[:, None, None] * rest
        return lifted + counts[:, None] * base, self.quad_of_products(products)

    def quad_of_products(self, products: Tensor) -> Tensor:
        rows, columns = torch.triu_indices(products.shape[-1], products.shape[-1], device=products.device)
        return products[:, columns, rows]

    def eigenvalue_range(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        singular = torch.linalg.svdvals(scale)
        return singular[:, -1].square(), singular[:, 0].square()

    def colour(self, scale: Tensor, component: Tensor, noise: Tensor) -> Tensor:
        # The product has as many rows as drew the component. Blocks are always drawn whole (gmmcli.model.synthetic).
        coloured = torch.empty_like(noise)
        for k in component.unique().tolist():  # by component: a gathered (N, D, D) would not fit
            rows = component == k
            coloured[rows] = noise[rows] @ scale[k if len(scale) > 1 else 0].mT
        return coloured

    def to_raw(self, scale: Tensor) -> Tensor:
        return scale.tril(-1) + scale.diagonal(dim1=-2, dim2=-1).log().diag_embed()

    def from_raw(self, raw: Tensor) -> Tensor:
        return raw.tril(-1) + raw.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def scale_outer(self, scale: Tensor, factor: Tensor) -> Tensor:
        if factor.ndim == 2:
            return factor @ scale
        return scale * (factor[:, None] if factor.ndim == 1 else factor)

    def scale_problem(self, scale: Tensor) -> str | None:
        if bool((scale.triu(1) != 0).any()):
            return "scale_tril is not lower triangular"
        if bool((scale.diagonal(dim1=-2, dim2=-1) <= 0).any()):
            return "a covariance is not positive definite: scale_tril has a diagonal entry that is not positive"
        return None


def regression(
    covariances: Tensor,  # (J, D, D)
    there: Tensor,  # (D',) int64
    lacking: Tensor,  # (M,) int64
) -> tuple[Tensor, Tensor]:
    """Of the columns that are lacking on those that are there: the slopes Σ_mo Σ_oo⁻¹ (J, M, D'), and the covariances
    Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om of what remains (J, M, M)."""
    rest = covariances[:, lacking][:, :, lacking]
    across = covariances[:, lacking][:, :, there]
    if not len(there):
        return across, rest
    factor = _cholesky(covariances[:, there][:, :, there])
    half = torch.linalg.solve_triangular(factor, across.mT, upper=False).mT
    slope = torch.linalg.solve_triangular(factor.mT, half.mT, upper=True).mT
    return slope, rest - half @ half.mT


def _products(places: list[Tensor]) -> None:
    for i in range(0, len(places), 3):
        torch.mul(places[i], places[i + 1], out=places[i + 2])


def _whitened(x: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """‖W_k (x − μ_k)‖², W_k lower triangular: column by column."""
    dims = x.shape[0]
    u = x.new_zeros(centres.shape[0], dims, x.shape[1])
    for j in range(dims):
        difference = x[j] - centres[:, j : j + 1]
        u[:, j:].addcmul_(factors[:, j:, j : j + 1], difference[:, None])
    found = torch.zeros_like(u[:, 0])
    for i in range(dims):
        found.addcmul_(u[:, i], u[:, i])
    return found


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
        """u = W d, d = x − μ: ∂/∂d = 2 g Wᵀ u and ∂/∂W = 2 g u dᵀ."""
        x, centres, factors = ctx.saved_tensors
        differences = x - centres[:, :, None]  # (K, D, B)
        doubled = 2 * gradient[:, None] * (factors @ differences)
        by_difference = factors.mT @ doubled
        return by_difference.sum(0), -by_difference.sum(2), (doubled @ differences.mT).tril()


def _unpack(
    packed: Tensor,  # (J, Q)
    dims: int,
) -> Tensor:
    """Symmetric (J, D, D) from its upper triangle, row by row."""
    rows, columns = torch.triu_indices(dims, dims, device=packed.device)
    matrix = packed.new_empty(len(packed), dims, dims)
    matrix[:, rows, columns] = packed
    matrix[:, columns, rows] = packed
    return matrix


def _below(covariances: Tensor, floor: float) -> Tensor:
    """Which covariances have an eigenvalue below the floor: exactly those whose Σ − floor I has no factor."""
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return torch.linalg.cholesky_ex(covariances - floor * eye).info != 0


def _factor(covariances: Tensor, floor: float) -> Tensor:
    """Cholesky factors after raising to the floor the eigenvalues below it.

    Clamping the eigenvalues of the scatter matrix maximises the likelihood under Σ ⪰ floor I, so EM stays
    monotone where the floor binds, and is untouched where it does not.
    """
    binds = _below(covariances, floor)
    if bool(binds.any()):
        values, vectors = torch.linalg.eigh(covariances[binds])
        # A whisker above the floor, so that the factorisation below cannot fail by rounding at a floor of 0.
        values = values.clamp_min(max(floor, torch.finfo(values.dtype).tiny))
        covariances = covariances.clone()
        covariances[binds] = (vectors * values[:, None, :]) @ vectors.mT
    return _cholesky(covariances)


def _cholesky(covariances: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(covariances)
    if bool((info != 0).any()):
        k = int((info != 0).nonzero()[0])
        raise NumericalError(f"covariance {k} is not positive definite")
    return factor


FULL = FullFamily("full")
TIED = FullFamily("tied", shared=True)
