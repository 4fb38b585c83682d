"""Cross-validation: the rows cut into folds, each judged by the fit to the others.

A row's fold depends on the seed and on its global number only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.group import ALONE, Group
from gmmcli.passes.workers import map_blocks


@dataclass(frozen=True)
class Fold:
    """The rows of one fold (`held_out`), or all others: the rows that it lacks have weight 0."""

    blocks: Iterable[Block]
    seed: int
    fold: int
    folds: int
    held_out: bool

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            fold = (row_uniforms(self.seed, "fold", block.rows) * self.folds).long()
            yield block.weighted(((fold == self.fold) == self.held_out).double())


@torch.no_grad()
def log_likelihood(
    blocks: Iterable[Block], model: GaussianMixture, threads: int, group: Group = ALONE
) -> tuple[float, float]:
    """Σ w log p(x), nats, and Σ w over the blocks of all processes, of rows complete or with missing cells."""

    def part(block: Block) -> Tensor:
        w = torch.ones(len(block), dtype=torch.float64) if block.weights is None else block.weights
        some = w > 0
        x = block.x[some]
        if block.observed is not None:
            x = torch.where(block.observed[some], x, torch.nan)
        scores: Tensor = model.log_prob(x, marginal=block.observed is not None)
        return torch.stack([w[some] @ scores, w.sum()])

    none = torch.empty(0, 2, dtype=torch.float64)
    sums = group.joined(torch.cat([none, *(sums[None] for sums in map_blocks(part, blocks, threads))]))
    return math.fsum(sums[:, 0].tolist()), math.fsum(sums[:, 1].tolist())  # exact, in whatever order
