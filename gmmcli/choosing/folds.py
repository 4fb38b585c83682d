"""Cross-validation: the rows are cut into parts, and each part is judged by a fit to the others.

- `Part`: the rows of one part, or all others. `ScoreSums`: the fold of log-likelihoods under a model.

The part of a row depends on the seed and on the row's global number only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.execution import Group


@dataclass(frozen=True)
class Part:
    """The rows of one part (`held_out`), or those of all other parts. Rows not meant have weight 0."""

    blocks: Iterable[Block]
    seed: int
    index: int
    parts: int
    held_out: bool

    def __iter__(self) -> Iterator[Block]:
        for block in self.blocks:
            part = (row_uniforms(self.seed, "fold", block.rows) * self.parts).long()
            yield block.weighted(((part == self.index) == self.held_out).double())


class ScoreSums:
    """Fold: Σ w log p(x) in nats and Σ w, of rows with or without missing cells."""

    def __init__(self, model: GaussianMixture) -> None:
        self._model = model
        self._sums: list[tuple[float, float]] = []

    @torch.no_grad()
    def add(self, block: Block) -> None:
        """Takes in a block."""
        w = torch.ones(len(block), dtype=torch.float64) if block.weights is None else block.weights
        some = w > 0
        x = block.x[some]
        if block.observed is not None:
            x = torch.where(block.observed[some], x, torch.nan)
        scores = self._model.log_prob(x, marginal=block.observed is not None)
        self._sums.append((float(w[some] @ scores), float(w.sum())))

    def merge(self, other: ScoreSums) -> None:
        """Takes in the sums of another fold."""
        self._sums += other._sums

    def result(self, group: Group) -> tuple[float, float]:
        """The sums over all processes: exact, so that their order does not matter."""
        sums = group.joined(torch.tensor(self._sums, dtype=torch.float64).reshape(-1, 2))
        return math.fsum(sums[:, 0].tolist()), math.fsum(sums[:, 1].tolist())
