"""The cells of a grid of fits, and which of them is best by a criterion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmmcli.errors import GmmError, InputError, Word
from gmmcli.fitting.result import FitResult, describe
from gmmcli.model.criteria import CRITERIA
from gmmcli.model.mixture import GaussianMixture

NUMBERS = ("log_likelihood", "parameters", *CRITERIA, "passes", "seconds")


@dataclass(frozen=True)
class Cause:
    """The reason why a fit failed or is not to be trusted, in words.

    kind: a name for causes that differ in their numbers only. of_input: whether the rows are at fault, and not the
    arithmetic.
    """

    kind: str
    reason: str
    of_input: bool = False

    @classmethod
    def of_error(cls, error: GmmError, word: Word) -> Cause:
        """The cause of a fit that failed. word: words an option."""
        return cls(error.kind, error.worded(word), isinstance(error, InputError))


@dataclass(frozen=True)
class Cell:
    """The fit of a family with K components, or the cause of its failure.

    model, metadata: None and empty if it failed. holdout: held-out log-likelihood per row, nats; NaN if there is
    none. cause: why the fit failed or is not to be trusted; None for a sound fit. order: see FitResult; a cell from a
    store has none.
    """

    family: str
    components: int
    model: GaussianMixture | None
    metadata: Mapping[str, Any]
    holdout: float = math.nan
    cause: Cause | None = None
    order: Sequence[int] = ()

    @classmethod
    def of(cls, result: FitResult) -> Cell:
        """The cell of a fit."""
        options, flaw = result.options, result.flaw
        cause = None if flaw is None else Cause(flaw.kind, flaw.reason)
        metadata = describe(result)
        return cls(options.family, options.components, result.model, metadata, cause=cause, order=result.order)

    @property
    def failed(self) -> bool:
        """Whether the fit failed."""
        return self.model is None

    @property
    def sound(self) -> bool:
        """Whether the fit is to be trusted."""
        return self.cause is None

    @property
    def reason(self) -> str | None:
        """The cause in words, or None."""
        return None if self.cause is None else self.cause.reason

    def number(self, name: str) -> float:
        """One of NUMBERS; NaN if the fit failed."""
        return self.holdout if name == "holdout" else float(self.metadata.get(name, math.nan))

    def row(self) -> dict[str, Any]:
        """The cell as a row of a table, with None for unknown numbers."""
        numbers = {name: self.number(name) for name in NUMBERS}
        known: dict[str, Any] = {n: None if math.isnan(value) else value for n, value in numbers.items()}
        whole = {n: int(known[n]) for n in ("parameters", "passes") if known[n] is not None}
        converged = None if self.failed else bool(self.metadata["converged"])
        return {"family": self.family, "components": self.components} | known | whole | {
            "converged": converged, "reason": self.reason
        }  # fmt: skip


def best(cells: Iterable[Cell], criterion: str) -> Cell | None:
    """The best sound cell by a criterion, or the best of all if none is sound; None if all failed.

    Ties go to the cell with the fewest parameters.
    """
    less = CRITERIA[criterion].less_is_better

    def key(cell: Cell) -> tuple[bool, float, float]:
        value = cell.number(criterion)
        return not cell.sound, value if less else -value, cell.number("parameters")

    there = [cell for cell in cells if not math.isnan(cell.number(criterion))]
    return min(there, key=key, default=None)


def distrusted(cell: Cell, cause: Cause) -> Cell:
    """The cell with a cause not to trust it."""
    return replace(cell, cause=cause, metadata={**cell.metadata, "unsound": cause.reason})
