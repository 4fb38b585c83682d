"""The table of a grid of fits, as `gmm fit --table` writes it, read back: `read_selection`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmmcli.errors import InputError
from gmmcli.names import listing, printable

if TYPE_CHECKING:
    from gmmcli.data import ReadOptions

CRITERIA = ("bic", "icl", "aic", "holdout")


def read_selection(path: str, options: ReadOptions, criterion: str | None) -> list[dict[str, Any]]:
    """Its rows: family, components, chosen, reason and, where the table has them, the criteria.

    Numbers are None where cells are empty, as of fits that failed, texts empty. Raises InputError that names the
    file, and a column that is missing, `criterion` among them, or a number of components that is none.
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
    return found
