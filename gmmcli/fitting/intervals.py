"""`Every`: how often something is done on the way of a fit. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

SECONDS = 60.0


@dataclass(frozen=True)
class Every:
    """After so many seconds, or passes over all rows, whichever comes first."""

    seconds: float = SECONDS
    passes: float = math.inf
