"""The options of a grid of fits, declared and checked. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmmcli.declared import Panel, check_fields
from gmmcli.errors import Option, UsageError
from gmmcli.families import FAMILIES, simplest_first
from gmmcli.fitting.options import INITS, FitOptions
from gmmcli.model.criteria import CRITERIA

FOLDS = 5
MOST_CELLS = 10_000
CHOOSING = Panel("Choosing (several <components> or <family>)")


@dataclass(frozen=True)
class GridOptions:
    """The cells of a grid, by components and families, and how the best is chosen.

    folds: of cross-validation for the criterion holdout. variance: of the families that do not learn it.
    """

    components: Sequence[int]
    families: Sequence[str]
    criterion: str = CHOOSING.field(
        "bic",
        "",
        "What the best of the sound fits has the least of. bic: −2 log L + parameters · log N. icl: bic + "
        "twice the entropy of the assignments. aic: −2 log L + 2 · parameters. holdout: it has the most "
        "log-likelihood of rows left out of the fit, in nats per row. Default: bic.",
        choices=tuple(CRITERIA),
        open=True,
    )
    folds: int | None = CHOOSING.field(
        None,
        "N",
        f"Parts that the rows are cut into for <criterion> holdout, each left out once. Default: {FOLDS}.",
        least=2,
        applies={"criterion": ["holdout"]},
    )
    variance: float | None = None

    def __post_init__(self) -> None:
        """Raises UsageError naming the first option that is out of range or has no effect."""
        if not self.components or min(self.components) < 1:
            listed = ",".join(map(str, self.components)) or "()"
            raise UsageError("must be at least 1", subject=Option("components", listed))
        unknown = [family for family in self.families if family not in FAMILIES]
        if unknown:
            choices = f"choose one of {', '.join(FAMILIES)}, or all"
            raise UsageError("there is no such family", subject=Option("family", unknown[0]), remedy=choices)
        check_fields(self)

    @classmethod
    def of(cls, given: Mapping[str, Any], choosing: Mapping[str, Any], several: bool) -> GridOptions | None:
        """The grid that options of the command line ask for; None where they ask for a single fit.

        given: fields of FitOptions, components and family as texts. choosing: fields of a grid. several: whether
        other options ask for a grid. Raises UsageError for what does not go together.
        """
        components = parse_components(given.get("components", str(FitOptions.components)))
        families = parse_families(given.get("family", FitOptions.family), "variance" in given)
        if not choosing and not several and len(components) == len(families) == 1:
            return None
        if given["init"] not in INITS:
            choices = f"give one of {', '.join(INITS)}"
            raise UsageError("a file starts one fit", subject=Option("init", given["init"]), remedy=choices)
        return cls(components, families, **choosing, variance=given.get("variance"))

    def shared(self, given: Mapping[str, Any]) -> FitOptions:
        """The options that all cells share, checked for the first cell that learns its variance, if there is one."""
        learned = [family for family in self.families if not FAMILIES[family].given_variance]
        family = (learned or list(self.families))[0]
        mixed = 0 < len(learned) < len(self.families)
        variance = None if mixed else self.variance
        return FitOptions(**{**given, "family": family, "components": self.components[0], "variance": variance})

    def options(self, base: FitOptions, family: str, components: int) -> FitOptions:
        """The options of a cell. base: what all cells share."""
        given = FAMILIES[family].given_variance
        variance, floor = (self.variance, None) if given else (None, base.variance_floor)
        return replace(base, family=family, components=components, variance=variance, variance_floor=floor)

    def cells(self, base: FitOptions) -> list[FitOptions]:
        """The options of all cells, simplest first. base: what they share."""
        families = [family for family in simplest_first() if family in self.families]
        return [self.options(base, family, k) for family in families for k in sorted(set(self.components))]

    @property
    def fold_count(self) -> int:
        """Folds of the cross-validation."""
        return self.folds or FOLDS


def parse_components(text: str) -> list[int]:
    """Numbers and inclusive ranges, comma-separated: `2,4:6` is 2, 4, 5, 6. Raises UsageError for anything else."""
    given, numbers = Option("components", text), list[int]()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", part.strip())
        if match is None:
            raise UsageError("give a number, a range such as 1:9, or several such as 2,4:6", subject=given)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or first < 1:
            raise UsageError("numbers are at least 1, and a range runs upwards, as 1:9", subject=given)
        if last - first + len(numbers) >= MOST_CELLS:
            raise UsageError(f"give at most {MOST_CELLS} numbers", subject=given)
        numbers += range(first, last + 1)
    return sorted(set(numbers))


def parse_families(text: str, given_variance: bool) -> list[str]:
    """Comma-separated names; `all`: every family, those of a given variance only where one is given."""
    names = [name.strip() for name in text.split(",")]
    every = [name for name, entry in FAMILIES.items() if given_variance or not entry.given_variance]
    return list(dict.fromkeys(other for name in names for other in (every if name == "all" else [name])))
