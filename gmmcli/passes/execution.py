"""`Execution`: processes, memory, time and words of a fit. Of these only the time can change the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gmmcli.errors import Word, as_argument
from gmmcli.passes.group import ALONE, Group
from gmmcli.passes.meter import Meter


@dataclass(frozen=True)
class Execution:
    """How a fit is run.

    group: the processes that fit together, each to blocks of its own; columns must then have names. memory: bytes
    that this process's rows may take, called after the survey; rows that take more are read again for every pass.
    late: whether the time is up, called by all processes before every pass. meter: sees every reading and every pass
    over all rows. word: words an option in texts that are saved with the model.
    """

    group: Group = ALONE
    memory: Callable[[], float] = lambda: math.inf
    late: Callable[[], bool] = lambda: False
    meter: Meter | None = None
    word: Word = as_argument


HERE = Execution()
