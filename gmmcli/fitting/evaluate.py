"""Answers the requests of engines with passes: requests for the same rows share one reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Batch, Request
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.missing import Patterns, by_pattern, pass_by_pattern
from gmmcli.passes.one_pass import one_pass
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.sums import SufficientStatistics

Answer = SufficientStatistics | NumericalError


@dataclass
class Evaluator:
    """The data, and how passes over it are made.

    batches: number of batches an epoch is cut into; seed: of the order of their rows; share: of all rows
    that these are, what a pass over them counts as.
    """

    data: PreparedData
    family: Family
    threads: int
    seed: int = 0
    batches: int = 1
    share: float = 1.0
    _epoch: int = -1
    _order: list[Tensor] = field(default_factory=list)
    _patterns: Patterns | None = None  # of all rows

    def __call__(self, requests: Sequence[Request], *, entropy: bool = False) -> list[Answer]:
        """The statistics of each request, in order, or the error of those that have none."""
        answers: dict[int, Answer] = {}
        for batch in dict.fromkeys(request.batch for request in requests):
            places = [i for i, request in enumerate(requests) if request.batch == batch]
            results = self._pass([requests[i].parameters for i in places], batch, entropy)
            answers.update(zip(places, results, strict=True))
        return [answers[i] for i in range(len(requests))]

    def _pass(self, mixtures: Sequence[Parameters], batch: Batch | None, entropy: bool) -> list[Answer]:
        blocks = None if batch is None else self._rows(batch)
        how: Any = {"threads": self.threads, "entropy": entropy}
        by_cell = self.family.by_cell and mixtures[0].background is None  # the box of a row depends on its cells
        if not self.data.incomplete or by_cell:
            return one_pass(self.data, self.family, mixtures, blocks=blocks, **how)
        if blocks is None:
            if self._patterns is None:
                self._patterns = by_pattern(self.data, self.threads)
            patterns = self._patterns
        else:
            patterns = by_pattern(self.data, self.threads, blocks)
        return pass_by_pattern(patterns, self.family, mixtures, **how)

    def cost(self, request: Request) -> float:
        """Passes over all rows that answering it counts as."""
        return self.share if request.batch is None else self.share / self.batches

    def sample(self, share: float) -> Evaluator:
        """An evaluator of about this share of the rows, without batches; a larger sample holds all smaller ones."""
        data = self.data.sample(self.seed, share)
        actual = data.summary.rows / self.data.summary.rows
        return Evaluator(data, self.family, self.threads, self.seed, share=actual)

    def _rows(self, batch: Batch) -> list[PreparedBlock]:
        """The rows of a batch: an epoch's order is by a hash of row number, cut into parts that differ by one row."""
        whole = self.data.whole()
        if batch.epoch != self._epoch:
            draws = row_uniforms(self.seed, f"epoch {batch.epoch}", whole.rows)
            self._order = list(torch.tensor_split(draws.argsort(), self.batches))
            self._epoch = batch.epoch
        return [whole.take(self._order[batch.index])]
