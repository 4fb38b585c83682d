"""The table of a grid of fits, as `gmm fit --table` writes it, read back: `read_selection`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError
from gmmcli.model.criteria import CRITERIA
from gmmcli.storage.names import listing, printable

if TYPE_CHECKING:
    from gmmcli.data import ReadOptions


def read_selection(path: str, options: ReadOptions, criterion: str | None) -> list[dict[str, Any]]:
    """Its rows: family, components, chosen, reason and, where the table has them, the criteria.

    Numbers are None where cells are empty, as of fits that failed, texts empty. Raises InputError that names the
    file, and what is wrong: a column that is missing, `criterion` among them, or has no value; a number of components
    that is none; a table that is cut short, or several in one.
    """
    from gmmcli.data import Source

    source = Source([path], options)
    wanted = ["family", "components", "chosen", "reason", *([criterion] if criterion else [])]
    absent = [name for name in wanted if name not in source.names]
    if absent:
        raise InputError(
            f"{source.label}: no column {listing(absent)}: a table of fits has family, components, "
            f"{', '.join(CRITERIA)}, chosen and reason; this has {listing(source.names)}"
        )
    numbers = ["components", "chosen", *(name for name in CRITERIA if name in source.names)]
    found = []
    for rows in source.tables(numbers):
        texts = [[str(cell or "") for cell in rows.table.column(name).to_pylist()] for name in ("family", "reason")]
        for family, reason, cells in zip(*texts, rows.x.tolist(), strict=True):
            values = {name: None if cell != cell else cell for name, cell in zip(numbers, cells, strict=True)}
            count = values["components"]
            if not family or count is None or count < 1 or count != int(count):
                raise InputError(
                    f"{source.label}: row {len(found) + 1}: family {printable(family)} with components "
                    f"{'missing' if count is None else f'{count:g}'}: each row needs a family and a whole number"
                )
            found.append({**values, "family": family, "reason": reason, "components": int(count)})
    _check_whole(source.label, found)
    if criterion is not None and all(row[criterion] is None for row in found):
        known = [name for name in CRITERIA if any(row.get(name) is not None for row in found)]
        raise InputError(f"{source.label}: no row has a value of {criterion}: choose one of {listing(known)}")
    return found


def _check_whole(label: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises InputError where the rows are not those of one grid: each family with each number once, one chosen."""
    remedy = "give the table as gmm fit --table wrote it"
    cells = Counter((row["family"], row["components"]) for row in rows)
    for family, count in product(*({cell[place]: None for cell in cells} for place in (0, 1))):
        if cells[family, count] != 1:
            often = "more than once" if cells[family, count] else "nowhere"
            raise InputError(f"{label}: family {printable(family)} with components {count} is {often}: {remedy}")
    chosen = sum(row["chosen"] == 1 for row in rows)
    if chosen != 1:
        raise InputError(f"{label}: {chosen or 'no'} rows have 1 in chosen, not one: {remedy}")
