"""The feature route: logits = η Φ and T = Φ rᵀ, two matrix products around a softmax, whatever the family.

Φ = [1, z, quad(z)], or [1, z] alone where the quadratic term is the same for every component of every row and so
drops out of r. The features of a chunk are shared by all mixtures. T is kept as (P, M K): with the many features as
its rows, the product that sums over the chunk runs up to twice as fast as the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients
from gmmcli.fitting.kernels.base import Add, Kernel, Moments
from gmmcli.fitting.kernels.softmax import Softmax


class FeatureKernel(Kernel):
    """linear_only: leave out the quadratic term. It serves families with a shared covariance, over all the data.

    etas: the coefficients of the mixtures, where they are known already.
    """

    def __init__(
        self, *args: Any, linear_only: bool = False, etas: Sequence[Coefficients] | None = None, **options: Any
    ):
        super().__init__(*args, **options)
        self.linear_only = linear_only
        etas = [self.family.coefficients(p) for p in self.mixtures] if etas is None else etas
        whole = [torch.cat([eta.linear, eta.quad.expand(self.components, -1)], 1) for eta in etas]
        self._eta = self.stack([eta.linear for eta in etas] if linear_only else whole)  # (M K, P)

    @property
    def numbers_a_row(self) -> int:
        return sum(self._eta.shape)

    @property
    def statistics_size(self) -> int:
        return self._eta.numel()

    def statistics_bound(self, bound: Tensor) -> Tensor:
        features = bound if self.linear_only else torch.cat([bound, self.family.quad_bound(bound)])
        return features[:, None].expand(-1, len(self._eta)).flatten()

    def plan(self, rows: int, total: Tensor) -> Add:
        eta, (outputs, width), size, inner = self._eta, self._eta.shape, self.statistics_size, 1 + self.dims
        statistics = total[:size].view(width, outputs)
        r = eta.new_empty(outputs, rows)
        by_mixture, by_row = r.view(len(self.mixtures), -1, rows), r.mT
        soften = Softmax(by_mixture, self.background, total[size:])
        features = eta.new_empty(0 if self.linear_only else width, rows)
        features[:1] = 1
        linear = features[1:inner]
        fill = None if self.linear_only else self.family.quad_filler(linear, features[inner:])
        scaled = eta.new_empty(width, rows) if len(self.mixtures) == 1 and width < outputs else None
        product = None if total.dtype == self.dtype else eta.new_empty(width, outputs)

        def add(z: Tensor, weights: Tensor | None) -> None:
            phi = z
            if fill is not None:
                linear.copy_(z[1:])
                fill()
                phi = features
            torch.mm(eta, phi, out=r)
            scale = soften(weights)
            if scaled is None:
                by_mixture.mul_(scale)
            else:  # fewer features than components: the cheaper side takes the scale
                phi = torch.mul(phi, scale[0], out=scaled)
            if product is None:
                torch.addmm(statistics, phi, by_row, out=statistics)
            else:
                statistics.add_(torch.mm(phi, by_row, out=product).to(statistics.device))

        return add

    def moments(self, values: Tensor) -> list[Moments]:
        dims = self.dims
        tables = values[: self.statistics_size].view(-1, len(self.mixtures), self.components).permute(1, 2, 0)
        return [Moments(t[:, 0], t[:, 1 : 1 + dims], None if self.linear_only else t[:, 1 + dims :]) for t in tables]
