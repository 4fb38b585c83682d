"""`Meter`: the progress of a reading through the rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

SHORT, LONG = 0.05, 1.0  # seconds

B = TypeVar("B", bound=Sized)


class Meter:
    """Number of rows that were handed out, and their rate.

    total: rows of all the data. own: rows of this process. All processes are taken to be equally far.
    """

    def __init__(self, total: int, own: int) -> None:
        self.total = total
        self._own = own
        self._done = 0
        self._begin: float | None = None  # of the current reading
        self._last: float | None = None  # seconds of the last reading that ended

    def over(self, blocks: Iterable[B]) -> Iterator[B]:
        """The blocks of a reading of all rows of this process, counted as they are handed out."""
        self._done, self._begin = 0, (begin := time.monotonic())
        for block in blocks:
            yield block
            self._done += len(block)
        self._begin, self._last = None, time.monotonic() - begin

    @property
    def share(self) -> float:
        """Share of the rows that the current reading, or the last one, has handed out."""
        return min(1.0, self._done / self._own) if self._own else 1.0

    @property
    def long(self) -> bool:
        """Whether a reading takes so long that a user wants to see its progress."""
        return max(self._last or 0.0, self._elapsed) >= LONG

    @property
    def rows_per_second(self) -> float | None:
        """Rate of all processes in the last reading that ended, else in the first; None if that was too short."""
        seconds, share = (self._elapsed, self.share) if self._last is None else (self._last, 1.0)
        return share * self.total / seconds if seconds >= SHORT and share > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds to the end of the current reading; None if the rate is not known."""
        rate = self.rows_per_second
        return None if rate is None else (1 - self.share) * self.total / rate

    @property
    def _elapsed(self) -> float:
        begin = self._begin
        return 0.0 if begin is None else time.monotonic() - begin
