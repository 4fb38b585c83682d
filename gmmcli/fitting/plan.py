"""Plan of a fit's memory and readings, made without reading the data: `memory_plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.rows import LAYING_OUT, SURVEY
from gmmcli.fitting.search import sample_sizes
from gmmcli.passes.layout import row_bytes
from gmmcli.passes.prepared import fits, largest_sample


@dataclass(frozen=True)
class Plan:
    """Memory and readings of a fit.

    rows: of all processes. features: of a row that is laid out. bytes: of this process's rows. budget: bytes that
    they may take. in_memory: whether they are held. readings: of the data before the first pass over all rows.
    """

    rows: int
    features: int
    bytes: int
    budget: float
    in_memory: bool
    readings: int = SURVEY + LAYING_OUT

    def samples(self, options: FitOptions) -> Sequence[int]:
        """Sizes of the samples on which starts are compared first."""
        return [] if options.init == "given" else sample_sizes(self.rows, largest_sample(self.features))


def memory_plan(
    *,
    rows: int,
    own_rows: int,
    columns: int,
    weighted: bool,
    incomplete: bool,
    dtype: torch.dtype,
    memory: float,
) -> Plan:
    """The plan for so many rows, `own_rows` of them of this process, and bytes of memory."""
    features = 1 + columns * (2 if incomplete else 1)
    needed = own_rows * row_bytes(features, weighted, dtype)
    return Plan(rows, features, needed, memory, fits(needed, memory, dtype))
