"""Passes over rows with cells missing at random: one for each pattern of observed columns, then completed sums.

A pass over the rows that lack the same columns is one with the marginal mixture of the other columns. The expected
contribution of the missing cells to the sufficient statistics is a linear map of the observed cells' contribution. So
EM takes a pass for each pattern and that map, of K × P numbers. Families whose densities are products over cells need
no patterns: see DiagonalFamily.

Little & Rubin, "Statistical Analysis with Missing Data" (2002), section 11.3.

- `patterns`: rows grouped by the columns that they lack. `by_pattern`: likewise for all rows of a fit.
- `pass_by_pattern`: the pass over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import LateBlock, PreparedBlock
from gmmcli.passes.one_pass import Answer, PassFold, PlannedPass
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Collected, Reading, Task, read
from gmmcli.passes.sums import FixedPoint, SufficientStatistics

_WORD = 32  # columns whose bits are one number beside the rank of those before

Columns = tuple[int, ...]  # the observed columns of a pattern


@dataclass(frozen=True)
class Pattern:
    """Rows with the same observed columns, (D',) int64. data: of these rows and columns, without the rows."""

    columns: Tensor
    data: PreparedData


@dataclass(frozen=True)
class PatternBlock(PreparedBlock):
    """Rows of one pattern, with its index."""

    pattern: int


@dataclass(frozen=True)
class Patterns:
    """The patterns of the rows, sorted by their columns.

    blocks: the rows of this process; None if rows are read again for every pass.
    """

    data: PreparedData
    patterns: Sequence[Pattern]
    blocks: list[PatternBlock] | None

    @property
    def indices(self) -> dict[Columns, int]:
        """Index of the pattern of these columns."""
        return {tuple(pattern.columns.tolist()): index for index, pattern in enumerate(self.patterns)}


@dataclass(frozen=True)
class _Parts:
    """The rows of a block by pattern, if they are held, and the number and weight of the rows of each pattern."""

    blocks: list[tuple[Columns, PreparedBlock]]
    sizes: dict[Columns, tuple[int, float]]


def by_pattern(data: PreparedData, blocks: list[PreparedBlock] | None = None) -> Task[Patterns]:
    """The patterns of all rows of the data, or of some blocks of it."""
    keep = blocks is not None or data.layout is None

    def parts_of(block: PreparedBlock) -> _Parts:
        parts = [*_parts(block, data.dims)]
        sizes = {columns: (len(part), _weight(part)) for columns, part in parts}
        return _Parts(parts if keep else [], sizes)

    if blocks is None:
        found = yield from read(data.reading(lambda: Collected(parts_of)))
    else:
        data = replace(data, meter=None)
        found = [parts_of(block) for block in blocks]
    known = sorted(_of_all_processes({columns for parts in found for columns in parts.sizes}, data))
    rows, weights = _totals([parts.sizes for parts in found], known, data)
    made = [_pattern(data, *of) for of in zip(known, rows, weights, strict=True)]
    indices = {columns: index for index, columns in enumerate(known)}
    held = [
        PatternBlock(part.z, part.weights, part.rows, indices[columns])
        for parts in found
        for columns, part in parts.blocks
    ]
    return Patterns(data, made, held if keep else None)


def _parts(block: PreparedBlock, dims: int) -> Iterator[tuple[Columns, PreparedBlock]]:
    """The rows of a block by pattern, with the features of the observed columns."""
    for index, columns, _ in patterns(block.z[1 + dims :].mT == 0):
        taken = block.take(index)
        z = taken.z[torch.cat([columns.new_zeros(1), 1 + columns])]
        yield tuple(columns.tolist()), PreparedBlock(z, taken.weights, taken.rows)


def _weight(block: PreparedBlock) -> float:
    return float(len(block)) if block.weights is None else float(block.weights.double().sum())


def _of_all_processes(known: set[Columns], data: PreparedData) -> set[Columns]:
    masks = torch.zeros(len(known), data.dims, dtype=torch.int64)
    for mask, columns in zip(masks, sorted(known), strict=True):
        mask[list(columns)] = 1
    return {tuple(mask.nonzero()[:, 0].tolist()) for mask in data.group.joined(masks)}


def _totals(
    counts: Sequence[Mapping[Columns, tuple[int, float]]], known: Sequence[Columns], data: PreparedData
) -> tuple[list[int], list[float]]:
    """Number and weight of the rows of every pattern, over the blocks of all processes."""
    rows = torch.zeros(len(known), dtype=torch.int64)
    weights = FixedPoint.zeros(torch.full((len(known),), data.weight, dtype=torch.float64))
    for block in counts:
        numbers = torch.tensor([block.get(columns, (0, 0.0)) for columns in known], dtype=torch.float64)
        rows += numbers[:, 0].long()
        weights.add_(numbers[:, 1].contiguous())
    return data.group.sum(rows).tolist(), weights.reduced(data.group.sum).decode().tolist()


def _pattern(data: PreparedData, columns: Columns, rows: int, weight: float) -> Pattern:
    kept = torch.tensor(columns)
    summary = replace(data.summary, rows=rows, weight=weight * data.summary.weight_unit, cells=None)
    bound = data.bound[torch.cat([kept.new_zeros(1), 1 + kept])]
    return Pattern(
        kept, replace(data, blocks=[], summary=summary, bound=bound, log_ranges=data.log_ranges[kept], _quads={})
    )


def pass_by_pattern(
    found: Patterns, family: Family, mixtures: Sequence[Parameters], *, entropy: bool = False
) -> Task[list[Answer]]:
    """The answers of `one_pass` for complete data: statistics expected of all cells, given the observed ones."""
    data = found.data
    new, planned = pattern_fold(found, family, mixtures, entropy=entropy)
    if found.blocks is None:
        by_pattern = yield from read(data.reading(new))
    else:
        units = [
            PatternBlock(unit.z, unit.weights, unit.rows, part.pattern)
            for part in found.blocks
            for unit in part.split(planned[part.pattern].unit_rows)
        ]
        by_pattern = yield from read(Reading(new, units, None, data.group, data.meter))
    parts: list[list[SufficientStatistics]] = [[] for _ in mixtures]
    failed: dict[int, NumericalError] = {}
    for pattern, answers in zip(found.patterns, by_pattern, strict=True):
        for i, (p, answer) in enumerate(zip(mixtures, answers, strict=True)):
            if isinstance(answer, NumericalError):
                failed.setdefault(i, answer)
            else:
                parts[i].append(_completed(family, p, pattern.columns, answer))
    return [failed[i] if i in failed else _sum(part) for i, part in enumerate(parts)]


def pattern_fold(
    found: Patterns, family: Family, mixtures: Sequence[Parameters], *, entropy: bool = False
) -> tuple[Callable[[], PatternFold], list[PlannedPass]]:
    """The function that makes an empty fold, and the pass over each pattern."""
    planned = []
    for pattern in found.patterns:
        marginals = [family.marginal(p, pattern.columns) for p in mixtures]
        own, parameters = marginals[0][0], [p for _, p in marginals]
        # all_rows: the sums of their quadratic terms are no constants of the data
        planned.append(PlannedPass(pattern.data, own, parameters, entropy=entropy, all_rows=False))
    dims, indices = found.data.dims, found.indices
    return lambda: PatternFold([one.fold() for one in planned], indices, dims), planned


class PatternFold:
    """Fold: hands rows to the fold of their pattern. The result is the answers of every pattern."""

    def __init__(self, folds: Sequence[PassFold], indices: Mapping[Columns, int], dims: int):
        self._folds, self._indices, self._dims = folds, indices, dims

    def add(self, rows: LateBlock | PreparedBlock) -> None:
        """Takes in a block, of one pattern or of several."""
        if isinstance(rows, PatternBlock):
            self._folds[rows.pattern].add(rows)
        else:
            for columns, part in _parts(rows.laid_out(), self._dims):
                self._folds[self._indices[columns]].add(part)

    def merge(self, other: PatternFold) -> None:
        """Takes in the sums of another fold."""
        for own, more in zip(self._folds, other._folds, strict=True):
            own.merge(more)

    def result(self, group: Group) -> list[list[Answer]]:
        """The answers for every mixture, by pattern."""
        return [fold.result(group) for fold in self._folds]


def _completed(
    family: Family, p: Parameters, columns: Tensor, statistics: SufficientStatistics
) -> SufficientStatistics:
    sums, quads = family.complete(p, columns, statistics.counts, statistics.sums, statistics.quads)
    return replace(statistics, sums=sums, quads=quads)


def _sum(parts: Sequence[SufficientStatistics]) -> SufficientStatistics:
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


def patterns(
    missing: Tensor,  # (B, D) bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices of the rows that lack the same columns, with the observed and the missing columns.

    Patterns come in lexicographic order. Ranks of numbers take a thirtieth of the time that `unique(dim=0)` takes.
    """
    rank = missing.new_zeros(len(missing), dtype=torch.int64)
    for word in missing.split(_WORD, 1):
        bits = torch.arange(word.shape[1] - 1, -1, -1, device=missing.device)
        rank = ((rank << _WORD) + (word.long() << bits).sum(1)).unique(return_inverse=True)[1]
    order = rank.argsort(stable=True)
    for rows in order.split(rank.bincount().tolist()):
        lacking = missing[rows[0]]
        yield rows, (~lacking).nonzero()[:, 0], lacking.nonzero()[:, 0]
