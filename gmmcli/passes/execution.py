"""Processes, memory and time of a fit. It imports no torch.

- `Group`: the processes that hold the rows of one fit between them. `ALONE`: a single process, the trivial case.
- `Meter`: the progress of a reading through the rows.
- `Execution`: group, memory, time limit, meter, and words. Of these only the time can change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from gmmcli.errors import Word, as_argument

if TYPE_CHECKING:
    from torch import Tensor


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


class Group:
    """A process alone; distributed.py has several. Every method is called on all processes, in the same order.

    All processes do the same work on parameters, K × P numbers. Each does its own work on rows, and exchanges results
    through the group. All get the same bits back, however the rows are divided: integers are added, a maximum is
    exact, and rows are joined in the order of the processes, which is the order of the data.
    """

    rank: int = 0
    size: int = 1

    def sum(
        self,
        numbers: Tensor,  # int64
    ) -> Tensor:
        """The sums over the processes, exactly."""
        return numbers

    def greatest(
        self,
        numbers: Tensor,  # float64
    ) -> Tensor:
        """The greatest of each number over the processes."""
        return numbers

    def joined(
        self,
        rows: Tensor,  # (B, …), where each process has a B of its own
    ) -> Tensor:
        """The rows of all processes, one after the other."""
        return rows


ALONE = Group()


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
