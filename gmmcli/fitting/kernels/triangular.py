"""The triangular route: logits from ‖W_k (z − μ_k)‖², T from (r_k ∘ z) zᵀ, both by blocks of a triangle.

W_k = L_k⁻¹ is lower triangular and z zᵀ symmetric, so that a block of rows of either needs the columns up to its own
only. It builds no quadratic features, P = D (D + 1) / 2 numbers a row, and is the faster one where D is large and K
small.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import Chunk, ChunkSums, add_product, soften, take
from gmmcli.fitting.kernels.whitening import whitening

BLOCK = 16  # columns of a block: 0.56 of the work of the whole square at D = 128, 0.75 at D = 32


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

    @property
    def tensors(self) -> list[Tensor]:
        return [self._constants, *self._factors]

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


def _sums(chunk: Chunk) -> None:
    z, weights, background, total, buffer, tensors, mixtures = chunk
    constants, factors = tensors[0], tensors[1:]
    outputs, inner, rows = constants.shape[0], z.shape[0], z.shape[1]
    widest = factors[0].shape[0]  # outputs × columns of a block
    near, rest = take(buffer, inner, rows)
    near.copy_(z)  # each product reads it again, and its rows lie far apart in the block
    differences, rest = take(rest, widest, rows)
    r, rest = take(rest, outputs, rows)
    squares, rest = take(rest, outputs, rows)
    by_mixture = r.view(mixtures, outputs // mixtures, rows)
    size = outputs
    r.zero_()
    for factor in factors:
        height, width = factor.shape[0], factor.shape[1]
        flat = differences[:height]
        torch.mm(factor, near[:width], out=flat)
        r.add_(torch.sum(flat.square_().view(outputs, height // outputs, rows), 1, out=squares))
        size += height * width
    torch.add(constants, r, alpha=-0.5, out=r)
    by_mixture.mul_(soften(by_mixture, weights, background, rest, total[size:]))
    total[:outputs].add_(r.sum(1).to(total))
    first = outputs
    for factor in factors:
        height, width = factor.shape[0], factor.shape[1]
        columns = height // outputs
        flat = differences[:height]
        torch.mul(r[:, None], near[width - columns : width], out=flat.view(outputs, columns, rows))
        add_product(total[first : first + width * height].view(width, height), near[:width], flat.mT)
        first += width * height
