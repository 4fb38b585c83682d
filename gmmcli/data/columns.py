"""Which columns are used: kinds of columns, selection by name or position, matching a model's columns.

- `ColumnKind`: what the cells of a column are; only `number` columns enter a mixture.
- `select_columns`: the columns of a fit, from --columns, --exclude and --weights.
- `pick_columns`: some of a model's columns.
- `match_columns`: the columns a model needs, in new data.
- `check_free`: whether the names a command adds are free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gmmcli.errors import InputError, UsageError
from gmmcli.storage.names import listing, printable

_OURS = re.compile(r"component|probability(_(\d+|noise))?|log_likelihood|true_component|outlier")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_SHOWN_REASONS = 20


class ColumnKind(StrEnum):
    """What the cells of a column are. `empty` has no cell that is not missing."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    EMPTY = "empty"
    NESTED = "nested"
    BINARY = "binary"


@dataclass(frozen=True)
class Selection:
    """The columns a fit uses, in order, and for each column it leaves out the reason."""

    used: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def select_columns(
    available: Mapping[str, ColumnKind],
    columns: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    weights: str | None = None,
    details: Mapping[str, str] | None = None,
    all_numbers: Callable[[str], bool] = lambda name: False,
) -> Selection:
    """Choose the columns of a fit.

    Without `columns` these are all number columns but the weights and those that gmm's own commands or pandas
    write beside the data, and those without a name (row numbers, as a rule). `columns` and `exclude` are
    comma-separated lists, or sequences of such; an item is a column's exact name, else a position from 1,
    else an inclusive range of positions `2:4`. `details` says of a column more exactly why it is not a
    number. all_numbers: whether each cell of a text column is a number all the same, as those of an identifier
    may be; then it is used where it is named, in `columns` or as `weights`.

    Raises InputError for a name that is not there, for a column in `columns` that is not numeric, and when no
    column is left.
    """
    details = details or {}
    names = list(available)
    if weights is not None:
        _check_weights(available, weights, details, all_numbers)
    excluded = set(_resolve(exclude, names, "--exclude"))
    if columns is None:
        left_out = {n: _reason(n, available[n], details, n == weights, n in excluded) for n in names}
        used = tuple(n for n in names if not left_out[n])
    else:
        chosen = _resolve(columns, names, "--columns")
        if weights in chosen:
            raise InputError(f"column {printable(weights)} has the weights: take it out of --columns")
        for name in chosen:
            if name not in excluded and not _is_numeric(name, available[name], all_numbers):
                raise InputError(not_numeric(name, available[name], details))
        used = tuple(n for n in chosen if n not in excluded)
        left_out = dict.fromkeys(names, "not in --columns") | dict.fromkeys(excluded, "excluded")
    if weights is not None:
        left_out[weights] = "the weights"
    left_out = {n: reason for n, reason in left_out.items() if reason and n not in used}
    if not used:
        reasons = "; ".join(f"{printable(n)}: {r}" for n, r in list(left_out.items())[:_SHOWN_REASONS])
        raise InputError(f"no numeric column left ({reasons or 'there are no columns'})")
    return Selection(used, left_out)


def not_numeric(name: str, kind: ColumnKind, details: Mapping[str, str]) -> str:
    """The message for a column that is needed as numbers and has none."""
    return f"column {printable(name)} is not numeric: {_describe(name, kind, details)}"


def pick_columns(columns: str | Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Those of a model's columns `names` that --columns names, in its order; an item is as in select_columns.

    Raises InputError for one that is not there.
    """
    picked = tuple(_resolve(columns, names, "--columns", "the model has"))
    if not picked:
        raise UsageError(f"--columns is empty: the model has {listing(names)}")
    return picked


def match_columns(wanted: Sequence[str], available: Sequence[str], by_position: bool = False) -> tuple[str, ...]:
    """The columns of new data that are a model's columns `wanted`, in the model's order.

    By name, whatever the order. With `by_position` (data without a header, whose names are x1 to xD) names
    that are all there still win; else there must be as many columns as the model has.

    Raises InputError that names the missing columns and lists what is there.
    """
    there = set(available)
    missing = [name for name in wanted if name not in there]
    if not missing:
        return tuple(wanted)
    if by_position:
        if len(available) == len(wanted):
            return tuple(available)
        raise InputError(
            f"data without a header has {len(available)} columns, the model {len(wanted)}: {listing(wanted)}"
        )
    plural = "s" if len(missing) > 1 else ""
    raise InputError(f"column{plural} {listing(missing)} not found: the data have {listing(available)}")


def check_free(names: Sequence[str], existing: Collection[str]) -> None:
    """Raise InputError when a name that a command adds is already a column of the data."""
    taken = [name for name in names if name in set(existing)]
    if taken:
        plural = "s" if len(taken) > 1 else ""
        raise InputError(f"column{plural} {listing(taken)} already in the data: use --prefix for another name")


def _is_numeric(name: str, kind: ColumnKind, all_numbers: Callable[[str], bool]) -> bool:
    return kind is ColumnKind.NUMBER or (kind is ColumnKind.TEXT and all_numbers(name))


def _check_weights(
    available: Mapping[str, ColumnKind],
    weights: str,
    details: Mapping[str, str],
    all_numbers: Callable[[str], bool],
) -> None:
    if weights not in available:
        raise InputError(f"weights column {printable(weights)} not found: the data have {listing(available)}")
    if not _is_numeric(weights, available[weights], all_numbers):
        raise InputError("weights " + not_numeric(weights, available[weights], details))


def _reason(name: str, kind: ColumnKind, details: Mapping[str, str], is_weights: bool, excluded: bool) -> str:
    if is_weights:
        return "the weights"
    if excluded:
        return "excluded"
    if kind is not ColumnKind.NUMBER:
        return _describe(name, kind, details)
    if _OURS.fullmatch(name):
        return "written by gmm"
    if _PANDAS_INDEX.fullmatch(name):
        return "an index written by pandas"
    return "" if name else "it has no name"


def _describe(name: str, kind: ColumnKind, details: Mapping[str, str]) -> str:
    if kind is ColumnKind.EMPTY:
        return "no values"
    return f"{kind}: {details[name]}" if name in details else str(kind)


def _resolve(
    items: str | Sequence[str] | None, names: Sequence[str], option: str, whose: str = "the data have"
) -> list[str]:
    """The column names that a list of names, positions and ranges stands for, each once, in order."""
    if items is None:
        return []
    found: dict[str, None] = {}
    there = set(names)
    for item in [items] if isinstance(items, str) else items:
        # a name that itself contains a comma
        parts = [item] if item in there else [part for part in item.split(",") if part]
        for part in parts:
            found.update(dict.fromkeys([part] if part in there else _positions(part.strip(), names, option, whose)))
    return list(found)


def _positions(item: str, names: Sequence[str], option: str, whose: str) -> list[str]:
    if item in names:
        return [item]
    match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", item)
    if match is None:
        raise InputError(f"{option}: no column {printable(item)}: {whose} {listing(names)}")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if first < 1 or last < first:
        raise UsageError(f"{option} {item}: positions count from 1 and a range runs upwards, as 2:4")
    if last > len(names):
        raise InputError(f"{option} {item}: {whose} {len(names)} columns: {listing(names)}")
    return list(names[first - 1 : last])
