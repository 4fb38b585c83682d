"""What a command writes, told apart from what it reads: nothing is to be written over by mistake.

- `apart`: that no two outputs are one file. `not_over`: that no output is a file that is read. `rows_not_over`: the
  same of rows that pass through, which may replace the file that they are of.
- `check_table`: where the table of a grid may be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from gmmcli.data.formats import SUFFIXES, format_of_path
from gmmcli.errors import UsageError
from gmmcli.storage.addresses import is_address, masked, name_of
from gmmcli.storage.files import check_writable, is_direct
from gmmcli.storage.names import printable


def apart(outputs: Mapping[str, str | None]) -> None:
    """Raises UsageError where two outputs, by their options, are the same file, also by way of a link."""
    seen: list[tuple[str, str]] = []
    for option, target in outputs.items():
        if target is None or is_direct(target):
            continue
        for other, its in seen:
            if same_file(its, target):
                raise UsageError(f"{other} and {option} are both {printable(target)}: give them different names")
        seen.append((option, target))


def not_over(outputs: Mapping[str, str | None], read_as: str, inputs: Iterable[str]) -> None:
    """Raises UsageError where an output is one of the inputs, also by way of a link. read_as: what these are."""
    files = list(inputs)
    for option, target in outputs.items():
        if target is not None and not is_direct(target) and any(same_file(target, file) for file in files):
            raise UsageError(f"{option} {printable(target)}: this file is read as {read_as}: name another")


def rows_not_over(output: str | None, model: str, data: Sequence[str]) -> None:
    """Raises UsageError where rows would be written over the model, or over one of several files that they are of.

    The only one of these they may replace, as they come with all that it has, and when all are written.
    """
    outputs = {"--output": output}
    not_over(outputs, "the model", [model])
    if len(data) > 1:
        not_over(outputs, "a part of the data", data)


def same_file(one: str, other: str) -> bool:
    """Whether two names are of one file, whether or not it is there."""
    if is_address(one) or is_address(other):
        return name_of(masked(one)) == name_of(masked(other))
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def check_table(option: str, target: str | None) -> None:
    """Raises UsageError where no table can be written: no such folder, a suffix that tells no format."""
    if target is None:
        return
    check_writable(target, "fits.csv")
    if format_of_path(target) is None and not is_direct(target):
        suffixes = ", ".join(SUFFIXES)
        raise UsageError(f"{option} {printable(target)}: no format by this suffix: give one of {suffixes}")
