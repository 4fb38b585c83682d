"""Covariance families: how the K covariances of a mixture are parametrised, one file each behind base.py's contract.

FAMILIES names them by import string, so that the command line can list them without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gmmcli.errors import UsageError

if TYPE_CHECKING:
    from gmmcli.families.base import Family

FAMILIES = {
    "full": "gmmcli.families.full:FULL",
    "diagonal": "gmmcli.families.diagonal:DIAGONAL",
    "isotropic": "gmmcli.families.isotropic:ISOTROPIC",
    "shared_isotropic": "gmmcli.families.isotropic:SHARED_ISOTROPIC",
    "constant": "gmmcli.families.constant:CONSTANT",
    "tied": "gmmcli.families.full:TIED",
    "shared_diagonal": "gmmcli.families.diagonal:SHARED_DIAGONAL",
}

# Which families each contains directly: whose mixtures, of as many components, are mixtures of its own. Simplest
# first, those whose fits run in the same coordinates side by side.
CONTAINS = {
    "constant": (),
    "shared_isotropic": ("constant",),
    "isotropic": ("shared_isotropic",),
    "shared_diagonal": ("shared_isotropic",),
    "diagonal": ("shared_diagonal", "isotropic"),
    "tied": ("shared_diagonal",),
    "full": ("tied", "diagonal"),
}

IN_WORDS = {
    "full": "every component has a covariance of its own",
    "diagonal": "every component has its own variances, without correlations",
    "isotropic": "every component has one variance of its own",
    "shared_isotropic": "one variance for all components and columns",
    "constant": "one given variance for all components and columns",
    "tied": "one covariance for all components",
    "shared_diagonal": "the same variances for all components, without correlations",
}

GIVEN_VARIANCE = {"constant"}  # the families whose variance is an option and not learned


def get_family(name: str) -> Family:
    """The family of this name; raises UsageError that lists the names there are."""
    if name not in FAMILIES:
        raise UsageError(f"unknown family {name!r}: choose one of {', '.join(FAMILIES)}")
    module, attribute = FAMILIES[name].split(":")
    return getattr(import_module(module), attribute)


def contained(name: str) -> set[str]:
    """The families that a family contains, directly or by way of others."""
    return set().union(*({other} | contained(other) for other in CONTAINS[name]))
