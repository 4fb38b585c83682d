"""The feature route: logits = η Φ and T = Φ rᵀ, two matrix products around a softmax, whatever the family.

Φ = [1, z, quad(z)], or [1, z] alone where the quadratic term is the same for every component of every row and so
drops out of r. The features of a chunk are shared by all mixtures. T is kept as (P, K): with the many features as
its rows, the product that sums over the chunk runs up to twice as fast as the other way round. Where K is at most
NARROW the other way round is the faster one, by up to five times.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.families.quadratic import QuadFiller
from gmmcli.passes.kernels.base import Buffers, Kernel, Moments
from gmmcli.passes.kernels.chunk import ChunkSums, Product, Softmax, add_product, soften

NARROW = 3


class FeatureMixture(NamedTuple):
    """eta: (K, P). scaled: (P, B) or None. product: of the sums."""

    eta: Tensor
    scaled: Tensor | None
    softmax: Softmax
    product: Product


class FeatureChunk(NamedTuple):
    """z: linear features, (1 + D or 1 + 2 D, B). features: all, (P, B). fill: views to fill the quadratic ones."""

    z: Tensor
    features: Tensor
    fill: list[Tensor]
    mixtures: list[FeatureMixture]


class FeatureKernel(Kernel):
    """Serves any family; with constant_quads those with a shared covariance, over all the data.

    More linear features may follow z: with missing cells [1, m z, m] replaces [1, z]
    (DiagonalFamily.masked_coefficients).
    """

    def prepare(self) -> None:
        etas = [self.family.coefficients(p) for p in self.mixtures] if self.etas is None else self.etas
        linear, whole = self.constant_quads, [eta.linear for eta in etas]
        if not linear:
            whole = [torch.cat([eta.linear, eta.quad.expand(self.components, -1)], 1) for eta in etas]
        self._etas = [self.here(eta) for eta in whole]  # (K, P) each
        self._inner, self._width = etas[0].linear.shape[1], whole[0].shape[1]  # width: P
        width = self._width
        self._shape = (self.components, width) if self.components <= NARROW else (width, self.components)  # of T
        self._spare = 0 if linear else self.family.form.spare_size(self.dims)
        self._scaled = width if width < self.components else 0  # w r scales features or exponentials, what is cheaper
        self._work = max(self._spare, self.components + self._scaled + 3)
        self.numbers_a_row = width + self._work
        self.statistics_size = self.components * width
        self.chunk_sums = _linear_sums if linear else _sums_with(self.family.form.fill)

    def statistics_bound(self, bound: Tensor) -> Tensor:
        quads = self.family.quad_bound(bound[: 1 + self.dims])
        features = bound if self.constant_quads else torch.cat([bound, quads])
        by_component = features.expand(self.components, -1)
        one = (by_component if self.components <= NARROW else by_component.mT).flatten()
        return one.expand(len(self.mixtures), -1)

    def chunk(self, buffers: Buffers, rows: int) -> FeatureChunk:
        views, inner = buffers.rows(rows), self._inner
        features = views.take(self._width)
        features[0] = 1
        work = views.take(self._work)  # for the features first, then for the logits
        fill: list[Tensor] = []
        if not self.constant_quads:
            fill = self.family.form.views(features[1 : 1 + self.dims], features[inner:], work[: self._spare])
        ends = self.components, self.components + self._scaled, self.components + self._scaled + 3
        r, scaled, scratch, _ = work.tensor_split(ends)
        softmaxes = self.softmaxes(buffers, r, scratch)
        mixtures = [
            FeatureMixture(eta, scaled if self._scaled else None, softmax, buffers.product(m, 0, self._shape))
            for m, (eta, softmax) in enumerate(zip(self._etas, softmaxes, strict=True))
        ]
        return FeatureChunk(features[:inner], features, fill, mixtures)

    def moments(self, values: Tensor) -> list[Moments]:
        inner = self._inner
        tables = values[:, : self.statistics_size].unflatten(1, self._shape)
        tables = tables if self.components <= NARROW else tables.mT
        return [Moments(t[:, 0], t[:, 1:inner], None if self.constant_quads else t[:, inner:]) for t in tables]


@cache
def _sums_with(fill: QuadFiller) -> ChunkSums:
    def sums(weights: Tensor | None, chunk: FeatureChunk) -> None:
        fill(chunk.fill)
        _linear_sums(weights, chunk)

    return sums


def _linear_sums(weights: Tensor | None, chunk: FeatureChunk, narrow: int = NARROW) -> None:
    """Adds the sums of rows whose features are filled in."""
    for at in chunk.mixtures:
        features, r, scaled = chunk.features, at.softmax.logits, at.scaled
        torch.mm(at.eta, features, out=r)
        scale = soften(weights, at.softmax)
        if scaled is None:
            r.mul_(scale)
        else:
            features = torch.mul(features, scale, out=scaled)
        if r.shape[0] <= narrow:
            add_product(r, features.mT, at.product)
        else:
            add_product(features, r.mT, at.product)
