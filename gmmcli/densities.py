"""Densities of many rows under a mixture that stays as it is: `Densities`, and the reductions that it serves.

log π_k + log N(x | μ_k, Σ_k) = η_k · φ(z) + constant: one matrix product for all components, in coordinates z in
which the mixture as a whole has mean 0 and variance 1. Its terms cancel for rows far away and components that are
narrow: for rows beyond a radius, which the mixture alone determines, it is evaluated from differences to the means.

The loop over chunks of rows is a function that TorchScript compiles, and so is what reduces a chunk's log joint
densities (K, B), which it may write over, to tensors (..., B): see gmmcli.compiled.
"""

# No annotations from __future__ here: TorchScript wants those of a NamedTuple as types.

import math
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gmmcli import incomplete
from gmmcli.compiled import compiled
from gmmcli.families.base import Family, Parameters, QuadFiller
from gmmcli.families.coordinates import Affine
from gmmcli.families.laying import Laying, lay_out, laying

CHUNK_NUMBERS = {"cpu": 1 << 16, "cuda": 1 << 24}  # of a chunk's largest table; a CPU's cache holds so many
LEAST_ROWS, MOST_ROWS = incomplete.LEAST_ROWS, 1 << 14  # of a chunk
COMPILED_ROWS = 1 << 18  # from which on compiling takes less time than it saves
ROUNDING = 1e-9  # nats, how far cancellation may move a density in a worst case that rows do not reach
MOST_ENTRIES = 1 << 22  # of covariances, for which coordinates are looked for
STEP = 1e-300  # no difference of two log densities is as small

Reduce = Callable[[Tensor], list[Tensor]]


def chunk_rows(device: torch.device, numbers: int) -> int:
    """Rows of a chunk whose largest table has so many numbers a row, a power of 2: a matter of model and device."""
    rows = CHUNK_NUMBERS.get(device.type, CHUNK_NUMBERS["cuda"]) // numbers
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << rows.bit_length() >> 1))


def padded(
    columns: Tensor,  # (., B)
) -> Tensor:
    """With columns of zeros, so many that no number of a column depends on how many there are.

    Products of narrow matrices round differently, and so do sums of what is beyond a multiple of 64 columns.
    """
    return torch.nn.functional.pad(columns, (0, _width(columns.shape[1]) - columns.shape[1])).contiguous()


def reduced(joint: Tensor, reduce: Callable[[Tensor], Sequence[Tensor]], rows: int) -> list[Tensor]:
    """What `reduce` makes of the first columns, so many, of padded log joint densities."""
    return [answer[..., :rows] for answer in reduce(joint)]


