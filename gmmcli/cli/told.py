"""What a model file tells of its fit, for commands that put it into words: a file may have been tampered with.

- `brief`: the metadata with texts as short as names.
- `telling`: turns what goes wrong with metadata of other kinds into one InputError that names the model.
- `check_kinds`, `check_history`: of what would be shown or drawn even if it were of another kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gmmcli.errors import InputError
from gmmcli.storage.names import one_line, printable

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
}  # of those that the metadata have


def brief(value: Any) -> Any:
    """The value with each text in it cut."""
    if isinstance(value, str):
        return one_line(value[: 2 * LONGEST], LONGEST)
    if isinstance(value, dict):
        return {name: brief(item) for name, item in value.items()}
    return [brief(item) for item in value] if isinstance(value, list) else value


def check_kinds(metadata: Mapping[str, Any]) -> None:
    """Raises TypeError for what is of another kind than gmm fit writes."""
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
def telling(model: str, remedy: str) -> Iterator[None]:
    """Raises InputError where the metadata of the model cannot be put into words or pictures."""
    try:
        yield
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        StopIteration,
    ) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise InputError(
            f"{printable(model)}: what it says of its fit is damaged: {one_line(why, 100)}: {remedy}"
        ) from error
