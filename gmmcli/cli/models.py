"""Model files as commands read them: opened, and their metadata checked before they are put into words or pictures.

- `open_model`: the mixture and its metadata. `column_names`: the names of its columns.
- `brief`, `check_kinds`, `check_history`: the metadata, which may have been tampered with, cut and checked.
- `damage_named`: one InputError that names the model, for whatever goes wrong with its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gmmcli.cli.processes import library_imports
from gmmcli.errors import InputError, UsageError
from gmmcli.storage.names import one_line, printable

if TYPE_CHECKING:
    from gmmcli.model.mixture import GaussianMixture

LONGEST = 500  # characters of a text: findings are the longest that gmm fit writes
NUMBER, TEXT, FLAG = (int, float), (str,), (bool,)
KINDS = {
    "rows": NUMBER,
    "weight": NUMBER,
    "rows_left_out": NUMBER,
    "seed": NUMBER,
    "restart": NUMBER,
    "log_likelihood": NUMBER,
    "converged": FLAG,
    "source": TEXT,
    "weights_column": (str, type(None)),
    "method": TEXT,
    "acceleration": (str, type(None)),
    "init": TEXT,
}  # of the entries that metadata may have


def open_model(path: str) -> tuple[GaussianMixture, dict[str, Any]]:
    """The model in a file, and its metadata. Raises UsageError for standard input, where the data comes from."""
    with library_imports():
        from gmmcli.model.model_file import load_model

    if path == "-":
        raise UsageError("MODEL cannot be standard input", remedy="name a model file")
    return load_model(path)


def column_names(model: GaussianMixture) -> tuple[str, ...]:
    """The names of the model's columns, x1 to xD where it has none."""
    return model.columns or tuple(f"x{d + 1}" for d in range(model.dims))


def brief(value: Any) -> Any:
    """The value with each text in it cut."""
    if isinstance(value, str):
        return one_line(value[: 2 * LONGEST], LONGEST)
    if isinstance(value, dict):
        return {name: brief(item) for name, item in value.items()}
    return [brief(item) for item in value] if isinstance(value, list) else value


def check_kinds(metadata: Mapping[str, Any]) -> None:
    """Raises TypeError for an entry of another type than gmm fit writes."""
    for name, kinds in KINDS.items():
        if name in metadata and type(metadata[name]) not in kinds:
            raise TypeError(f"{name} is of type {type(metadata[name]).__name__}")
    restarts, findings = metadata["restarts"], metadata.get("findings", [])
    if type(restarts) is not list or not all(type(restart.get("passes")) is int for restart in restarts):
        raise TypeError("restarts is no list of restarts")
    if type(findings) is not list or not all(type(finding) is str for finding in findings):
        raise TypeError("findings is no list of texts")


def check_history(metadata: Mapping[str, Any]) -> None:
    """Raises TypeError where the log-likelihoods by pass are no numbers; null is one that was not finite."""
    for record in metadata["history"]:
        for name in ("passes", "log_likelihood"):
            value = record[name]
            if type(value) not in NUMBER and (value is not None or name == "passes"):
                raise TypeError(f"{name} is of type {type(value).__name__}")


@contextmanager
def damage_named(model: str, remedy: str) -> Iterator[None]:
    """Raises InputError where the metadata of the model cannot be put into words or pictures."""
    kinds = LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, StopIteration
    try:
        yield
    except kinds as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        problem = f"what it says of its fit is damaged: {one_line(why, 100)}"
        raise InputError(problem, subject=printable(model), remedy=remedy) from error
