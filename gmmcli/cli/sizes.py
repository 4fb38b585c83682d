"""Sizes as a user gives them: `parse_size`."""

from __future__ import annotations

import re

from gmmcli.errors import UsageError

_UNITS = {
    "": 1,
    **{f"{letter}{end}": 1000**power for power, letter in enumerate("kmgt", 1) for end in ("", "b")},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
    "b": 1,
}


def parse_size(text: str, option: str) -> int:
    """Bytes: `512MB` and `512M` are 512 · 1000², `2GiB` is 2 · 1024³, whatever the case; a number alone is bytes.

    Raises UsageError naming the option for anything else, and for less than one byte.
    """
    told = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([a-z]*)", text.strip().lower())
    unit = _UNITS.get(told[2]) if told else None
    if told is None or unit is None:
        raise UsageError(f"{option} {text}: not a size: give a number with MB, GB, MiB or GiB, such as 8GB")
    size = int(float(told[1]) * unit)
    if size < 1:
        raise UsageError(f"{option} {text}: give at least one byte")
    return size
