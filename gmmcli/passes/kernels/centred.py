"""The centred route: logits and sums from u = W_k (z − μ_k), the row in the component's own whitened coordinates.

T is summed as Σ r [1, u] [1, u]ᵀ and carried to the coordinates of the fit in float64. So neither a logit nor a
covariance loses the digits that a narrow component far from the origin costs the other routes. The error of a logit
is about 2⁻²⁴ ‖z‖ ‖W‖ ‖u‖ in float32.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.passes.kernels.base import Buffers, Kernel, Moments, scale_trils, whitening
from gmmcli.passes.kernels.chunk import Product, Softmax, add_product, soften


class CentredMixture(NamedTuple):
    """factors: of [1, u] from [1, z], (K (1 + D), 1 + D). constants: (K, 1). product: of the sums."""

    factors: Tensor
    constants: Tensor
    softmax: Softmax
    product: Product


class CentredChunk(NamedTuple):
    """z: (1 + D, B). u, other: (K, 1 + D, B)."""

    z: Tensor
    u: Tensor
    other: Tensor
    mixtures: list[CentredMixture]


def _sums(weights: Tensor | None, chunk: CentredChunk) -> None:
    u, other = chunk.u, chunk.other
    for at in chunk.mixtures:
        r = at.softmax.logits
        torch.mm(at.factors, chunk.z, out=u.view(-1, u.shape[2]))
        torch.mul(u, u, out=other)
        torch.add(at.constants, other[:, 1:].sum(1), alpha=-0.5, out=r)
        r.mul_(soften(weights, at.softmax))
        torch.mul(u, r[:, None], out=other)
        add_product(other, u.mT, at.product)


class CentredKernel(Kernel):
    """Serves any family. It is dearer than the others by up to a factor of D where covariances are diagonal."""

    def prepare(self) -> None:
        self.chunk_sums = _sums
        wide = [whitening(self.family, p) for p in self.mixtures]  # (K, D, 1 + D) each
        first = wide[0].new_zeros(self.components, 1, 1 + self.dims)
        first[:, 0, 0] = 1
        self._reach = [factors.abs() for factors in wide]
        self._factors = [self.here(torch.cat([first, factors], 1).flatten(0, 1)) for factors in wide]
        self._constants = [self.here(self.family.log_constants(p)[:, None]) for p in self.mixtures]
        self.numbers_a_row = (1 + 2 * self.components) * (1 + self.dims) + self.components + 3
        self.statistics_size = self.components * (1 + self.dims) ** 2

    def statistics_bound(self, bound: Tensor) -> Tensor:
        reach = torch.stack([factors @ bound for factors in self._reach])  # |u|, (M, K, D)
        reach = torch.cat([reach.new_ones(*reach.shape[:2], 1), reach], 2)
        return (reach[..., None] * reach[..., None, :]).flatten(1)

    def chunk(self, buffers: Buffers, rows: int) -> CentredChunk:
        views, shape = buffers.rows(rows), (self.components, 1 + self.dims)
        z, u, other = views.take(1 + self.dims), views.take(*shape), views.take(*shape)
        z[0] = 1
        softmaxes = self.softmaxes(buffers, views.take(self.components), views.take(3))
        products = [buffers.product(m, 0, (*shape, 1 + self.dims)) for m in range(len(self.mixtures))]
        parts = zip(self._factors, self._constants, softmaxes, products, strict=True)
        return CentredChunk(z, u, other, [CentredMixture(*part) for part in parts])

    def moments(self, values: Tensor) -> list[Moments]:
        tables = values[:, : self.statistics_size].view(len(self.mixtures), self.components, 1 + self.dims, -1)
        moments = []
        for p, table in zip(self.mixtures, tables, strict=True):
            factors = scale_trils(self.family, p)
            counts, scatter = table[:, 0, 0], factors @ table[:, 1:, 1:] @ factors.mT
            shift = (factors @ table[:, 1:, :1])[:, :, 0]  # Σ r (z − μ)
            cross = shift[:, :, None] * p.means[:, None, :]
            square = counts[:, None, None] * p.means[:, :, None] * p.means[:, None, :]
            products = scatter + cross + cross.mT + square
            sums = shift + counts[:, None] * p.means
            moments.append(Moments(counts, sums, self.family.form.of_products(products)))
        return moments
