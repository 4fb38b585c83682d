"""The triangular route: logits from ‖W_k (z − μ_k)‖², T from (r_k ∘ z) zᵀ, both by blocks of a triangle.

W_k = L_k⁻¹ is lower triangular and z zᵀ symmetric. So a block of rows of either needs the columns up to its own only.
The route builds no quadratic features, P = D (D + 1) / 2 numbers a row, and is the faster one where D is large and K
small.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.passes.kernels.base import Buffers, Kernel, Moments, whitening
from gmmcli.passes.kernels.chunk import Product, Softmax, add_product, soften

BLOCK = 16  # columns of a block: 0.56 of the work of the whole square at D = 128, 0.75 at D = 32


class Band(NamedTuple):
    """Columns i to j of the triangle. factor: their W (K (j − i), 1 + j). upto: z (1 + j, B). own: z of the band.

    differences: (K, j − i, B). flat: the same memory as a matrix. product: of the sums.
    """

    factor: Tensor
    upto: Tensor
    own: Tensor
    differences: Tensor
    flat: Tensor
    product: Product


class TriangularMixture(NamedTuple):
    """constants: (K, 1). counts: (K,) of the sums."""

    bands: list[Band]
    constants: Tensor
    softmax: Softmax
    counts: Tensor


class TriangularChunk(NamedTuple):
    """z: (1 + D, B). squares: (K, B)."""

    z: Tensor
    squares: Tensor
    mixtures: list[TriangularMixture]


def _sums(weights: Tensor | None, chunk: TriangularChunk) -> None:
    for at in chunk.mixtures:
        r = at.softmax.logits.zero_()
        for band in at.bands:
            torch.mm(band.factor, band.upto, out=band.flat)
            band.flat.square_()
            r.add_(torch.sum(band.differences, 1, out=chunk.squares))
        torch.add(at.constants, r, alpha=-0.5, out=r)
        r.mul_(soften(weights, at.softmax))
        at.counts.add_(r.sum(1).to(at.counts))
        for band in at.bands:
            torch.mul(r[:, None], band.own, out=band.differences)
            add_product(band.upto, band.flat.mT, band.product)


class TriangularKernel(Kernel):
    """Sums about the origin of the coordinates, in the precision of the products."""

    def prepare(self) -> None:
        self.chunk_sums = _sums
        self._blocks = list(pairwise([*range(0, self.dims, BLOCK), self.dims]))
        self._constants = [self.here(self.family.log_constants(p)[:, None]) for p in self.mixtures]  # (K, 1) each
        wide = [whitening(self.family, p) for p in self.mixtures]  # (K, D, 1 + D) each
        self._factors = [
            [self.here(factors[:, i:j, : 1 + j].flatten(0, 1)) for i, j in self._blocks] for factors in wide
        ]
        self.numbers_a_row = self.components * (2 + min(BLOCK, self.dims)) + 1 + self.dims + 3
        self.statistics_size = self.components * (1 + sum((j - i) * (1 + j) for i, j in self._blocks))

    def statistics_bound(self, bound: Tensor) -> Tensor:
        products = [bound[: 1 + j, None, None] * bound[1 + i : 1 + j] for i, j in self._blocks]
        tables = [table.expand(-1, self.components, -1).flatten() for table in products]
        return torch.cat([bound.new_ones(self.components), *tables]).expand(len(self.mixtures), -1)

    def chunk(self, buffers: Buffers, rows: int) -> TriangularChunk:
        views = buffers.rows(rows)
        z, widest = views.take(1 + self.dims), views.take(self.components * min(BLOCK, self.dims))
        z[0] = 1
        r, squares = views.take(self.components), views.take(self.components)
        softmaxes = self.softmaxes(buffers, r, views.take(3))
        mixtures = []
        for m, (constants, softmax) in enumerate(zip(self._constants, softmaxes, strict=True)):
            bands, first = [], self.components
            for (i, j), factor in zip(self._blocks, self._factors[m], strict=True):
                flat = widest[: len(factor)]
                product = buffers.product(m, first, (1 + j, len(factor)))
                differences = flat.view(self.components, j - i, -1)
                bands.append(Band(factor, z[: 1 + j], z[1 + i : 1 + j], differences, flat, product))
                first += product.total.numel()
            mixtures.append(TriangularMixture(bands, constants, softmax, buffers.total[m, : self.components]))
        return TriangularChunk(z, squares, mixtures)

    def moments(self, values: Tensor) -> list[Moments]:
        components, dims = self.components, self.dims
        lower = values.new_zeros(len(values), components, dims, 1 + dims)
        start = components
        for i, j in self._blocks:
            size = (1 + j) * components * (j - i)
            table = values[:, start : start + size].view(-1, 1 + j, components, j - i)
            lower[:, :, i:j, : 1 + j] = table.permute(0, 2, 3, 1)
            start += size
        return [
            Moments(counts, table[:, :, 0], self.family.form.of_products(table[:, :, 1:]))
            for counts, table in zip(values[:, :components], lower, strict=True)
        ]
