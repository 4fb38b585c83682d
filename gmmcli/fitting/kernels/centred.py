"""The centred route: logits and sums from u = W_k (z − μ_k), the row in the component's own whitened coordinates.

T is summed as Σ r [1, u] [1, u]ᵀ and carried to the coordinates of the fit in float64, so that neither a logit nor a
covariance loses the digits that a narrow component far from the origin costs the other routes. The error of a logit
is about 2⁻²⁴ ‖z‖ ‖W‖ ‖u‖ in float32.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import ChunkSums, Product, Softmax, add_product, soften
from gmmcli.fitting.kernels.room import Room
from gmmcli.fitting.kernels.whitening import scale_trils, whitening


class CentredChunk(NamedTuple):
    """factors: of [1, u] from [1, z], (M K (1 + D), 1 + D); constants: (M K, 1); u, other: (M K, 1 + D, B);
    r: (M K, B); product: of the sums."""

    factors: Tensor
    constants: Tensor
    u: Tensor
    other: Tensor
    r: Tensor
    softmax: Softmax
    product: Product


class CentredKernel(Kernel):
    """For any family; dearer than the others by up to a factor of D where covariances are diagonal."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        wide = torch.cat([whitening(self.family, p) for p in self.mixtures])  # (M K, D, 1 + D)
        self._reach = wide.abs()
        first = wide.new_zeros(len(wide), 1, 1 + self.dims)
        first[:, 0, 0] = 1
        self._factors = self.stack([torch.cat([first, wide], 1)]).flatten(0, 1)  # (M K (1 + D), 1 + D), of [1, u]
        self._constants = self.stack([self.family.log_constants(p) for p in self.mixtures])[:, None]

    @property
    def numbers_a_row(self) -> int:
        return 2 * len(self._factors) + len(self._constants) + 3 * len(self.mixtures)

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

    def chunk(self, room: Room, rows: int) -> CentredChunk:
        outputs, inner, views = len(self._constants), 1 + self.dims, room.rows(rows)
        u, other, r = views.take(outputs, inner), views.take(outputs, inner), views.take(outputs)
        softmax = self.softmax(room, views, r)
        product = room.product(0, (outputs, inner, inner))
        return CentredChunk(self._factors, self._constants, u, other, r, softmax, product)

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


def _sums(z: Tensor | None, weights: Tensor | None, chunk: CentredChunk) -> None:
    assert z is not None
    u, other, r = chunk.u, chunk.other, chunk.r
    if weights is not None:
        weights = weights.to(u)
    torch.mm(chunk.factors, z.to(u), out=u.view(-1, u.shape[2]))
    torch.mul(u, u, out=other)
    torch.add(chunk.constants, other[:, 1:].sum(1), alpha=-0.5, out=r)
    chunk.softmax.logits.mul_(soften(weights, chunk.softmax))
    torch.mul(u, r[:, None], out=other)
    add_product(other, u.mT, chunk.product)
