"""The feature route: logits = η Φ and T = Φ rᵀ, two matrix products around a softmax, whatever the family.

Φ = [1, z, quad(z)], or [1, z] alone where the quadratic term is the same for every component of every row and so
drops out of r. The features of a chunk are shared by all mixtures. T is kept as (P, K): with the many features as
its rows, the product that sums over the chunk runs up to twice as fast as the other way round. Where K is at most
NARROW it is the other way round, by up to five times.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients
from gmmcli.families.quadratic import QuadFiller
from gmmcli.passes.kernels.base import Kernel, Moments
from gmmcli.passes.kernels.chunk import ChunkSums, Product, Softmax, add_product, soften
from gmmcli.passes.kernels.room import Room

NARROW = 3


class FeatureMixture(NamedTuple):
    """eta: (K, P); scaled: (P, B) or None; product: of the sums."""

    eta: Tensor
    scaled: Tensor | None
    softmax: Softmax
    product: Product


class FeatureChunk(NamedTuple):
    """z: the first of the features, (P, B); fill: views to fill the quadratic ones with, none where z is all."""

    z: Tensor
    features: Tensor
    fill: list[Tensor]
    mixtures: list[FeatureMixture]


class FeatureKernel(Kernel):
    """constant_quads: leave out the quadratic term. It serves families with a shared covariance, over all the data.

    etas: the coefficients of the mixtures, where they are known already. Linear features may go on after z: with
    missing cells [1, m z, m] takes the place of [1, z] (DiagonalFamily.masked_coefficients).
    """

    def __init__(
        self, *args: Any, constant_quads: bool = False, etas: Sequence[Coefficients] | None = None, **options: Any
    ):
        super().__init__(*args, **options)
        self.constant_quads = constant_quads
        etas = [self.family.coefficients(p) for p in self.mixtures] if etas is None else etas
        whole = [
            eta.linear if constant_quads else torch.cat([eta.linear, eta.quad.expand(self.components, -1)], 1)
            for eta in etas
        ]
        self._inner = etas[0].linear.shape[1]
        self._width = whole[0].shape[1]  # P
        self._etas = [self.here(eta) for eta in whole]  # (K, P) each

    @property
    def numbers_a_row(self) -> int:
        spare = 0 if self.constant_quads else self.family.form.spare_size(self.dims)
        rest = self.components + (self._width if self._scales_features else 0) + 3
        return self._width + max(spare, rest)

    @property
    def _scales_features(self) -> bool:
        """Whether w r goes to the features in place of the exponentials: the cheaper side takes the scale."""
        return self._width < self.components

    @property
    def _shape(self) -> tuple[int, int]:
        """Of T."""
        return (self.components, self._width) if self.components <= NARROW else (self._width, self.components)

    @property
    def statistics_size(self) -> int:
        return self.components * self._width

    def statistics_bound(self, bound: Tensor) -> Tensor:
        quads = self.family.quad_bound(bound[: 1 + self.dims])
        features = bound if self.constant_quads else torch.cat([bound, quads])
        by_component = features.expand(self.components, -1)
        one = (by_component if self.components <= NARROW else by_component.mT).flatten()
        return one.expand(len(self.mixtures), -1)

    @property
    def chunk_sums(self) -> ChunkSums:
        return _linear_sums if self.constant_quads else _sums_with(self.family.form.fill)

    def chunk(self, room: Room, rows: int) -> FeatureChunk:
        views, inner = room.rows(rows), self._inner
        features = views.take(self._width)
        features[0] = 1
        fill: list[Tensor] = []
        if not self.constant_quads:
            spare = views.take(self.family.form.spare_size(self.dims))
            views.give_back(spare)  # the logits come after it
            fill = self.family.form.views(features[1 : 1 + self.dims], features[inner:], spare)
        r = views.take(self.components)
        scaled = views.take(self._width) if self._scales_features else None
        softmax = self.softmaxes(room, r, views.take(3))
        mixtures = [
            FeatureMixture(eta, scaled, own, room.product(m, 0, self._shape))
            for m, (eta, own) in enumerate(zip(self._etas, softmax, strict=True))
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
    """The sums where the features are there."""
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
