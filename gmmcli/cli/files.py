"""Files of a command: model files that it opens, and outputs that it checks before any work.

- `open_model`: a mixture and its metadata. `column_names`: the names of its columns.
- `brief`, `check_kinds`, `check_history`: cut and check metadata, which anyone may have edited. `damage_named`: makes
  one error of whatever goes wrong with it.
- `apart`: refuses two outputs in one file. `not_over`: refuses an output over an input.
- `check_model`, `check_table`: refuse a model, and a table of fits, that cannot be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import as_flag
from gmmcli.cli.processes import library_imports
from gmmcli.data.formats import SUFFIXES, format_of_path
from gmmcli.errors import InputError, Option, UsageError
from gmmcli.storage.files import check_writable, is_direct
from gmmcli.storage.names import is_address, masked, name_of, one_line, printable

if TYPE_CHECKING:
    from gmmcli.model.mixture import GaussianMixture

LONGEST = 500  # characters of a text: findings are the longest that gmm fit writes
NUMBER = (int, float)
KINDS = {  # of the entries that metadata may have
    **dict.fromkeys(("rows", "weight", "rows_left_out", "seed", "restart", "log_likelihood"), NUMBER),
    **dict.fromkeys(("source", "method", "init"), (str,)),
    **dict.fromkeys(("weights_column", "acceleration"), (str, type(None))),
    "converged": (bool,),
}


def open_model(path: str) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file, and its metadata. Raises UsageError for standard input, where the data comes from."""
    with library_imports():
        from gmmcli.model.model_file import load_model

    if path == "-":
        raise UsageError("MODEL cannot be standard input", remedy="name a model file")
    return load_model(path)


def column_names(model: GaussianMixture) -> tuple[str, ...]:
    """The names of the model's columns; x1 to xD if it has none."""
    return model.columns or tuple(f"x{d + 1}" for d in range(model.dims))


def brief(value: Any) -> Any:
    """A copy of the value with long texts cut."""
    if isinstance(value, str):
        return one_line(value[: 2 * LONGEST], LONGEST)
    if isinstance(value, dict):
        return {name: brief(item) for name, item in value.items()}
    return [brief(item) for item in value] if isinstance(value, list) else value


def check_kinds(metadata: Mapping[str, Any]) -> None:
    """Raises TypeError for an entry whose type is not the one that gmm fit writes."""
    for name, kinds in KINDS.items():
        if name in metadata and type(metadata[name]) not in kinds:
            raise TypeError(f"{name} is of type {type(metadata[name]).__name__}")
    restarts, findings = metadata["restarts"], metadata.get("findings", [])
    if type(restarts) is not list or not all(type(restart.get("passes")) is int for restart in restarts):
        raise TypeError("restarts is no list of restarts")
    if type(findings) is not list or not all(type(finding) is str for finding in findings):
        raise TypeError("findings is no list of texts")


def check_history(metadata: Mapping[str, Any]) -> None:
    """Raises TypeError if a log-likelihood by pass is no number. Null stands for one that was not finite."""
    for record in metadata["history"]:
        for name in ("passes", "log_likelihood"):
            value = record[name]
            if type(value) not in NUMBER and (value is not None or name == "passes"):
                raise TypeError(f"{name} is of type {type(value).__name__}")


@contextmanager
def damage_named(model: str, remedy: str) -> Iterator[None]:
    """Raises InputError if the metadata of the model cannot be printed or drawn."""
    kinds = LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, StopIteration
    try:
        yield
    except kinds as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        problem = f"its record of the fit is damaged: {one_line(why, 100)}"
        raise InputError(problem, subject=printable(model), remedy=remedy) from error


def apart(outputs: Mapping[str, str | None]) -> None:
    """Raises UsageError if two outputs are one file, also by way of a link. outputs: by names of options."""
    seen: list[tuple[str, str]] = []
    for option, target in outputs.items():
        if target is None or is_direct(target):
            continue
        for other, earlier in seen:
            if same_file(earlier, target):
                both = f"{as_flag(Option(other))} and {as_flag(Option(option))}"
                raise UsageError(f"{both} are both {printable(target)}", remedy="give them different names")
        seen.append((option, target))


def not_over(outputs: Mapping[str, str | None], read_as: str, inputs: Iterable[str]) -> None:
    """Raises UsageError if an output is one of the inputs, also by way of a link. read_as: words for the inputs."""
    files = list(inputs)
    for option, target in outputs.items():
        if target is not None and not is_direct(target) and any(same_file(target, file) for file in files):
            given = Option(option, printable(target))
            raise UsageError(f"this file is read as {read_as}", subject=given, remedy="name another")


def same_file(one: str, other: str) -> bool:
    """Whether two names stand for one file. It need not exist."""
    if is_address(one) or is_address(other):
        return name_of(masked(one)) == name_of(masked(other))
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def check_model(option: str, path: str, example: str) -> None:
    """Raises UsageError if no model can be written there, or if it would overwrite data."""
    if path == "-" or format_of_path(path) is not None:
        remedy = f"name a file such as {example}"
        raise UsageError("a model cannot go there", subject=Option(option, printable(path)), remedy=remedy)
    check_writable(path, "model.pt")


def check_table(option: str, target: str | None) -> None:
    """Raises UsageError if no table can be written: the folder is absent, or the suffix names no format."""
    if target is None:
        return
    check_writable(target, "fits.csv")
    if format_of_path(target) is None and not is_direct(target):
        remedy = f"give one of {', '.join(SUFFIXES)}"
        raise UsageError("no format by this suffix", subject=Option(option, printable(target)), remedy=remedy)
