"""Sizes as a user gives them."""

from __future__ import annotations

import pytest

from gmmcli.cli.options import parse_size
from gmmcli.errors import UsageError
from tests.cli.conftest import gmm


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512MB", 512_000_000),
        ("512M", 512_000_000),
        ("2GiB", 2 << 30),
        ("2 gib", 2 << 30),
        ("1.5kb", 1500),
        (".5KiB", 512),
        ("1TB", 10**12),
        ("1tib", 1 << 40),
        ("4096", 4096),
        ("7b", 7),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text, "--memory") == expected


@pytest.mark.parametrize("text", ["", "GB", "1XB", "-1GB", "1e9", "1 GB of it", "1GBs", "one", "1,5GB", "1GiBB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"^memory=.*: not a size: give a number with MB, GB"):
        parse_size(text, "memory")


def test_sizes_of_nothing() -> None:
    for text in ("0", "0GB", "0.1"):
        with pytest.raises(UsageError, match=f"^memory='{text}': give at least one byte"):
            parse_size(text, "memory")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "8GX"], "--memory 8GX: not a size"),
        (["--cache-dir", "nofolder"], "--cache-dir nofolder: there is no such folder: create it first"),
    ],
)
@pytest.mark.parametrize("command", ["fit -o m.pt", "score m.pt", "assign m.pt", "impute m.pt"])
def test_wrong_ones_are_told_first(command: str, arguments: list[str], message: str) -> None:
    done = gmm(*command.split(), *arguments)
    assert done.code == 2
    assert done.stderr.startswith(f"gmm: error: {message}")
    assert len(done.stderr.splitlines()) == 1
