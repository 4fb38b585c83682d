"""Densities of many rows under a mixture that stays as it is: `Densities`.

log π_k + log N(x | μ_k, Σ_k) = η_k · φ(z) + constant: one matrix product for all components, in coordinates z in
which the mixture as a whole has mean 0 and variance 1. Its terms cancel for rows far away and components that are
narrow: for rows beyond a radius, which the mixture alone determines, it is evaluated from differences to the means.

The loop over chunks of rows is a function that TorchScript compiles, and so is what a chunk is reduced by: see
gmmcli.compiled.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

import math
import threading
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli.compiled import compiled
from gmmcli.families.base import Family, Parameters, QuadFiller
from gmmcli.families.coordinates import Affine
from gmmcli.families.laying import Laying, lay_out, laying
from gmmcli.reductions import LEAST_ROWS, Reduce, by_chunks, joined, own, padded, put, width

CHUNK_NUMBERS = {"cpu": 1 << 16, "cuda": 1 << 24}  # of a chunk's largest table; a CPU's cache holds so many
MOST_ROWS = 1 << 14  # of a chunk
COMPILED_ROWS = 1 << 18  # from which on compiling takes less time than it saves
ROUNDING = 1e-9  # nats, how far cancellation may move a density in a worst case that rows do not reach
MOST_ENTRIES = 1 << 22  # of covariances, for which coordinates are looked for


def chunk_rows(device: torch.device, numbers: int) -> int:
    """Rows of a chunk whose largest table has so many numbers a row, a power of 2: a matter of model and device."""
    rows = CHUNK_NUMBERS.get(device.type, CHUNK_NUMBERS["cuda"]) // numbers
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << rows.bit_length() >> 1))


# ---- the loop over chunks


class Place(NamedTuple):
    """Where chunks are worked. features: (P, B), as wide as `padded` is; fill: views to fill the quadratic ones with;
    eta: (K, P); joint: (K, B)."""

    laying: Laying
    features: Tensor
    fill: list[Tensor]
    eta: Tensor
    joint: Tensor


Loop = Callable[[Tensor, Place, int, float], tuple[list[list[Tensor]], list[Tensor]]]


@cache
def loop_of(filler: QuadFiller, reduce: Reduce) -> Loop:
    """The loop of a family and a reduction over the chunks of many rows, each of so many."""

    def loop(
        cells: Tensor,  # (D, N)
        place: Place,
        rows: int,
        radius: float,
    ) -> tuple[list[list[Tensor]], list[Tensor]]:
        found: list[list[Tensor]] = []
        far: list[Tensor] = []
        z = place.laying.z[1:]
        for first in range(0, cells.shape[1], rows):
            lay_out(cells[:, first : first + rows], None, place.laying)
            filler(place.fill)
            torch.mm(place.eta, place.features, out=place.joint)
            least, most = torch.aminmax(z)
            farthest = torch.maximum(-least, most) * math.sqrt(z.shape[0])
            if not bool(farthest <= radius):  # or where a cell is no number
                far.append((z.square().sum(0) <= radius * radius).logical_not().nonzero()[:, 0] + first)
            found.append(list(reduce(place.joint)))
        return found, far

    return loop


class Densities:
    """Those of a mixture with parameters `p` of (x − shift) / std, which are not differentiated.

    shift, std: (D,).
    """

    def __init__(self, family: Family, p: Parameters, shift: Tensor, std: Tensor) -> None:
        given = (p.weights, p.means, p.scale, shift, std)
        weights, means, scale, shift, std = self._given = tuple(t.detach().clone() for t in given)
        self._family, self._p = family, Parameters(weights, means, scale)
        self._outer = Affine(shift, std)
        self._exact = family.log_joint_by_row(self._p)
        self._product = _product(family, self._p, self._outer)
        columns = p.dims if self._product is None else self._product.eta.shape[1]
        self._rows = chunk_rows(shift.device, max(p.components, columns))
        self._seen = 0
        self._room = _Room()

    def suits(self, p: Parameters, shift: Tensor, std: Tensor) -> bool:
        """Whether these are still the parameters, to the bit, and where they were."""
        pairs = zip(self._given, (p.weights, p.means, p.scale, shift, std), strict=True)
        return all(a.device == b.device and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)

    def reduced(
        self,
        x: Tensor,  # (N, D)
        reduce: Reduce,
    ) -> list[Tensor]:
        """What `reduce`, in place, makes of log p(k, x), in the units of `p`, of all rows: its tensors (..., N).

        A row's numbers do not depend on the rows beside it.
        """
        self._seen += len(x)
        if self._product is None or not len(x):
            return by_chunks(x, self._rows, self._exact_joint, reduce)
        loop = loop_of(self._family.quad_filler, reduce)
        loop = compiled(loop) if self._seen >= COMPILED_ROWS and x.device.type == "cpu" else loop
        whole = len(x) - len(x) % self._rows
        parts, far = [], []
        for first, some, rows in ((0, x[:whole], self._rows), (whole, x[whole:], len(x) - whole)):
            if len(some):
                found, beyond = loop(some.mT, self._place(rows), rows, self._product.radius)
                parts += [own(answers, rows) for answers in found]
                far += [places + first for places in beyond]
        answers = joined(parts)
        if far:
            places = torch.cat(far)
            put(answers, places, by_chunks(x[places], self._rows, self._exact_joint, reduce))
        return answers

    def _exact_joint(
        self,
        rows: Tensor,  # (B, D)
    ) -> Tensor:
        """log p(k, x) from differences to the means, padded."""
        return self._exact(padded(self._outer.inner(rows.to(self._p.means.dtype)).mT))

    def _place(self, rows: int) -> Place:
        """Room for chunks of so many rows: that of whole ones stays."""
        if rows != self._rows:
            return self._new_place(rows)
        if self._room.place is None:
            self._room.place = self._new_place(rows)
        return self._room.place

    def _new_place(self, rows: int) -> Place:
        assert self._product is not None
        eta, affine = self._product.eta, self._product.affine
        dims, columns = len(affine.shift), width(rows)
        features, joint = eta.new_zeros(eta.shape[1], columns), eta.new_empty(len(eta), columns)
        inner, spare = features[: 1 + dims], eta.new_empty(self._family.spare_size(dims), columns)
        fill = self._family.quad_places(inner[1:], features[1 + dims :], spare)
        return Place(laying(affine, inner, rows), features, fill, eta, joint)


class _Room(threading.local):
    """That of each thread."""

    place: Place | None = None


# ---- the product


class _Product(NamedTuple):
    """One product for all components: η (K, P) in the coordinates of `affine`, and the radius that it serves."""

    affine: Affine
    eta: Tensor
    radius: float


def _product(family: Family, p: Parameters, outer: Affine) -> _Product | None:
    """That of the mixture, None where it is no cheaper than differences or is not exact enough for most rows."""
    width = 1 + p.dims + family.quad_size(p.dims)
    if width > p.components * p.dims or p.scale.dtype != torch.float64:
        return None
    if p.dims * p.dims * family.sharing(p.components) > MOST_ENTRIES:
        return None
    inner = _conditioning(family, p)
    if inner is None:
        return None
    # the mean as it is rounded beside a large shift, so that rows and components are shifted by the same number
    affine = Affine(outer.outer(inner.shift), _times(outer.factor, inner.factor))
    inner = Affine((affine.shift - outer.shift) / outer.factor, inner.factor)
    eta = family.coefficients(family.to_inner(p, inner), smallest=0.0)
    quad, alive = eta.quad.expand(p.components, -1), p.weights > 0
    left = ROUNDING / torch.finfo(torch.float64).eps - eta.linear[:, 0].abs()
    slope, curve = eta.linear[:, 1:].norm(dim=1), quad.norm(dim=1)
    radius = 2 * left / (slope + (slope.square() + 4 * curve * left).sqrt())  # slope r + curve r² = left
    least = float(torch.where(radius.isfinite(), radius, 0)[alive].min())
    if not least > 8 + 4 * math.sqrt(p.dims):
        return None
    constant = eta.linear[:, :1] - inner.log_det()
    return _Product(affine, torch.cat([constant, eta.linear[:, 1:], quad], 1), least)


def _times(
    std: Tensor,  # (D,)
    factor: Tensor,  # (), (D,) or (D, D)
) -> Tensor:
    return std[:, None] * factor if factor.ndim == 2 else std * factor


def _conditioning(family: Family, p: Parameters) -> Affine | None:
    """The coordinates, of those that suit the family, in which the mixture has mean 0 and variance 1."""
    weights = p.weights / p.weights.sum()
    mean = weights @ p.means
    away = p.means - mean
    covariances = family.covariances(p.scale, p.dims)
    own = (weights[:, None, None] * covariances).sum(0) if len(covariances) > 1 else covariances[0]
    total = own + (weights[:, None] * away).mT @ away
    columns = total.diagonal().sqrt()
    if family.coordinates == "scalar":
        factor = total.diagonal().mean().sqrt()
    elif family.coordinates == "columns":
        factor = columns
    else:
        correlations = total / (columns[:, None] * columns)
        lower, info = torch.linalg.cholesky_ex(correlations)
        factor = columns[:, None] * lower if int(info) == 0 else columns
    sound = bool(factor.isfinite().all()) and bool(((factor.diagonal() if factor.ndim == 2 else factor) > 0).all())
    return Affine(mean, factor) if sound else None
