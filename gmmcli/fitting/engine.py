"""The contract of an engine, which moves a mixture's parameters, and its requests to the loop.

A step of an engine is a generator. It yields a Request for every evaluation that it needs, one pass each, and is sent
the statistics. So several fits can be stepped side by side and share each reading of the data, while an engine is
written as if it were alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace

from gmmcli.families.base import Parameters
from gmmcli.fitting.stopping import StopReason
from gmmcli.passes.sums import SufficientStatistics


@dataclass(frozen=True)
class Batch:
    """One of the equal parts into which an epoch's random order of the rows is cut."""

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
    coordinates of the fit, with log prior / N if there is a prior. remaining: estimated gain still to come, nats per
    row. exhausted: whether further steps would be lost in the rounding of the pass. stop: set by the engine when it
    cannot go on.
    """

    parameters: Parameters
    log_likelihood: float = float("-inf")
    remaining: float = float("inf")
    exhausted: bool = False
    stop: StopReason | None = None

    def ended(self, reason: StopReason) -> State:
        """The state with this stop reason."""
        return replace(self, stop=reason)


Step = Generator[Request, SufficientStatistics, State]


class Engine(ABC):
    """Moves parameters uphill. It is immutable: everything that changes is in the state."""

    @abstractmethod
    def start(self, parameters: Parameters) -> State:
        """The state before the first step."""

    @abstractmethod
    def step(self, state: State) -> Step:
        """Yields requests, is sent their statistics, and returns the state after one step."""
