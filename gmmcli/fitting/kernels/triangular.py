"""The triangular route: logits from ‖W_k (z − μ_k)‖², T from (r_k ∘ z) zᵀ, both by blocks of a triangle.

W_k = L_k⁻¹ is lower triangular and z zᵀ symmetric, so that a block of rows of either needs the columns up to its own
only. It builds no quadratic features, P = D (D + 1) / 2 numbers a row, and is the faster one where D is large and K
small.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import ChunkSums, Product, Softmax, add_product, soften
from gmmcli.fitting.kernels.room import Room
from gmmcli.fitting.kernels.whitening import whitening

BLOCK = 16  # columns of a block: 0.56 of the work of the whole square at D = 128, 0.75 at D = 32


class Band(NamedTuple):
    """Columns i to j of the triangle. factor: W of them (M K (j − i), 1 + j); upto: z (1 + j, B); own: those of the
    band; differences: (M K, j − i, B), flat: the same as a matrix; product: of the sums."""

    factor: Tensor
    upto: Tensor
    own: Tensor
    differences: Tensor
    flat: Tensor
    product: Product


class TriangularChunk(NamedTuple):
    """near: z (1 + D, B); constants: (M K, 1); r, squares: (M K, B); counts: (M K,) of the sums."""

    near: Tensor
    bands: list[Band]
    constants: Tensor
    r: Tensor
    squares: Tensor
    softmax: Softmax
    counts: Tensor


class TriangularKernel(Kernel):
    """Sums about the origin of the coordinates, in the precision of the products."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        whole = self.stack([whitening(self.family, p) for p in self.mixtures])  # (M K, D, 1 + D)
        self._constants = self.stack([self.family.log_constants(p) for p in self.mixtures])[:, None]  # (M K, 1)
        edges = [*range(0, self.dims, BLOCK), self.dims]
        self._blocks = list(pairwise(edges))
        self._factors = [whole[:, i:j, : 1 + j].flatten(0, 1).contiguous() for i, j in self._blocks]

    @property
    def numbers_a_row(self) -> int:
        return len(self._constants) * (2 + min(BLOCK, self.dims)) + 1 + self.dims + 3 * len(self.mixtures)

    @property
    def statistics_size(self) -> int:
        return len(self._constants) * (1 + sum((j - i) * (1 + j) for i, j in self._blocks))

    def statistics_bound(self, bound: Tensor) -> Tensor:
        outputs = len(self._constants)
        products = [bound[: 1 + j, None, None] * bound[1 + i : 1 + j] for i, j in self._blocks]
        tables = [table.expand(-1, outputs, -1).flatten() for table in products]
        return torch.cat([bound.new_ones(outputs), *tables])

    @property
    def chunk_sums(self) -> ChunkSums:
        return _sums

    def chunk(self, room: Room, rows: int) -> TriangularChunk:
        outputs, views = len(self._constants), room.rows(rows)
        near, widest = views.take(1 + self.dims), views.take(len(self._factors[0]))
        r, squares = views.take(outputs), views.take(outputs)
        bands, first = [], outputs
        for (i, j), factor in zip(self._blocks, self._factors, strict=True):
            flat = widest[: len(factor)]
            product = room.product(first, (1 + j, len(factor)))
            bands.append(
                Band(factor, near[: 1 + j], near[1 + i : 1 + j], flat.view(outputs, j - i, rows), flat, product)
            )
            first += product.total.numel()
        softmax = self.softmax(room, views, r)
        return TriangularChunk(near, bands, self._constants, r, squares, softmax, room.total[:outputs])

    def place(self, chunk: TriangularChunk) -> Tensor | None:
        return chunk.near

    def moments(self, values: Tensor) -> list[Moments]:
        outputs, dims = len(self._constants), self.dims
        counts = values[:outputs]
        lower = values.new_zeros(outputs, dims, 1 + dims)
        start = outputs
        for i, j in self._blocks:
            size = (1 + j) * outputs * (j - i)
            lower[:, i:j, : 1 + j] = values[start : start + size].view(1 + j, outputs, j - i).permute(1, 2, 0)
            start += size
        quads = self.family.quad_of_products(lower[:, :, 1:])
        parts = zip(
            counts.split(self.components), lower[:, :, 0].split(self.components), quads.split(self.components),
            strict=True,
        )  # fmt: skip
        return [Moments(*part) for part in parts]


def _sums(z: Tensor | None, weights: Tensor | None, chunk: TriangularChunk) -> None:
    r = chunk.r
    if z is not None:
        chunk.near.copy_(z)  # each product reads it again, and its rows lie far apart in the block
    r.zero_()
    for band in chunk.bands:
        torch.mm(band.factor, band.upto, out=band.flat)
        band.flat.square_()
        r.add_(torch.sum(band.differences, 1, out=chunk.squares))
    torch.add(chunk.constants, r, alpha=-0.5, out=r)
    chunk.softmax.logits.mul_(soften(weights, chunk.softmax))
    chunk.counts.add_(r.sum(1).to(chunk.counts))
    for band in chunk.bands:
        torch.mul(r[:, None], band.own, out=band.differences)
        add_product(band.upto, band.flat.mT, band.product)
