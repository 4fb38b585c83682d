"""Answers the requests of engines with passes: requests for the same rows share one reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmmcli.draws import row_uniforms
from gmmcli.errors import NumericalError
from gmmcli.families.base import Family
from gmmcli.fitting.engine import Batch, Request
from gmmcli.fitting.one_pass import one_pass
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.statistics import SufficientStatistics

Answer = SufficientStatistics | NumericalError


@dataclass
class Evaluator:
    """The data, and how passes over it are made.

    batches: number of batches an epoch is cut into; seed: of the order of their rows; reduce: see one_pass; share:
    of all rows that these are, what a pass over them counts as.
    """

    data: PreparedData
    family: Family
    threads: int
    seed: int = 0
    batches: int = 1
    reduce: Callable[[Tensor], Tensor] = lambda limbs: limbs
    share: float = 1.0
    _epoch: int = -1
    _order: list[Tensor] = field(default_factory=list)

    def __call__(self, requests: Sequence[Request], *, entropy: bool = False) -> list[Answer]:
        """The statistics of each request, in order, or the error of those that have none."""
        answers: dict[int, Answer] = {}
        for batch in dict.fromkeys(request.batch for request in requests):
            places = [i for i, request in enumerate(requests) if request.batch == batch]
            results = one_pass(
                self.data,
                self.family,
                [requests[i].parameters for i in places],
                threads=self.threads,
                entropy=entropy,
                blocks=None if batch is None else self._rows(batch),
                reduce=self.reduce,
            )
            answers.update(zip(places, results, strict=True))
        return [answers[i] for i in range(len(requests))]

    def cost(self, request: Request) -> float:
        """Passes over all rows that answering it counts as."""
        return self.share if request.batch is None else self.share / self.batches

    def sample(self, share: float) -> Evaluator:
        """An evaluator of about this share of the rows, without batches; a larger sample holds all smaller ones."""
        data = self.data.sample(self.seed, share)
        actual = data.summary.rows / self.data.summary.rows
        return Evaluator(data, self.family, self.threads, self.seed, reduce=self.reduce, share=actual)

    def _rows(self, batch: Batch) -> list[PreparedBlock]:
        """The rows of a batch: an epoch's order is by a hash of row number, cut into parts that differ by one row."""
        whole = self.data.whole()
        if batch.epoch != self._epoch:
            draws = row_uniforms(self.seed, f"epoch {batch.epoch}", whole.rows)
            self._order = list(torch.tensor_split(draws.argsort(), self.batches))
            self._epoch = batch.epoch
        return [whole.take(self._order[batch.index])]