def _width(rows: int) -> int:
    return max(LEAST_ROWS, -(-rows // 64) * 64)


# ---- reductions of log joint densities (K, B), which they may write over


def shares(joint: Tensor) -> list[Tensor]:
    """p(k | x), (K, B)."""
    joint.sub_(joint.amax(0))
    nothing = joint <= _smallest(joint)
    parts = joint.clamp_(min=_smallest(joint)).exp_()
    return [(parts * parts.sum(0).reciprocal_()).masked_fill_(nothing, 0.0)]


def most_probable(joint: Tensor, step: float = STEP) -> list[Tensor]:
    """The greatest p(k | x), (B,), and the first k that has it.

    The greatest of log p(k, x) − max − k · step is −k · step, so that two maxima tell k: torch's own search for it
    takes as long as all the rest.
    """
    steps = torch.arange(joint.shape[0], dtype=torch.float64, device=joint.device)[:, None] * step
    joint = joint.sub_(joint.amax(0)).double()
    component = joint.sub_(steps).amax(0).mul_(-1 / step).round_().long()
    return [joint.clamp_(min=_smallest(joint)).exp_().sum(0).reciprocal_(), component]


def log_sum(joint: Tensor) -> list[Tensor]:
    """log Σ_k p(k, x), (B,)."""
    highest = joint.amax(0)
    total = joint.sub_(highest).clamp_(min=_smallest(joint)).exp_().sum(0).log_().add_(highest)
    return [torch.where(highest == -math.inf, highest, total)]


def log_sum_and_entropy(joint: Tensor) -> list[Tensor]:
    """log Σ_k p(k, x), (B,), and −Σ_k p(k | x) log p(k | x), (B,)."""
    share = shares(joint.clone())[0]
    return [log_sum(joint)[0], torch.special.entr(share).sum(0)]


def _smallest(joint: Tensor) -> float:
    """What a difference to the greatest logit is taken as at least: exp of less underflows, and is slow."""
    return -700.0 if joint.dtype == torch.float64 else -80.0


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
            found.append(reduce(place.joint))
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
        width = p.dims if self._product is None else self._product.eta.shape[1]
        self._rows = chunk_rows(shift.device, max(p.components, width))
        self._seen = 0
        self._rooms = threading.local()  # of each thread: its places, by the rows of a chunk

    def suits(self, p: Parameters, shift: Tensor, std: Tensor) -> bool:
        """Whether these are still the parameters, to the bit, and where they were."""
        pairs = zip(self._given, (p.weights, p.means, p.scale, shift, std), strict=True)
        return all(a.device == b.device and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)

    def reduced(
        self,
        x: Tensor,  # (N, D)
        reduce: Reduce,
    ) -> list[Tensor]:
        """What `reduce` makes of log p(k, x), in the units of `p`, of all rows: its tensors (..., N).

        A row's numbers do not depend on the rows beside it.
        """
        self._seen += len(x)
        if self._product is None or not len(x):
            parts = [reduced(self._exact_joint(rows), reduce, len(rows)) for rows in x.split(self._rows)]
            return [torch.cat(part, -1) for part in zip(*parts, strict=True)]
        loop = loop_of(self._family.quad_filler, reduce)
        loop = compiled(loop) if self._seen >= COMPILED_ROWS and x.device.type == "cpu" else loop
        rest = len(x) % self._rows
        parts, far = [], []
        for first, last, rows in ((0, len(x) - rest, self._rows), (len(x) - rest, len(x), rest)):
            if first < last:
                found, beyond = loop(x[first:last].mT, self._place(rows), rows, self._product.radius)
                parts += [[answer[..., :rows] for answer in answers] for answers in found]
                far += [places + first for places in beyond]
        answers = [torch.cat(part, -1) for part in zip(*parts, strict=True)]
        if far:
            places = torch.cat(far)
            exactly = reduced(self._exact_joint(x[places]), reduce, len(places))
            for answer, exact in zip(answers, exactly, strict=True):
                answer[..., places] = exact
        return answers

    def _exact_joint(
        self,
        rows: Tensor,  # (B, D)
    ) -> Tensor:
        """log p(k, x) from differences to the means, padded."""
        return self._exact(padded(self._outer.inner(rows.to(self._p.means.dtype)).mT))

    def _place(self, rows: int) -> Place:
        """Room for chunks of so many rows."""
        places: dict[int, Place] = self._rooms.__dict__.setdefault("places", {})
        if rows not in places:
            places = self._rooms.__dict__["places"] = {size: places[size] for size in places if size == self._rows}
            assert self._product is not None
            eta, affine = self._product.eta, self._product.affine
            dims, width = len(affine.shift), _width(rows)
            features, joint = eta.new_zeros(eta.shape[1], width), eta.new_empty(len(eta), width)
            inner, spare = features[: 1 + dims], eta.new_empty(self._family.spare_size(dims), width)
            fill = self._family.quad_places(inner[1:], features[1 + dims :], spare)
            places[rows] = Place(laying(affine, inner, rows), features, fill, eta, joint)
        return places[rows]


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
    eta = family.coefficients(family.to_inner(p, inner))
    quad = eta.quad.expand(p.components, -1)
    left = ROUNDING / torch.finfo(torch.float64).eps - eta.linear[:, 0].abs()
    slope, curve = eta.linear[:, 1:].norm(dim=1), quad.norm(dim=1)
    radius = 2 * left / (slope + (slope.square() + 4 * curve * left).sqrt())  # slope r + curve r² = left
    least = float(torch.where(radius.isfinite(), radius, 0).min())
    if not least > 8 + 4 * math.sqrt(p.dims):
        return None
    constant = eta.linear[:, :1] - inner.log_det()
    factor = outer.factor[:, None] * inner.factor if inner.factor.ndim == 2 else outer.factor * inner.factor
    affine = Affine(outer.outer(inner.shift), factor)
    return _Product(affine, torch.cat([constant, eta.linear[:, 1:], quad], 1), least)


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
