"""The pass: one reading of the data gives sufficient statistics and log-likelihood of each of several mixtures.

    logits = η Φᵀ    r = softmax over K    log-likelihood = Σ w logsumexp    T += (w r) Φ

Rows are worked in chunks that stay in the cache. The kernel is chosen from the sizes of the problem and from the
rounding that it can bear (passes/kernels). Workers take units of rows side by side. A unit is a fixed part of a
block. The sums are integers, so that they do not depend on who took which unit. Where a family shares its covariance
the quadratic term is the same for every component: it drops out of r, and its sum is a constant of the data.

Kernel, units and chunks of a mixture depend on the data and on that mixture alone. So it gets the same bits whatever
other mixtures share the reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import NumericalError, Remedy
from gmmcli.families.base import SMALLEST_WEIGHT, Coefficients, Family, Parameters
from gmmcli.families.diagonal import DiagonalFamily
from gmmcli.passes.device import unit_roundoff
from gmmcli.passes.execution import Group
from gmmcli.passes.kernels.base import Kernel, KernelWorker, Moments
from gmmcli.passes.kernels.choice import Reach, Route, masked_route, route, typical_rounding
from gmmcli.passes.kernels.chunk import Loop, loop_of
from gmmcli.passes.laying import MOST_ROWS as SLAB_ROWS
from gmmcli.passes.laying import Laying, laying
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Reading, Task, read
from gmmcli.passes.sums import FixedPoint, SufficientStatistics, require_finite
from gmmcli.passes.workers import compiled

COMPILED_PRODUCTS = 1 << 22  # rows × sums from which on compiling takes less time than some dozen passes
UNIT_PRODUCTS = 1 << 26  # rows × sums of a unit: enough that turning the sums to integers does not show
LEAST_UNIT, MOST_UNIT = SLAB_ROWS, 1 << 16  # rows, powers of 2: so a unit begins where a slab of rows does
LEAST_UNITS = 8  # of a table: two workers end within an eighth of each other


Answer = SufficientStatistics | NumericalError


@dataclass(frozen=True)
class _Job:
    """A mixture to evaluate. index: its position among the caller's mixtures.

    terms: upper bound of a logit's absolute value, nats. rounding: error of a logit, nats.
    """

    index: int
    parameters: Parameters
    eta: Coefficients
    route: Route
    terms: float
    rounding: float


@dataclass(frozen=True)
class _Stack:
    """Jobs that one kernel works together, in units of so many rows. sums: empty sums at their scales."""

    kernel: Kernel
    jobs: list[_Job]
    sums: FixedPoint
    unit_rows: int


def one_pass(
    data: PreparedData,
    family: Family,
    mixtures: Sequence[Parameters],
    *,
    entropy: bool = False,
    blocks: list[PreparedBlock] | None = None,
) -> Task[list[Answer]]:
    """Statistics of each mixture, in the order given. Log-likelihoods are in the coordinates of the fit.

    With missing cells it serves the families whose densities are products over cells, and the statistics are those
    expected of all cells; passes/missing.py serves the others. If a sum of a mixture is not finite, its answer is the
    NumericalError; the others are not affected.

    mixtures: any number of parameters of one family. entropy: whether the entropy of r is summed too. blocks: the
    part of the data to pass over (a mini-batch); None is all of it.
    """
    planned = PlannedPass(data, family, mixtures, entropy=entropy, all_rows=blocks is None)
    if planned.needs_total_quads:
        planned.total_quads = yield from data.total_quads(family)
    if blocks is None and data.layout is not None:
        return (yield from read(data.reading(planned.fold)))
    units = [unit for block in blocks or data.held for unit in block.split(planned.unit_rows)]
    meter = data.meter if blocks is None else None
    return (yield from read(Reading(planned.fold, units, None, data.group, meter)))


class PlannedPass:
    """A pass of which everything is known except the rows.

    all_rows: whether the rows will be all those of the data. unit_rows: rows of the largest unit, a multiple of every
    kernel's. total_quads: (1, Q) the constant of the data; the caller sets it if `needs_total_quads`.
    """

    def __init__(
        self, data: PreparedData, family: Family, mixtures: Sequence[Parameters], *, entropy: bool, all_rows: bool
    ) -> None:
        self._family = family
        self._failed: dict[int, NumericalError] = {}
        jobs = []
        for index, planned in enumerate(_planned(data, family, mixtures, family.shared and all_rows)):
            if isinstance(planned, _Job):
                jobs.append(planned)
            else:
                self._failed[index] = planned
        self._stacks = _stacked(data, family, jobs, entropy) if jobs else []
        self._loops = [_loop(data, stack.kernel) for stack in self._stacks]
        self.unit_rows = max((stack.unit_rows for stack in self._stacks), default=LEAST_UNIT)
        self.needs_total_quads = any(stack.kernel.constant_quads for stack in self._stacks)
        self.total_quads: Tensor | None = None

    def fold(self) -> PassFold:
        """An empty fold of the pass."""
        return PassFold(self, self._stacks, self._loops)

    def answers(self, sums: Sequence[FixedPoint], group: Group) -> list[Answer]:
        """The answer for every mixture, from the sums of every stack in this process."""
        answers: dict[int, Answer] = dict(self._failed)
        for stack, total in zip(self._stacks, sums, strict=True):
            values = total.reduced(group.sum).to("cpu").values()
            answers.update(_answers(self._family, stack, values, self.total_quads))
        return [answers[index] for index in range(len(answers))]


class PassFold:
    """Fold: the sums of a planned pass. Its result is an answer for every mixture."""

    def __init__(self, planned: PlannedPass, stacks: Sequence[_Stack], loops: Sequence[Loop]):
        self._planned = planned
        self._slab: Laying | None = None
        self._sums = [stack.sums.empty() for stack in stacks]
        self._unit_rows = [stack.unit_rows for stack in stacks]
        self._totals = [
            sums.factor.new_zeros(len(stack.jobs), stack.kernel.sums_size)
            for stack, sums in zip(stacks, self._sums, strict=True)
        ]
        self._adds = [
            KernelWorker(stack.kernel, total, loop)
            for stack, total, loop in zip(stacks, self._totals, loops, strict=True)
        ]

    def add(self, block: PreparedBlock | LateBlock) -> None:
        """Passes one more block, or a part of one that begins at a multiple of the largest unit."""
        if block.affine is not None and self._slab is None:
            self._slab = laying(block.affine)
        for sums, add, total, rows in zip(self._sums, self._adds, self._totals, self._unit_rows, strict=True):
            for unit in block.units(rows):
                total.zero_()
                add(unit, self._slab)
                sums.add_(total.view(-1))

    def merge(self, other: PassFold) -> None:
        """Takes in the sums of another fold."""
        self._sums = [own.merge(more) for own, more in zip(self._sums, other._sums, strict=True)]

    def result(self, group: Group) -> list[Answer]:
        """The answer for every mixture."""
        return self._planned.answers(self._sums, group)


def _loop(data: PreparedData, kernel: Kernel) -> Loop:
    """The loop over chunks, compiled if that pays. A device's operations do not wait for the interpreter."""
    loop = loop_of(kernel.chunk_sums)
    large = data.summary.rows * kernel.statistics_size >= COMPILED_PRODUCTS
    return compiled(loop) if large and kernel.device.type == "cpu" else loop


