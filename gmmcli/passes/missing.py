"""Rows with cells missing at random: each pattern of observed columns is data of its own, and its sums are completed.

A pass over the rows that lack the same columns is one with the marginal mixture of the others. What the missing
cells would have added to the sufficient statistics is, in expectation, a linear map of what the observed ones add: so
EM for data that are missing at random takes a pass for each pattern and that map, K × P numbers. Families whose
densities are products over cells need no patterns: see DiagonalFamily.

Little & Rubin, "Statistical Analysis with Missing Data" (2002), section 11.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.one_pass import PlannedPass, Worker
from gmmcli.passes.patterns import patterns
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.sums import FixedPoint, SufficientStatistics
from gmmcli.passes.workers import fold_blocks


@dataclass(frozen=True)
class Pattern:
    """Rows of which the same columns are observed. columns: (D',) int64; data: of these rows and columns alone, but
    the rows themselves."""

    columns: Tensor
    data: PreparedData


@dataclass(frozen=True)
class Patterns:
    """The patterns of the rows, in an order that depends on the patterns alone.

    blocks: of the rows of this process, each of one pattern, whose place comes with it; None where rows are read
    anew.
    """

    data: PreparedData
    patterns: Sequence[Pattern]
    blocks: list[tuple[int, PreparedBlock]] | None

    @property
    def places(self) -> dict[tuple[int, ...], int]:
        """Where the pattern of these columns stands."""
        return {tuple(pattern.columns.tolist()): place for place, pattern in enumerate(self.patterns)}


def by_pattern(data: PreparedData, threads: int, blocks: list[PreparedBlock] | None = None) -> Patterns:
    """The patterns of all rows of the data, or of some blocks of it."""
    keep = blocks is not None or data.reread is None
    data = data if blocks is None else replace(data, meter=None)

    def parts(
        block: PreparedBlock,
    ) -> tuple[list[tuple[tuple[int, ...], PreparedBlock]], dict[tuple[int, ...], tuple[int, float]]]:
        some = [*_parts(block, data.dims)]
        sizes = {columns: (len(part.rows), _weight(part)) for columns, part in some}
        return some if keep else [], sizes

    found = map(parts, blocks) if blocks is not None else data.each(parts, threads)
    kept: list[tuple[tuple[int, ...], PreparedBlock]] = []
    counts: list[dict[tuple[int, ...], tuple[int, float]]] = []  # of each block, rows and weight
    for some, sizes in found:
        kept += some
        counts.append(sizes)
    known = sorted(_of_all_processes({columns for block in counts for columns in block}, data))
    rows, weights = _totals(counts, known, data)
    made = [_pattern(data, *of) for of in zip(known, rows, weights, strict=True)]
    places = {columns: place for place, columns in enumerate(known)}
    return Patterns(data, made, [(places[columns], part) for columns, part in kept] if keep else None)


def _parts(block: PreparedBlock, dims: int) -> Iterator[tuple[tuple[int, ...], PreparedBlock]]:
    """The rows of a block by pattern, with those features that the pattern has."""
    for places, columns, _ in patterns(block.z[1 + dims :].mT == 0):
        taken = block.take(places)
        z = taken.z[torch.cat([columns.new_zeros(1), 1 + columns])]
        yield tuple(columns.tolist()), PreparedBlock(z, taken.weights, taken.rows)


def _weight(block: PreparedBlock) -> float:
    return float(len(block.rows)) if block.weights is None else float(block.weights.double().sum())


def _of_all_processes(known: set[tuple[int, ...]], data: PreparedData) -> set[tuple[int, ...]]:
    masks = torch.zeros(len(known), data.dims, dtype=torch.int64)
    for mask, columns in zip(masks, sorted(known), strict=True):
        mask[list(columns)] = 1
    return {tuple(mask.nonzero()[:, 0].tolist()) for mask in data.group.joined(masks)}


def _totals(
    counts: Sequence[Mapping[tuple[int, ...], tuple[int, float]]],
    known: Sequence[tuple[int, ...]],
    data: PreparedData,
) -> tuple[list[int], list[float]]:
    """Rows and weights of every pattern over the blocks of all processes."""
    rows = torch.zeros(len(known), dtype=torch.int64)
    weights = FixedPoint.zeros(torch.full((len(known),), data.weight, dtype=torch.float64))
    for block in counts:
        numbers = torch.tensor([block.get(columns, (0, 0.0)) for columns in known], dtype=torch.float64)
        rows += numbers[:, 0].long()
        weights.add_(numbers[:, 1].contiguous())
    return data.group.sum(rows).tolist(), weights.reduced(data.group.sum).decode().tolist()


def _pattern(data: PreparedData, columns: tuple[int, ...], rows: int, weight: float) -> Pattern:
    kept = torch.tensor(columns)
    summary = replace(data.summary, rows=rows, weight=weight * data.summary.weight_unit, cells=None)
    bound = data.bound[torch.cat([kept.new_zeros(1), 1 + kept])]
    of_it = replace(data, blocks=[], summary=summary, bound=bound, log_ranges=data.log_ranges[kept], _quads={})
    return Pattern(kept, of_it)


def pass_by_pattern(
    found: Patterns, family: Family, mixtures: Sequence[Parameters], *, threads: int, entropy: bool = False
) -> list[SufficientStatistics | NumericalError]:
    """What one_pass gives of complete data: the statistics expected of all cells, given those that are there."""
    planned = []
    for pattern in found.patterns:
        marginals = [family.marginal(p, pattern.columns) for p in mixtures]
        own, parameters = marginals[0][0], [p for _, p in marginals]
        # all_rows: their quadratic terms are not summed beforehand
        planned.append(PlannedPass(pattern.data, own, parameters, entropy=entropy, all_rows=False))
    places = found.places

    def worker() -> _PatternWorker:
        return _PatternWorker([one.worker() for one in planned], places, found.data.dims)

    if found.blocks is None:
        assert found.data.reread is not None
        workers = found.data.reread.fold(worker, threads)
    else:
        units = [(place, unit) for place, part in found.blocks for unit in part.split(planned[place].unit_rows)]
        work = found.data.metered(units, lambda placed: len(placed[1].rows))
        workers = fold_blocks(worker, work, threads)
    parts: list[list[SufficientStatistics]] = [[] for _ in mixtures]
    failed: dict[int, NumericalError] = {}
    for i, pattern in enumerate(found.patterns):
        answers = planned[i].answers([one.workers[i] for one in workers], threads)
        for place, (p, answer) in enumerate(zip(mixtures, answers, strict=True)):
            if isinstance(answer, NumericalError):
                failed.setdefault(place, answer)
            else:
                parts[place].append(_completed(family, p, pattern.columns, answer))
    return [failed[place] if place in failed else _together(part) for place, part in enumerate(parts)]


class _PatternWorker:
    """Gives rows to the worker of their pattern."""

    def __init__(self, workers: Sequence[Worker], places: Mapping[tuple[int, ...], int], dims: int):
        self.workers, self._places, self._dims = workers, places, dims

    def __call__(self, work: tuple[int, PreparedBlock] | LateBlock | PreparedBlock) -> None:
        if isinstance(work, tuple):
            place, unit = work
            self.workers[place](unit)
        else:
            for columns, part in _parts(work.laid_out(), self._dims):
                self.workers[self._places[columns]](part)


def _completed(
    family: Family, p: Parameters, columns: Tensor, statistics: SufficientStatistics
) -> SufficientStatistics:
    sums, quads = family.complete(p, columns, statistics.counts, statistics.sums, statistics.quads)
    return replace(statistics, sums=sums, quads=quads)


def _together(parts: Sequence[SufficientStatistics]) -> SufficientStatistics:
    """The sum of statistics, in the order given."""
    weight = sum(part.weight for part in parts)
    entropies = [part.entropy for part in parts if part.entropy is not None]
    backgrounds = [part.background for part in parts if part.background is not None]
    return SufficientStatistics(
        counts=torch.stack([part.counts for part in parts]).sum(0),
        sums=torch.stack([part.sums for part in parts]).sum(0),
        quads=torch.stack([part.quads for part in parts]).sum(0),
        log_likelihood=sum(part.log_likelihood for part in parts),
        weight=weight,
        entropy=sum(entropies) if entropies else None,
        noise=sum(part.noise * part.weight for part in parts) / weight,
        background=sum(backgrounds) if backgrounds else None,
    )
