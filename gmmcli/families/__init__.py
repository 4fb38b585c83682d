"""Covariance families: how the K covariances of a mixture are parametrised.

- `FAMILIES`: the table of families, one `Entry` each. Listing them imports no torch; `get_family` imports one.
- `given_variance`, `contained`, `simplest_first`: which families have what in common.

A new family is a class as in base.py and an entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from gmmcli.errors import Option, UsageError

if TYPE_CHECKING:
    from gmmcli.families.base import Family


@dataclass(frozen=True)
class Entry:
    """A family in the table. path: its import string. words: a clause that describes it.

    contains: the families that are directly special cases of it: their mixtures are mixtures of its own.
    given_variance: whether the variance is an option and not learned.
    """

    path: str
    words: str
    contains: tuple[str, ...] = ()
    given_variance: bool = False


FAMILIES = {
    "full": Entry(
        "gmmcli.families.full:FULL",
        "every component has a covariance of its own",
        contains=("diagonal", "tied"),
    ),
    "diagonal": Entry(
        "gmmcli.families.diagonal:DIAGONAL",
        "every component has its own variances, without correlations",
        contains=("isotropic", "shared_diagonal"),
    ),
    "isotropic": Entry(
        "gmmcli.families.diagonal:ISOTROPIC",
        "every component has one variance of its own",
        contains=("shared_isotropic",),
    ),
    "shared_isotropic": Entry(
        "gmmcli.families.diagonal:SHARED_ISOTROPIC",
        "one variance for all components and columns",
        contains=("constant",),
    ),
    "constant": Entry(
        "gmmcli.families.diagonal:CONSTANT",
        "one given variance for all components and columns",
        given_variance=True,
    ),
    "tied": Entry(
        "gmmcli.families.full:TIED",
        "one covariance for all components",
        contains=("shared_diagonal",),
    ),
    "shared_diagonal": Entry(
        "gmmcli.families.diagonal:SHARED_DIAGONAL",
        "the same variances for all components, without correlations",
        contains=("shared_isotropic",),
    ),
}


def get_family(name: str) -> Family:
    """The family of this name. Raises UsageError that lists the names."""
    if name not in FAMILIES:
        remedy = f"choose one of {', '.join(FAMILIES)}"
        raise UsageError("unknown family", subject=Option("family", name), remedy=remedy)
    module, attribute = FAMILIES[name].path.split(":")
    return getattr(import_module(module), attribute)


def given_variance() -> list[str]:
    """The families whose variance is an option and not learned."""
    return [name for name, entry in FAMILIES.items() if entry.given_variance]


def contained(name: str) -> set[str]:
    """The families that are special cases of a family, directly or by way of others."""
    return set().union(*({other} | contained(other) for other in FAMILIES[name].contains))


def simplest_first() -> list[str]:
    """All families, each after those that it contains, and those that are fitted in the same coordinates together."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in FAMILIES[name].contains:
            visit(other)
        order.setdefault(name)

    for name in FAMILIES:
        visit(name)
    return list(order)