def _planned(
    data: PreparedData, family: Family, mixtures: Sequence[Parameters], total_quads: bool
) -> Iterator[_Job | NumericalError]:
    """The job of each mixture, or the error of one that cannot be evaluated.

    total_quads: whether the quadratic sums of a shared covariance are those of all rows, a constant of the data.
    """
    quad_bound = family.quad_bound(data.bound[: 1 + data.dims])
    masked = family if data.incomplete and isinstance(family, DiagonalFamily) else None
    radius = math.hypot(data.radius, math.sqrt(data.dims)) if masked else data.radius
    reach = Reach(data.bound, quad_bound, radius)
    for index, p in enumerate(mixtures):
        constant_quads = total_quads and p.background is None  # beside it no term is the same for every component
        try:
            eta = masked.masked_coefficients(p) if masked else family.coefficients(p)
            terms = reach.largest_terms(eta)
            if masked:
                chosen = masked_route(terms, data.dtype, constant_quads)
            else:
                chosen = route(family, p, terms, data.radius, data.dtype, constant_quads)
        except (NumericalError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            yield NumericalError(f"a covariance could not be inverted ({error})")
            continue
        unit = unit_roundoff(chosen.dtype, data.device)
        yield _Job(index, p, eta, chosen, terms, typical_rounding(chosen, family, p, eta, terms, unit))


def _stacked(data: PreparedData, family: Family, jobs: Sequence[_Job], entropy: bool) -> list[_Stack]:
    """The jobs in stacks, one for each kernel."""
    store = torch.device("cpu") if data.device.type == "mps" else data.device  # Metal has no float64
    by_route: dict[tuple[int, bool, Route], list[_Job]] = {}
    for job in jobs:
        kind = job.parameters.components, job.parameters.background is not None, job.route
        by_route.setdefault(kind, []).append(job)
    found = []
    for (components, _, chosen), alike in by_route.items():
        device = data.device if chosen.dtype == data.dtype else store
        mixtures = [job.parameters for job in alike]
        background = _background(data, mixtures)
        kernel = chosen.build(
            family, mixtures, [job.eta for job in alike], device=device, entropy=entropy, background=background
        )
        terms = torch.tensor([job.terms for job in alike], dtype=torch.float64)
        terms = terms if background is None else torch.maximum(terms, background.abs())
        scalars = (terms + math.log(components + 1))[:, None].expand(-1, kernel.scalars)
        bound = torch.cat([kernel.statistics_bound(data.bound), scalars], 1)
        bound = torch.nn.functional.pad(bound, (0, kernel.sums_size - bound.shape[1]))
        sums = FixedPoint.zeros(data.weight * bound.flatten()).to(store)
        found.append(_Stack(kernel, alike, sums, _unit_rows(data, kernel.statistics_size)))
    return found


def _background(data: PreparedData, mixtures: Sequence[Parameters]) -> Tensor | None:
    """Log weights plus log densities of the mixtures' backgrounds, (M,), or None if they have none."""
    weights = [p.background for p in mixtures if p.background is not None]
    return torch.stack(weights).clamp_min(SMALLEST_WEIGHT).log() - data.log_box if weights else None


def _unit_rows(data: PreparedData, sums: int) -> int:
    """Rows of a unit, a power of 2. On a device, which is one worker, all rows are one unit."""
    if data.device.type != "cpu":
        return data.summary.rows
    most = min(UNIT_PRODUCTS // sums, data.summary.rows // LEAST_UNITS)
    return min(MOST_UNIT, max(LEAST_UNIT, 1 << most.bit_length() >> 1))


def _answers(
    family: Family, stack: _Stack, values: Tensor, total_quads: Tensor | None
) -> Iterator[tuple[int, SufficientStatistics | NumericalError]]:
    """Index and statistics of each mixture of a stack, from the kernel's sums."""
    kernel, values = stack.kernel, values.view(len(stack.jobs), -1)
    scalars = values[:, kernel.statistics_size : kernel.statistics_size + kernel.scalars].tolist()
    for job, moments, numbers in zip(stack.jobs, kernel.moments(values), scalars, strict=True):
        try:
            yield job.index, _statistics(family, job, kernel, moments, numbers, total_quads)
        except NumericalError as error:
            yield job.index, error


def _statistics(
    family: Family,
    job: _Job,
    kernel: Kernel,
    moments: Moments,
    scalars: list[float],
    total_quads: Tensor | None,  # (1, Q)
) -> SufficientStatistics:
    log_likelihood = scalars[0]
    if moments.quads is None:
        assert total_quads is not None
        quads = total_quads
        log_likelihood += float((job.eta.quad * quads).sum())
    else:
        quads = moments.quads.sum(0, keepdim=True) if family.shared else moments.quads
    numbers = torch.tensor([log_likelihood, *scalars], dtype=torch.float64)
    require_finite(torch.cat([numbers, moments.counts, moments.sums.flatten(), quads.flatten()]))
    background = scalars[-1] if job.parameters.background is not None else None
    weight = float(moments.counts.sum()) + (background or 0.0)
    if weight <= 0:
        raise NumericalError(
            "the rows of a batch weigh nothing beside the others", remedy=Remedy("raise", "batch_size")
        )
    size = max(1.0, abs(scalars[0]) / weight, abs(log_likelihood) / weight)
    sums, dims = moments.sums, job.parameters.dims
    if sums.shape[1] > dims:  # of masked features
        assert isinstance(family, DiagonalFamily)
        sums, quads = family.complete_cells(job.parameters, moments.counts, sums[:, dims:], sums[:, :dims], quads)
    return SufficientStatistics(
        counts=moments.counts,
        sums=sums,
        quads=quads,
        log_likelihood=log_likelihood,
        weight=weight,
        entropy=scalars[1] if kernel.entropy else None,
        noise=2 * (job.rounding + _rounding_of_sums(kernel) * size),
        background=background,
    )


def _rounding_of_sums(kernel: Kernel) -> float:
    """Relative rounding of a mean log-likelihood, given the logits.

    K exponentials are added, the logarithm and the greatest logit, and then, pairwise, the rows of a chunk.
    """
    return torch.finfo(kernel.dtype).eps / 2 * math.sqrt(kernel.components + 4 + math.log2(kernel.chunk_rows))
