"""The options of a grid of fits, checked. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gmmcli.errors import UsageError
from gmmcli.families import CONTAINS, FAMILIES, GIVEN_VARIANCE
from gmmcli.fitting.options import FitOptions
from gmmcli.model.criteria import CRITERIA

FOLDS = 5
MOST_CELLS = 10_000


@dataclass(frozen=True)
class GridOptions:
    """components, families: of the cells; criterion: a name in CRITERIA; folds: of cross-validation for holdout.

    variance: of the families that do not learn it.
    """

    components: Sequence[int]
    families: Sequence[str]
    criterion: str = "bic"
    folds: int | None = None
    variance: float | None = None

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise UsageError(f"unknown --criterion {self.criterion!r}: choose one of {', '.join(CRITERIA)}")
        if not self.components or min(self.components) < 1:
            raise UsageError(f"--components {','.join(map(str, self.components))}: must be at least 1")
        for family in self.families:
            if family not in FAMILIES:
                raise UsageError(f"unknown family {family!r}: choose one of {', '.join(FAMILIES)}, or all")
        if self.folds is not None and self.criterion != "holdout":
            raise UsageError("--folds applies to --criterion holdout")
        if self.folds is not None and self.folds < 2:
            raise UsageError(f"--folds {self.folds}: give at least 2")

    def options(self, base: FitOptions, family: str, components: int) -> FitOptions:
        """Those of a cell; `base` has what is the same for all."""
        if family in GIVEN_VARIANCE:
            its = {"variance": self.variance, "variance_floor": None}
        else:
            its = {"variance": None, "variance_floor": base.variance_floor}
        return replace(base, family=family, components=components, **its)

    def order(self) -> list[tuple[str, int]]:
        """The cells' families and components, simplest first."""
        families = [family for family in CONTAINS if family in self.families]
        return [(family, components) for family in families for components in sorted(set(self.components))]

    @property
    def fold_count(self) -> int:
        """Folds of the cross-validation."""
        return self.folds or FOLDS


def parse_components(text: str) -> list[int]:
    """Numbers and inclusive ranges, comma-separated: `2,4:6` is 2, 4, 5, 6. Raises UsageError for anything else."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", part.strip())
        if match is None:
            raise UsageError(f"--components {text}: give a number, a range such as 1:9, or several such as 2,4:6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or first < 1:
            raise UsageError(f"--components {text}: numbers are at least 1, and a range runs upwards, as 1:9")
        if last - first + len(numbers) >= MOST_CELLS:
            raise UsageError(f"--components {text}: give at most {MOST_CELLS} numbers")
        numbers += range(first, last + 1)
    return sorted(set(numbers))


def parse_families(text: str, given_variance: bool) -> list[str]:
    """Comma-separated names; `all`: every family, those of a given variance only where one is given."""
    names = [name.strip() for name in text.split(",")]
    every = [name for name in FAMILIES if given_variance or name not in GIVEN_VARIANCE]
    return list(dict.fromkeys(other for name in names for other in (every if name == "all" else [name])))
