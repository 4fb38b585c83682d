"""Rows with cells missing at random: each pattern of observed columns is data of its own, and its sums are completed.

A pass over the rows that lack the same columns is one with the marginal mixture of the others. What the missing
cells would have added to the sufficient statistics is, in expectation, a linear map of what the observed ones add: so
EM for data that are missing at random takes a pass for each pattern and that map, K × P numbers. Families whose
densities are products over cells need no patterns: see VarianceFamily.

Little & Rubin, "Statistical Analysis with Missing Data" (2002), section 11.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.one_pass import one_pass
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.statistics import SufficientStatistics
from gmmcli.incomplete import patterns


@dataclass(frozen=True)
class Pattern:
    """Rows of which the same columns are observed. columns: (D',) int64; data: those rows, of these columns alone."""

    columns: Tensor
    data: PreparedData


def by_pattern(data: PreparedData, blocks: Iterable[PreparedBlock]) -> list[Pattern]:
    """The rows of blocks by pattern, in an order that depends on the patterns alone; each block's stay a block."""
    found: dict[tuple[int, ...], list[PreparedBlock]] = {}
    for block in blocks:
        for places, columns, _ in patterns(block.z[1 + data.dims :].mT == 0):
            taken = block.take(places)
            kept = torch.cat([columns.new_zeros(1), 1 + columns])
            rows = PreparedBlock(taken.z[kept], taken.weights, taken.rows)
            found.setdefault(tuple(columns.tolist()), []).append(rows)
    return [_pattern(data, columns, found[columns]) for columns in sorted(found)]


def _pattern(data: PreparedData, columns: tuple[int, ...], blocks: list[PreparedBlock]) -> Pattern:
    kept = torch.tensor(columns)
    rows = sum(len(block.rows) for block in blocks)
    weights = [float(block.weights.double().sum()) for block in blocks if block.weights is not None]
    weight = (sum(weights) if weights else rows) * data.summary.weight_unit
    summary = replace(data.summary, rows=rows, weight=weight, cells=None)
    bound = data.bound[torch.cat([kept.new_zeros(1), 1 + kept])]
    return Pattern(kept, PreparedData(blocks, data.affine, summary, bound, data.radius, data.log_ranges[kept]))


def pass_by_pattern(
    found: Sequence[Pattern],
    family: Family,
    mixtures: Sequence[Parameters],
    *,
    threads: int,
    entropy: bool = False,
    reduce: Callable[[Tensor], Tensor] = lambda limbs: limbs,
) -> list[SufficientStatistics | NumericalError]:
    """What one_pass gives of complete data: the statistics expected of all cells, given those that are there."""
    parts: list[list[SufficientStatistics]] = [[] for _ in mixtures]
    failed: dict[int, NumericalError] = {}
    for pattern in found:
        marginals = [family.marginal(p, pattern.columns) for p in mixtures]
        answers = one_pass(pattern.data, family, marginals, threads=threads, entropy=entropy, reduce=reduce)
        for place, (p, answer) in enumerate(zip(mixtures, answers, strict=True)):
            if isinstance(answer, NumericalError):
                failed.setdefault(place, answer)
            else:
                parts[place].append(_completed(family, p, pattern.columns, answer))
    return [failed[place] if place in failed else _together(part) for place, part in enumerate(parts)]


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
