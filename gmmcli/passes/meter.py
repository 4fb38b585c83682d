"""`Meter`: how far a pass is through the rows, written where they are handed out, read by who shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from gmmcli.passes.block import Block

SHORT, LONG = 0.05, 1.0  # seconds

T = TypeVar("T")


class Meter:
    """Rows handed out of those that there are, and how fast.

    total: rows of all the data. own: those of this process, which stand for those of the others: all are as far.
    """

    def __init__(self, total: int, own: int) -> None:
        self.total = total
        self._own = own
        self._done = 0
        self._begin: float | None = None  # of the pass under way
        self._last: float | None = None  # seconds of the last that ended

    def over(self, items: Iterable[T], rows: Callable[[T], int]) -> Iterator[T]:
        """The items, of so many rows each: all the rows of this process, once."""
        self._done, self._begin = 0, (begin := time.monotonic())
        for item in items:
            yield item
            self._done += rows(item)
        self._begin, self._last = None, time.monotonic() - begin

    @property
    def share(self) -> float:
        """The part of the rows that the pass under way, or the last one, has seen."""
        return min(1.0, self._done / self._own) if self._own else 1.0

    @property
    def long(self) -> bool:
        """Whether a pass takes so long that someone who waits would like to know."""
        return max(self._last or 0.0, self._elapsed) >= LONG

    @property
    def rows_per_second(self) -> float | None:
        """Of all processes, in the last pass that ended, else in the first; None where that took next to no time."""
        seconds, share = (self._elapsed, self.share) if self._last is None else (self._last, 1.0)
        return share * self.total / seconds if seconds >= SHORT and share > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds to the end of the pass under way, where the rate is known."""
        rate = self.rows_per_second
        return None if rate is None else (1 - self.share) * self.total / rate

    @property
    def _elapsed(self) -> float:
        begin = self._begin
        return 0.0 if begin is None else time.monotonic() - begin


@dataclass(frozen=True)
class Metered:
    """Blocks, each reading of which the meter sees."""

    blocks: Iterable[Block]
    meter: Meter

    def __iter__(self) -> Iterator[Block]:
        return self.meter.over(self.blocks, len)
