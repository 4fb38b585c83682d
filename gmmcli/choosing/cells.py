"""The cells of a grid of fits, and which of them is best by a criterion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmmcli.errors import GmmError, InputError
from gmmcli.fitting.result import FitResult, describe
from gmmcli.model.criteria import CRITERIA
from gmmcli.model.mixture import GaussianMixture

NUMBERS = ("log_likelihood", "parameters", *CRITERIA, "passes", "seconds")


@dataclass(frozen=True)
class Cause:
    """Why a fit failed or is not to be trusted. kind: what such cells have in common; reason: of this one, in words.

    of_input: whether the rows are at fault, and not the arithmetic.
    """

    kind: str
    reason: str
    of_input: bool = False

    @classmethod
    def of_error(cls, error: GmmError) -> Cause:
        """That of a fit that failed."""
        return cls(error.kind, str(error), isinstance(error, InputError))


@dataclass(frozen=True)
class Cell:
    """The fit of a family with K components, or what became of it.

    model, metadata: None and empty where it failed. holdout: held-out log-likelihood per row, nats; NaN where none
    was taken. cause: why the fit failed or is not to be trusted, None for a sound one. order: see FitResult; of a
    cell from a store it is not known.
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
        """That of a fit."""
        options, flaw = result.options, result.flaw
        cause = None if flaw is None else Cause(flaw.kind, flaw.reason)
        metadata = describe(result)
        return cls(options.family, options.components, result.model, metadata, cause=cause, order=result.order)

    @property
    def failed(self) -> bool:
        """Whether there is no fit."""
        return self.model is None

    @property
    def sound(self) -> bool:
        """Whether the fit is to be trusted."""
        return self.cause is None

    @property
    def reason(self) -> str | None:
        """Why it is not, in words."""
        return None if self.cause is None else self.cause.reason

    def number(self, name: str) -> float:
        """One of NUMBERS; NaN where the fit failed."""
        return self.holdout if name == "holdout" else float(self.metadata.get(name, math.nan))

    def row(self) -> dict[str, Any]:
        """The cell as a row of a table; None for what is not known."""
        numbers = {name: self.number(name) for name in NUMBERS}
        known: dict[str, Any] = {n: None if math.isnan(value) else value for n, value in numbers.items()}
        whole = {n: int(known[n]) for n in ("parameters", "passes") if known[n] is not None}
        converged = None if self.failed else bool(self.metadata["converged"])
        return {"family": self.family, "components": self.components} | known | whole | {
            "converged": converged, "reason": self.reason
        }  # fmt: skip


def best(cells: Iterable[Cell], criterion: str) -> Cell | None:
    """The best by a criterion of those that are sound, or of the others where none is; None where all failed.

    Of equal ones the one with the fewest parameters.
    """
    less = CRITERIA[criterion].less_is_better

    def key(cell: Cell) -> tuple[bool, float, float]:
        value = cell.number(criterion)
        return not cell.sound, value if less else -value, cell.number("parameters")

    there = [cell for cell in cells if not math.isnan(cell.number(criterion))]
    return min(there, key=key, default=None)


def distrusted(cell: Cell, cause: Cause) -> Cell:
    """The cell, not to be trusted for that cause."""
    return replace(cell, cause=cause, metadata={**cell.metadata, "unsound": cause.reason})
