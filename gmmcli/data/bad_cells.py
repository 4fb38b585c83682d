"""The account of cells that cannot be used: `BadCells`, how many of each column are missing, NaN or infinite."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gmmcli.storage.names import printable

_SHOWN = 20


@dataclass
class BadCells:
    """How many cells of each column are missing (no value), NaN (in floating point), infinite or below zero.

    Each is an int64 array (D,); `add` counts the cells of one more part of the data.
    """

    columns: tuple[str, ...]
    missing: np.ndarray = field(init=False)
    nan: np.ndarray = field(init=False)
    infinite: np.ndarray = field(init=False)
    negative: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.missing, self.nan, self.infinite, self.negative = np.zeros((4, len(self.columns)), dtype=np.int64)

    def add(self, table: pa.Table, cells: np.ndarray) -> None:
        """Count the cells (N, D) that float_table made of the table."""
        nulls = np.array([table.column(name).null_count for name in self.columns], dtype=np.int64)
        self.missing += nulls
        self.nan += np.isnan(cells).sum(axis=0) - nulls
        self.infinite += np.isinf(cells).sum(axis=0)
        self.negative += (cells < 0).sum(axis=0)

    @property
    def remedy(self) -> str:
        """What helps: rows with an infinite cell can only be dropped."""
        return "use --missing drop" if self.infinite.any() else "use --missing drop or em"

    def message(self, unobserved: bool = True) -> str:
        """The counts by column, as `2 missing cells in a, 3 in b, 1 infinite cell in b`; empty when there are none.

        unobserved: whether missing and NaN cells are told, or infinite ones only.
        """
        kinds = [("missing", self.missing), ("NaN", self.nan)] if unobserved else []
        parts = []
        for kind, counts in [*kinds, ("infinite", self.infinite)]:
            noun = f" {kind} cell"
            for d in np.flatnonzero(counts):
                plural = "s" if noun and counts[d] > 1 else ""
                parts.append(f"{counts[d]}{noun}{plural} in {printable(self.columns[d])}")
                noun = ""
        more = len(parts) - _SHOWN
        return ", ".join(parts[:_SHOWN]) + (f" and {more} more such" if more > 0 else "")
