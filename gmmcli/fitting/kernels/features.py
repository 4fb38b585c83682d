"""The feature route: logits = η Φ and T = Φ rᵀ, two matrix products around a softmax, whatever the family.

Φ = [1, z, quad(z)], or [1, z] alone where the quadratic term is the same for every component of every row and so
drops out of r. The features of a chunk are shared by all mixtures. T is kept as (P, M K): with the many features as
its rows, the product that sums over the chunk runs up to twice as fast as the other way round. Where M K is at most
NARROW it is the other way round, by up to five times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients, QuadFiller
from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import Chunk, ChunkSums, add_product, soften, take

NARROW = 3


class FeatureKernel(Kernel):
    """constant_quads: leave out the quadratic term. It serves families with a shared covariance, over all the data.

    etas: the coefficients of the mixtures, where they are known already.
    """

    def __init__(
        self, *args: Any, constant_quads: bool = False, etas: Sequence[Coefficients] | None = None, **options: Any
    ):
        super().__init__(*args, **options)
        self.constant_quads = constant_quads
        etas = [self.family.coefficients(p) for p in self.mixtures] if etas is None else etas
        whole = [torch.cat([eta.linear, eta.quad.expand(self.components, -1)], 1) for eta in etas]
        self._eta = self.stack([eta.linear for eta in etas] if constant_quads else whole)  # (M K, P)

    @property
    def numbers_a_row(self) -> int:
        outputs, width = self._eta.shape
        features = 0 if self.constant_quads else width
        return features + outputs + (width if width < outputs else 0) + 3 * len(self.mixtures)

    @property
    def statistics_size(self) -> int:
        return self._eta.numel()

    def statistics_bound(self, bound: Tensor) -> Tensor:
        features = bound if self.constant_quads else torch.cat([bound, self.family.quad_bound(bound)])
        by_output = features.expand(len(self._eta), -1)
        return (by_output if len(by_output) <= NARROW else by_output.mT).flatten()

    @property
    def chunk_sums(self) -> ChunkSums:
        return _linear_sums if self.constant_quads else _sums_with(self.family.quad_filler)

    @property
    def tensors(self) -> list[Tensor]:
        return [self._eta]

    def moments(self, values: Tensor) -> list[Moments]:
        dims, outputs = self.dims, len(self._eta)
        flat = values[: self.statistics_size]
        by_output = flat.view(outputs, -1) if outputs <= NARROW else flat.view(-1, outputs).mT
        tables = by_output.unflatten(0, (len(self.mixtures), self.components))
        return [
            Moments(t[:, 0], t[:, 1 : 1 + dims], None if self.constant_quads else t[:, 1 + dims :]) for t in tables
        ]


@cache
def _sums_with(fill: QuadFiller) -> ChunkSums:
    def sums(chunk: Chunk) -> None:
        z, weights, background, total, buffer, tensors, mixtures = chunk
        inner, rows, width = z.shape[0], z.shape[1], tensors[0].shape[1]
        features, rest = take(buffer, width, rows)
        features[:inner].copy_(z)
        fill(features[1:inner], features[inner:])
        _linear_sums(Chunk(features, weights, background, total, rest, tensors, mixtures))

    return sums


def _linear_sums(chunk: Chunk, narrow: int = NARROW) -> None:
    """The sums where z holds all the features, (P, B)."""
    features, weights, background, total, buffer, tensors, mixtures = chunk
    eta = tensors[0]
    outputs, width, rows = eta.shape[0], eta.shape[1], features.shape[1]
    r, rest = take(buffer, outputs, rows)
    by_mixture = r.view(mixtures, outputs // mixtures, rows)
    statistics = total[: width * outputs]
    torch.mm(eta, features, out=r)
    scale = soften(by_mixture, weights, background, rest, total[width * outputs :])
    if mixtures == 1 and width < outputs:  # the cheaper side takes the scale
        scaled = take(rest[3 * rows :], width, rows)[0]  # beyond what soften has taken
        features = torch.mul(features, scale[0], out=scaled)
    else:
        by_mixture.mul_(scale)
    if outputs <= narrow:
        add_product(statistics.view(outputs, width), r, features.mT)
    else:
        add_product(statistics.view(width, outputs), features, r.mT)
