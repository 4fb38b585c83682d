"""The centred route: logits and sums from u = W_k (z − μ_k), the row in the component's own whitened coordinates.

T is summed as Σ r [1, u] [1, u]ᵀ and carried to the coordinates of the fit in float64, so that neither a logit nor a
covariance loses the digits that a narrow component far from the origin costs the other routes. The error of a logit
is about 2⁻²⁴ ‖z‖ ‖W‖ ‖u‖ in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import Chunk, ChunkSums, soften, take
from gmmcli.fitting.kernels.whitening import scale_trils, whitening


class CentredKernel(Kernel):
    """For any family; dearer than the others by up to a factor of D where covariances are diagonal."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        wide = torch.cat([whitening(self.family, p) for p in self.mixtures])  # (M K, D, 1 + D)
        self._reach = wide.abs()
        spare = wide.new_zeros(len(wide), 1, 1 + self.dims)  # a row of each component that will hold √r
        self._factors = self.stack([torch.cat([spare, wide], 1)]).flatten(0, 1)  # (M K (1 + D), 1 + D)
        self._constants = self.stack([self.family.log_constants(p) for p in self.mixtures])[:, None]

    @property
    def numbers_a_row(self) -> int:
        return len(self._factors) + len(self._constants) + 3 * len(self.mixtures)

    @property
    def statistics_size(self) -> int:
        return len(self._constants) * (1 + self.dims) ** 2

    def statistics_bound(self, bound: Tensor) -> Tensor:
        reach = self._reach @ bound  # |u|, (M K, D)
        reach = torch.cat([reach.new_ones(len(reach), 1), reach], 1)
        return (reach[:, :, None] * reach[:, None, :]).flatten()

    @property
    def chunk_sums(self) -> ChunkSums:
        return _sums

    @property
    def tensors(self) -> list[Tensor]:
        return [self._factors, self._constants]

    def moments(self, values: Tensor) -> list[Moments]:
        tables = values[: self.statistics_size].view(len(self.mixtures), self.components, 1 + self.dims, -1)
        found = []
        for p, table in zip(self.mixtures, tables, strict=True):
            factors = scale_trils(self.family, p)
            counts, scatter = table[:, 0, 0], factors @ table[:, 1:, 1:] @ factors.mT
            shift = (factors @ table[:, 1:, :1])[:, :, 0]  # Σ r (z − μ)
            cross = shift[:, :, None] * p.means[:, None, :]
            square = counts[:, None, None] * p.means[:, :, None] * p.means[:, None, :]
            products = scatter + cross + cross.mT + square
            sums = shift + counts[:, None] * p.means
            found.append(Moments(counts, sums, self.family.quad_of_products(products)))
        return found


def _sums(chunk: Chunk) -> None:
    z, weights, background, total, buffer, tensors, mixtures = chunk
    factors, constants = tensors[0], tensors[1]
    outputs, inner, rows = constants.shape[0], factors.shape[1], z.shape[1]
    flat, rest = take(buffer, outputs * inner, rows)
    u = flat.view(outputs, inner, rows)
    r, rest = take(rest, outputs, rows)
    by_mixture = r.view(mixtures, outputs // mixtures, rows)
    size = outputs * inner * inner
    if weights is not None:
        weights = weights.to(buffer)
    torch.mm(factors, z.to(buffer), out=flat)
    torch.add(constants, u.square().sum(1), alpha=-0.5, out=r)
    by_mixture.mul_(soften(by_mixture, weights, background, rest, total[size:]))
    root = r.sqrt_()[:, None]
    u.mul_(root)
    u[:, :1].copy_(root)
    total[:size].add_(torch.bmm(u, u.mT).flatten().to(total.device))
