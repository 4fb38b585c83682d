"""The cells of a grid of fits: the record of each fit, the best by a criterion, and finished cells on disk.

An interrupted grid goes on from a `FolderStore`: model files in one folder. The name of a file has the family, the
number of components and a hash of everything that the fit depends on, so that several grids can share the folder. The
store ignores files that it cannot read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gmmcli import __version__
from gmmcli.errors import GmmError
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult, describe
from gmmcli.model.criteria import CRITERIA
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.model_file import load_model, save_model
from gmmcli.storage.filesystem import has_entries, locate
from gmmcli.storage.names import inside

IRRELEVANT = ("threads",)  # options that change no result
NUMBERS = ("log_likelihood", "parameters", *CRITERIA, "passes", "seconds")


@dataclass(frozen=True)
class Cause:
    """The reason why a fit failed or is not to be trusted, in words.

    kind: a name shared by causes that differ in their numbers only. of_input: whether the rows are at fault.
    """

    kind: str
    reason: str
    of_input: bool = False


@dataclass(frozen=True)
class Cell:
    """The fit of a family with K components, or the cause of its failure.

    model, metadata: None and empty if it failed. holdout: held-out log-likelihood per row, nats, or NaN. cause: why
    the fit failed or is not to be trusted; None for a sound fit. order: see FitResult; a cell from a store has none.
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
        options, flaw, metadata = result.options, result.flaw, describe(result)
        cause = None if flaw is None else Cause(flaw.kind, flaw.reason)
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


class FolderStore:
    """A folder of cells, made for the first one. key: what the fits depend on besides options and data."""

    def __init__(self, folder: str, key: Any):
        self.folder = folder
        self._key = key
        self._kept: set[str] = set()  # files that are cells of this grid

    @property
    def cells(self) -> int:
        """Number of cells of this grid that are known to be in the folder."""
        return len(self._kept)

    def get(self, options: FitOptions, data: str) -> Cell | None:
        """The cell of these options and of data with this fingerprint, or None."""
        key, path = self._key_and_path(options, data)
        try:
            model, metadata = load_model(path)
        except (GmmError, OSError):
            return None
        kept = metadata.pop("cell", {})
        if kept.get("key") != key:
            return None
        self._kept.add(path)
        holdout = math.nan if kept["holdout"] is None else kept["holdout"]
        cause = kept["cause"] and Cause(**kept["cause"])
        return Cell(options.family, options.components, model, metadata, holdout, cause)

    def put(self, options: FitOptions, cell: Cell) -> None:
        """Saves a cell that did not fail. A failed one costs little to repeat."""
        if cell.model is None:
            return
        locate(self.folder).make_folder()
        key, path = self._key_and_path(options, cell.metadata["data"]["fingerprint"])
        kept = {"key": key, "holdout": cell.holdout, "cause": cell.cause and asdict(cell.cause)}
        save_model(path, cell.model, {**cell.metadata, "cell": kept})
        self._kept.add(path)

    def remove(self) -> str | None:
        """Removes the cells of this grid, and the folder if it is then empty. Returns the folder if it stays.

        It may then hold the cells of another grid.
        """
        for path in self._kept:
            with contextlib.suppress(OSError, GmmError):
                locate(path).remove()
        with contextlib.suppress(OSError, GmmError):
            if has_entries(self.folder):
                return self.folder
            locate(self.folder).remove()
        return None

    def _key_and_path(self, options: FitOptions, data: str) -> tuple[str, str]:
        """Everything that a cell depends on, as JSON, and the cell's file."""
        chosen = {name: value for name, value in asdict(options).items() if name not in IRRELEVANT}
        key = json.dumps([__version__, self._key, data, chosen], sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:12]
        return key, inside(self.folder, f"{options.family}-{options.components}-{digest}.pt")
