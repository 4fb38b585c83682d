"""The contract of an engine, which moves a mixture's parameters, and the evaluator that answers its requests.

A step of an engine is a generator. It yields a Request for every evaluation that it needs, one pass each, and is sent
the statistics. So several fits can be stepped side by side and share each reading of the data, while an engine is
written as if it were alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.stopping import StopReason
from gmmcli.passes.draws import row_uniforms
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.missing import Patterns, by_pattern, pass_by_pattern
from gmmcli.passes.one_pass import Answer, one_pass
from gmmcli.passes.prepared import PreparedData
from gmmcli.passes.reading import Task
from gmmcli.passes.sums import SufficientStatistics


@dataclass(frozen=True)
class Batch:
    """A mini-batch: one of the equal parts of an epoch's random order of the rows."""

    epoch: int
    index: int


@dataclass(frozen=True)
class Request:
    """Parameters to evaluate, on all rows or on one batch of them."""

    parameters: Parameters
    batch: Batch | None = None


@dataclass(frozen=True)
class State:
    """State of an engine after a step. Engines extend it with what they need to go on.

    parameters: of the model to keep if the fit ended here. log_likelihood: of these parameters, nats per row, in the
    coordinates of the fit, with log prior / N if there is a prior. remaining: estimated remaining gain, nats per row.
    exhausted: whether rounding hides the gain of further steps. stop: set by the engine when it cannot go on.
    """

    parameters: Parameters
    log_likelihood: float = float("-inf")
    remaining: float = float("inf")
    exhausted: bool = False
    stop: StopReason | None = None


Step = Generator[Request, SufficientStatistics, State]


class Engine(ABC):
    """Moves parameters uphill. It is immutable: everything that changes is in the state."""

    @abstractmethod
    def start(self, parameters: Parameters) -> State:
        """The state before the first step."""

    @abstractmethod
    def step(self, state: State) -> Step:
        """Yields requests, is sent their statistics, and returns the state after one step."""


@dataclass
class Evaluator:
    """The data of a fit, and the passes over it.

    batches: number of batches of an epoch. seed: of the order of their rows. share: number of these rows over
    the number of all rows; a pass over them counts as this part of a pass.
    """

    data: PreparedData
    family: Family
    seed: int = 0
    batches: int = 1
    share: float = 1.0
    _epoch: int = -1
    _order: list[Tensor] = field(default_factory=list)
    _patterns: Patterns | None = None  # of all rows

    def __call__(self, requests: Sequence[Request], *, entropy: bool = False) -> Task[list[Answer]]:
        """The statistics of each request, in order; an error for a request that failed."""
        answers: dict[int, Answer] = {}
        for batch in dict.fromkeys(request.batch for request in requests):
            own = [i for i, request in enumerate(requests) if request.batch == batch]
            results = yield from self._pass([requests[i].parameters for i in own], batch, entropy)
            answers.update(zip(own, results, strict=True))
        return [answers[i] for i in range(len(requests))]

    def _pass(self, mixtures: Sequence[Parameters], batch: Batch | None, entropy: bool) -> Task[list[Answer]]:
        blocks = None if batch is None else self._rows(batch)
        by_cell = self.family.by_cell and mixtures[0].background is None  # the box of a row depends on its cells
        if not self.data.incomplete or by_cell:
            return (yield from one_pass(self.data, self.family, mixtures, blocks=blocks, entropy=entropy))
        patterns = self._patterns if batch is None else None
        if patterns is None:
            patterns = yield from by_pattern(self.data, blocks)
        if batch is None:
            self._patterns = patterns
        return (yield from pass_by_pattern(patterns, self.family, mixtures, entropy=entropy))

    def cost(self, request: Request) -> float:
        """Number of passes over all rows that the request counts as."""
        return self.share if request.batch is None else self.share / self.batches

    def sample(self, share: float) -> Task[Evaluator]:
        """The evaluator of about this share of the rows, without batches. Larger samples contain smaller ones."""
        data = yield from self.data.sample(self.seed, share)
        actual = data.summary.rows / self.data.summary.rows
        return Evaluator(data, self.family, self.seed, share=actual)

    def _rows(self, batch: Batch) -> list[PreparedBlock]:
        """The rows of a batch. An epoch orders all rows by a hash of their numbers and cuts them into equal parts."""
        whole = self.data.whole()
        if batch.epoch != self._epoch:
            draws = row_uniforms(self.seed, f"epoch {batch.epoch}", whole.rows)
            self._order = list(torch.tensor_split(draws.argsort(), self.batches))
            self._epoch = batch.epoch
        return [whole.take(self._order[batch.index])]
