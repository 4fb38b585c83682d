"""The families of the contract: the seven that ship and one that does not, registered for the length of a test."""

from __future__ import annotations

import pytest

from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Family
from tests.families.evv import ENTRY

EVERY = [*FAMILIES, "evv"]
LEARNED = [name for name in EVERY if name != "constant"]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with one more family."""
    monkeypatch.setitem(FAMILIES, "evv", ENTRY)


@pytest.fixture(params=EVERY)
def family(request: pytest.FixtureRequest, registered: None) -> Family:
    """Each of the families."""
    return get_family(request.param)


@pytest.fixture(params=LEARNED)
def learned_family(request: pytest.FixtureRequest, registered: None) -> Family:
    """Each of the families whose covariance is estimated."""
    return get_family(request.param)
