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

from gmmcli.fitting.kernels.base import Add, Kernel, Moments
from gmmcli.fitting.kernels.softmax import Softmax
from gmmcli.fitting.kernels.whitening import log_constants, whitening

BLOCK = 16  # columns of a block: 0.56 of the work of the whole square at D = 128, 0.75 at D = 32


class TriangularKernel(Kernel):
    """Sums about the origin of the coordinates, in the precision of the products."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        whole = self.stack([whitening(self.family, p) for p in self.mixtures])  # (M K, D, 1 + D)
        self._constants = self.stack([log_constants(self.family, p) for p in self.mixtures])[:, None]  # (M K, 1)
        edges = [*range(0, self.dims, BLOCK), self.dims]
        self._blocks = list(pairwise(edges))
        self._factors = [whole[:, i:j, : 1 + j].flatten(0, 1).contiguous() for i, j in self._blocks]

    @property
    def numbers_a_row(self) -> int:
        return len(self._constants) * (1 + min(BLOCK, self.dims)) + 1 + self.dims

    @property
    def statistics_size(self) -> int:
        return len(self._constants) * (1 + sum((j - i) * (1 + j) for i, j in self._blocks))

    def statistics_bound(self, bound: Tensor) -> Tensor:
        outputs = len(self._constants)
        products = [bound[: 1 + j, None, None] * bound[1 + i : 1 + j] for i, j in self._blocks]
        tables = [table.expand(-1, outputs, -1).flatten() for table in products]
        return torch.cat([bound.new_ones(outputs), *tables])

    def plan(self, rows: int, total: Tensor) -> Add:
        constants, outputs, size = self._constants, len(self._constants), self.statistics_size
        buffer = constants.new_empty(outputs * min(BLOCK, self.dims) * rows)
        r, squares = constants.new_empty(2, outputs, rows)
        by_mixture, by_component = r.view(len(self.mixtures), -1, rows), r[:, None]
        soften = Softmax(by_mixture, self.background, total[size:])
        counts, *tables = total[:size].split([outputs, *(outputs * (j - i) * (1 + j) for i, j in self._blocks)])
        product = None if total.dtype == self.dtype else constants.new_empty(outputs * BLOCK * (1 + self.dims))
        chunk = constants.new_empty(1 + self.dims, rows)
        steps = []
        for (i, j), factor, table in zip(self._blocks, self._factors, tables, strict=True):
            u = buffer[: outputs * (j - i) * rows].view(outputs, j - i, rows)
            target = table.view(1 + j, -1)
            narrow = None if product is None else product[: target.numel()].view_as(target)
            steps.append((factor, chunk[: 1 + j], chunk[1 + i : 1 + j], u, u.view(-1, rows), target, narrow))

        def add(z: Tensor, weights: Tensor | None) -> None:
            chunk.copy_(z)  # each product reads it again, and its rows lie far apart in the block
            r.zero_()
            for factor, before, _, u, flat, _, _ in steps:
                torch.mm(factor, before, out=flat)
                r.add_(torch.sum(u.square_(), 1, out=squares))
            torch.add(constants, r, alpha=-0.5, out=r)
            by_mixture.mul_(soften(weights))
            counts.add_(r.sum(1).to(counts))
            for _, before, own, u, flat, target, narrow in steps:
                torch.mul(by_component, own, out=u)
                if narrow is None:
                    torch.addmm(target, before, flat.mT, out=target)
                else:
                    target.add_(torch.mm(before, flat.mT, out=narrow).to(target.device))

        return add

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
