"""Columns by name: their kinds, the selection for a fit, and a model's columns in new data.

- `ColumnKind`: kind of the cells of a column; only `number` columns enter a mixture. `ColumnFacts`: kind and reason.
- `select_columns`: the columns of a fit. `pick_columns`: some of a model's columns.
- `match_columns`: a model's columns in new data.
- `check_free`, `check_unique`: whether names that a command adds are free, and names of a file differ.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from gmmcli.errors import InputError, Option, Remedy, UsageError
from gmmcli.storage.names import listing, printable

Items: TypeAlias = "str | Sequence[str] | None"  # names, positions and ranges
_OURS = re.compile(r"component|probability(_(\d+|noise))?|log_likelihood|true_component|outlier")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
_SHOWN_REASONS = 20


class ColumnKind(StrEnum):
    """Kind of the cells of a column. `empty`: every cell is missing."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    EMPTY = "empty"
    NESTED = "nested"
    BINARY = "binary"


class ColumnFacts(NamedTuple):
    """Kind of a column over all rows. detail: the reason why a column that resembles numbers is none, or empty."""

    kind: ColumnKind
    detail: str = ""

    def __str__(self) -> str:
        if self.kind is ColumnKind.EMPTY:
            return "no values"
        return f"{self.kind}: {self.detail}" if self.detail else str(self.kind)


@dataclass(frozen=True)
class Selection:
    """Columns of a fit, in order, and the reason for each column that is left out."""

    used: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def select_columns(
    available: Mapping[str, ColumnFacts],
    columns: Items = None,
    exclude: Items = None,
    weights: str | None = None,
    all_numbers: Callable[[str], bool] = lambda name: False,
) -> Selection:
    """Columns of a fit.

    Without `columns` these are all number columns except the weights, columns that gmm's own commands or pandas
    write beside the data, and columns without a name (row numbers, as a rule). `columns` and `exclude` are
    comma-separated lists, or sequences of such; an item is a column's exact name, else a position from 1,
    else an inclusive range of positions `2:4`.
    all_numbers: whether each cell of a text column is a number, as in a column of identifiers. Such a column is used
    if it is named, in `columns` or as `weights`.

    Raises InputError for an unknown name, for a column in `columns` that is not numeric, and if no column is left.
    """
    names = list(available)

    def is_numeric(name: str) -> bool:
        kind = available[name].kind
        return kind is ColumnKind.NUMBER or (kind is ColumnKind.TEXT and all_numbers(name))

    if weights is not None:
        if weights not in available:
            raise InputError(f"weights column {printable(weights)} not found: the data have {listing(available)}")
        if not is_numeric(weights):
            raise InputError("weights " + not_numeric(weights, available[weights]))
    excluded = set(_resolve(exclude, names, "exclude"))
    if columns is None:
        left_out = {name: _reason(name, available[name]) for name in names}
        left_out |= dict.fromkeys(excluded, "excluded")
        used = tuple(name for name in names if not left_out[name] and name != weights)
    else:
        chosen = _resolve(columns, names, "columns")
        if weights in chosen:
            problem = f"column {printable(weights)} has the weights"
            raise InputError(problem, remedy=Remedy("take it out of", "columns"))
        used = tuple(name for name in chosen if name not in excluded)
        for name in used:
            if not is_numeric(name):
                raise InputError(not_numeric(name, available[name]))
        left_out = dict.fromkeys(names, "not chosen") | dict.fromkeys(excluded, "excluded")
    if weights is not None:
        left_out[weights] = "the weights"
    left_out = {name: reason for name, reason in left_out.items() if reason and name not in used}
    if not used:
        reasons = "; ".join(f"{printable(name)}: {r}" for name, r in list(left_out.items())[:_SHOWN_REASONS])
        raise InputError(f"no numeric column left ({reasons or 'there are no columns'})")
    return Selection(used, left_out)


def not_numeric(name: str, facts: ColumnFacts) -> str:
    """Problem of a column that is needed as numbers and has none."""
    return f"column {printable(name)} is not numeric: {facts}"


def pick_columns(columns: str | Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Columns among a model's `names` that `columns` lists, in its order; an item is as in select_columns.

    Raises InputError for an unknown name.
    """
    picked = tuple(_resolve(columns, names, "columns", "the model has"))
    if not picked:
        raise UsageError(f"the list is empty: the model has {listing(names)}", subject=Option("columns"))
    return picked


def match_columns(wanted: Sequence[str], available: Sequence[str], by_position: bool = False) -> tuple[str, ...]:
    """Columns of new data that match a model's columns `wanted`, in the model's order.

    Columns match by name, in any order. by_position: whether the data have no header, and so the names x1 to xD. If
    these are not all names of the model, the columns match by position, and there must be as many as in the model.

    Raises InputError that names the missing columns and lists the columns of the data.
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
    raise InputError(f"{_columns(missing)} not found: the data have {listing(available)}")


def check_free(names: Sequence[str], existing: Collection[str]) -> None:
    """Raise InputError if a name that a command adds is already a column of the data."""
    taken = [name for name in names if name in set(existing)]
    if taken:
        remedy = Remedy("use", "prefix", purpose="for another name")
        raise InputError(f"{_columns(taken)} already in the data", remedy=remedy)


def check_unique(label: str, names: Sequence[str]) -> None:
    """Raise InputError naming the file and the names that several of its columns have."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return
    remedies = [Remedy("rename them")]
    if all(map(_NUMBER.fullmatch, names)):
        remedies.append(Remedy("use", "no_header", purpose="if the first line is data"))
    raise InputError(f"several columns are called {listing(twice)}", subject=label, remedy=remedies)


def _columns(names: Sequence[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {listing(names)}"


def _reason(name: str, facts: ColumnFacts) -> str:
    """Reason to leave the column out unless it is asked for; empty if there is none."""
    if facts.kind is not ColumnKind.NUMBER:
        return str(facts)
    if _OURS.fullmatch(name):
        return "written by gmm"
    if _PANDAS_INDEX.fullmatch(name):
        return "an index written by pandas"
    return "" if name else "it has no name"


def _resolve(items: Items, names: Sequence[str], option: str, whose: str = "the data have") -> list[str]:
    """Names of the columns in a list of names, positions and ranges, each once, in order."""
    if items is None:
        return []
    chosen: dict[str, None] = {}
    there = set(names)
    for item in [items] if isinstance(items, str) else items:
        # the name may contain a comma
        parts = [item] if item in there else [part for part in item.split(",") if part]
        for part in parts:
            chosen.update(dict.fromkeys([part] if part in there else _positions(part.strip(), names, option, whose)))
    return list(chosen)


def _positions(item: str, names: Sequence[str], option: str, whose: str) -> Sequence[str]:
    if item in names:
        return [item]
    match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", item)
    if match is None:
        raise InputError(f"no column {printable(item)}: {whose} {listing(names)}", remedy=Remedy("check", option))
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if first < 1 or last < first:
        raise UsageError("positions count from 1 and a range runs upwards, as 2:4", subject=Option(option, item))
    if last > len(names):
        problem = f"no column {last}: {whose} {len(names)} columns: {listing(names)}"
        raise InputError(problem, remedy=Remedy("check", option))
    return names[first - 1 : last]
