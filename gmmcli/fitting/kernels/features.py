"""The feature route: logits = η Φ and T = Φ rᵀ, two matrix products around a softmax, whatever the family.

Φ = [1, z, quad(z)], or [1, z] alone where the quadratic term is the same for every component of every row and so
drops out of r. The features of a chunk are shared by all mixtures. T is kept as (P, M K): with the many features as
its rows, the product that sums over the chunk runs up to twice as fast as the other way round. Where M K is at most
NARROW it is the other way round, by up to five times.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmmcli.families.base import Coefficients, QuadFiller
from gmmcli.fitting.kernels.base import Kernel, Moments
from gmmcli.fitting.kernels.chunk import ChunkSums, Product, Softmax, add_product, soften
from gmmcli.fitting.kernels.room import Room

NARROW = 3


class FeatureChunk(NamedTuple):
    """features: (P, B); columns: where z goes in them; fill: views to fill the quadratic ones with; all three empty
    where z holds the features already. eta: (M K, P); r: (M K, B); scaled: (P, B) or None; product: of the sums."""

    features: Tensor
    columns: Tensor
    fill: list[Tensor]
    eta: Tensor
    r: Tensor
    scaled: Tensor | None
    softmax: Softmax
    product: Product


class FeatureKernel(Kernel):
    """constant_quads: leave out the quadratic term. It serves families with a shared covariance, over all the data.

    etas: the coefficients of the mixtures, where they are known already. Linear features may go on after z: with
    missing cells [1, m z, m] takes the place of [1, z] (VarianceFamily.masked_coefficients).
    """

    def __init__(
        self, *args: Any, constant_quads: bool = False, etas: Sequence[Coefficients] | None = None, **options: Any
    ):
        super().__init__(*args, **options)
        self.constant_quads = constant_quads
        etas = [self.family.coefficients(p) for p in self.mixtures] if etas is None else etas
        whole = [torch.cat([eta.linear, eta.quad.expand(self.components, -1)], 1) for eta in etas]
        self._inner = etas[0].linear.shape[1]
        self._eta = self.stack([eta.linear for eta in etas] if constant_quads else whole)  # (M K, P)

    @property
    def numbers_a_row(self) -> int:
        outputs, width = self._eta.shape
        features, spare = (0, 0) if self.constant_quads else (width, self.family.spare_size(self.dims))
        rest = outputs + (width if self._scales_features else 0) + 3 * len(self.mixtures)
        return features + max(spare, rest)

    @property
    def _scales_features(self) -> bool:
        """Whether w r goes to the features in place of the exponentials: the cheaper side takes the scale."""
        outputs, width = self._eta.shape
        return len(self.mixtures) == 1 and width < outputs

    @property
    def _narrow(self) -> bool:
        return len(self._eta) <= NARROW

    @property
    def statistics_size(self) -> int:
        return self._eta.numel()

    def statistics_bound(self, bound: Tensor) -> Tensor:
        quads = self.family.quad_bound(bound[: 1 + self.dims])
        features = bound if self.constant_quads else torch.cat([bound, quads])
        by_output = features.expand(len(self._eta), -1)
        return (by_output if self._narrow else by_output.mT).flatten()

    @property
    def chunk_sums(self) -> ChunkSums:
        return _linear_sums if self.constant_quads else _sums_with(self.family.quad_filler)

    def chunk(self, room: Room, rows: int) -> FeatureChunk:
        outputs, width = self._eta.shape
        views, inner, own = room.rows(rows), self._inner, slice(1, 1 + self.dims)
        features = views.take(0 if self.constant_quads else width)
        fill: list[Tensor] = []
        if not self.constant_quads:
            features[0] = 1
            spare = views.take(self.family.spare_size(self.dims))
            views.give_back(spare)  # the logits come after it
            fill = self.family.quad_places(features[own], features[inner:], spare)
        r = views.take(outputs)
        scaled = views.take(width) if self._scales_features else None
        softmax = self.softmax(room, views, r)
        product = room.product(0, (outputs, width) if self._narrow else (width, outputs))
        return FeatureChunk(features, features[1:inner], fill, self._eta, r, scaled, softmax, product)

    def place(self, chunk: FeatureChunk) -> Tensor | None:
        return None if self.constant_quads else chunk.features[: self._inner]

    def moments(self, values: Tensor) -> list[Moments]:
        inner, outputs = self._inner, len(self._eta)
        flat = values[: self.statistics_size]
        by_output = flat.view(outputs, -1) if self._narrow else flat.view(-1, outputs).mT
        tables = by_output.unflatten(0, (len(self.mixtures), self.components))
        return [Moments(t[:, 0], t[:, 1:inner], None if self.constant_quads else t[:, inner:]) for t in tables]


@cache
def _sums_with(fill: QuadFiller) -> ChunkSums:
    def sums(z: Tensor | None, weights: Tensor | None, chunk: FeatureChunk) -> None:
        if z is not None:
            chunk.columns.copy_(z[1:])
        fill(chunk.fill)
        _linear_sums(chunk.features, weights, chunk)

    return sums


def _linear_sums(z: Tensor | None, weights: Tensor | None, chunk: FeatureChunk, narrow: int = NARROW) -> None:
    """The sums where z holds all the features, (P, B)."""
    assert z is not None
    r, scaled = chunk.r, chunk.scaled
    torch.mm(chunk.eta, z, out=r)
    scale = soften(weights, chunk.softmax)
    if scaled is None:
        chunk.softmax.logits.mul_(scale)
    else:
        z = torch.mul(z, scale[0], out=scaled)
    if r.shape[0] <= narrow:
        add_product(r, z.mT, chunk.product)
    else:
        add_product(z, r.mT, chunk.product)
