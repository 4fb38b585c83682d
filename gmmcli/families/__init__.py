"""Covariance families: how the K covariances of a mixture are parametrised.

- `FAMILIES`: the table of families, one `Entry` each. Listing them imports no torch; `get_family` imports one.
- `contained`, `simplest_first`: special cases, and the order that they impose.

A new family is a class as in base.py and an entry here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from gmmcli.errors import Option, UsageError

if TYPE_CHECKING:
    from gmmcli.families.base import Family


@dataclass(frozen=True)
class Entry:
    """A family in the table. path: its import string, relative to this package. words: a clause that describes it.

    contains: the families that are directly special cases of it: their mixtures are mixtures of its own.
    given_variance: whether the variance is an option and not learned.
    """

    path: str
    words: str
    contains: tuple[str, ...] = ()
    given_variance: bool = False


FAMILIES = {
    "full": Entry(".full:FULL", "every component has a covariance of its own", ("diagonal", "tied")),
    "diagonal": Entry(
        ".diagonal:DIAGONAL",
        "every component has its own variances, without correlations",
        ("isotropic", "shared_diagonal"),
    ),
    "isotropic": Entry(".diagonal:ISOTROPIC", "every component has one variance of its own", ("shared_isotropic",)),
    "shared_isotropic": Entry(
        ".diagonal:SHARED_ISOTROPIC", "one variance for all components and columns", ("constant",)
    ),
    "constant": Entry(".diagonal:CONSTANT", "one given variance for all components and columns", given_variance=True),
    "tied": Entry(".full:TIED", "one covariance for all components", ("shared_diagonal",)),
    "shared_diagonal": Entry(
        ".diagonal:SHARED_DIAGONAL",
        "the same variances for all components, without correlations",
        ("shared_isotropic",),
    ),
}


def get_family(name: str) -> Family:
    """The family of this name. Raises UsageError that lists the names."""
    if name not in FAMILIES:
        remedy = f"choose one of {', '.join(FAMILIES)}"
        raise UsageError("unknown family", subject=Option("family", name), remedy=remedy)
    module, attribute = FAMILIES[name].path.split(":")
    return getattr(import_module(module, __name__), attribute)


def given_variance() -> list[str]:
    """The families whose variance is an option and not learned."""
    return [name for name, entry in FAMILIES.items() if entry.given_variance]


def from_simplest(name: str) -> Iterator[str]:
    """The families that a family contains, each after those that it contains itself, and the family at the end."""
    for other in FAMILIES[name].contains:
        yield from from_simplest(other)
    yield name


def contained(name: str) -> set[str]:
    """The families that are special cases of a family, directly or by way of others."""
    return {*from_simplest(name)} - {name}


def simplest_first() -> list[str]:
    """All families, each after those that it contains, and those that are fitted in the same coordinates together."""
    return list(dict.fromkeys(other for name in FAMILIES for other in from_simplest(name)))
