"""The centred route: logits and sums from u = W_k (z − μ_k), the row in the component's own whitened coordinates.

T is summed as Σ r [1, u] [1, u]ᵀ and carried to the coordinates of the fit in float64, so that neither a logit nor a
covariance loses the digits that a narrow component far from the origin costs the other routes. The error of a logit
is about 2⁻²⁴ ‖z‖ ‖W‖ ‖u‖ in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmcli.fitting.kernels.base import Add, Kernel, Moments
from gmmcli.fitting.kernels.softmax import Softmax
from gmmcli.fitting.kernels.whitening import log_constants, scale_trils, whitening


class CentredKernel(Kernel):
    """For any family; dearer than the others by up to a factor of D where covariances are diagonal."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        wide = torch.cat([whitening(self.family, p) for p in self.mixtures])  # (M K, D, 1 + D)
        self._reach = wide.abs()
        spare = wide.new_zeros(len(wide), 1, 1 + self.dims)  # a row of each component that will hold √r
        self._factors = self.stack([torch.cat([spare, wide], 1)]).flatten(0, 1)  # (M K (1 + D), 1 + D)
        self._constants = self.stack([log_constants(self.family, p) for p in self.mixtures])[:, None]

    @property
    def numbers_a_row(self) -> int:
        return len(self._factors) + len(self._constants)

    @property
    def statistics_size(self) -> int:
        return len(self._constants) * (1 + self.dims) ** 2

    def statistics_bound(self, bound: Tensor) -> Tensor:
        reach = self._reach @ bound  # |u|, (M K, D)
        reach = torch.cat([reach.new_ones(len(reach), 1), reach], 1)
        return (reach[:, :, None] * reach[:, None, :]).flatten()

    def plan(self, rows: int, total: Tensor) -> Add:
        constants, outputs, size = self._constants, len(self._constants), self.statistics_size
        flat = constants.new_empty(len(self._factors), rows)
        u = flat.view(outputs, 1 + self.dims, rows)
        r = constants.new_empty(outputs, rows)
        by_mixture = r.view(len(self.mixtures), -1, rows)
        soften = Softmax(by_mixture, self.background, total[size:])

        def add(z: Tensor, weights: Tensor | None) -> None:
            torch.mm(self._factors, z.to(constants), out=flat)
            torch.add(constants, u.square().sum(1), alpha=-0.5, out=r)
            by_mixture.mul_(soften(None if weights is None else weights.to(constants)))
            root = r.sqrt_()[:, None]
            u.mul_(root)
            u[:, :1] = root
            total[:size].add_(torch.bmm(u, u.mT).flatten().to(total.device))

        return add

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
