"""`Execution`: with whom, in how much memory and for how long a fit runs. Only the time changes what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gmmcli.passes.group import ALONE, Group
from gmmcli.passes.meter import Meter


@dataclass(frozen=True)
class Execution:
    """group: the processes that fit together, each to blocks of its own; columns are then to be named. memory: bytes
    that this process's rows may take, asked when they have been surveyed; where they take more, they are read anew
    for each pass. late: whether the time is up, asked by all processes alike before every pass. meter: sees every
    reading and every pass over all rows."""

    group: Group = ALONE
    memory: Callable[[], float] = lambda: math.inf
    late: Callable[[], bool] = lambda: False
    meter: Meter | None = None


HERE = Execution()
