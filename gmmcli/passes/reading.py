"""Readings: the only way to look at rows, and the one driver that makes them.

- `Fold`: what a reading computes. It is given rows, is merged with folds of other rows, and has a result.
- `Reading`: which rows, in which layout, into which fold.
- `Task`: a generator that yields the readings that it needs and is sent their results. `read` asks for one.
- `side_by_side`: several tasks as one. Readings that they wait for at the same time share a pass over the data.
- `drive`: runs a task.
- `Collected`: the fold that keeps a value of every block.

A fold's result does not depend on which worker or process was given which rows, to the bit. So a task finds the same
whatever shares its readings, and for any number of threads and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gmmcli.errors import GmmError
from gmmcli.passes.execution import ALONE, Group
from gmmcli.passes.workers import fold_blocks, single_intra_op_thread

if TYPE_CHECKING:
    from gmmcli.passes.execution import Meter
    from gmmcli.passes.layout import Layout

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Fold(Protocol[R_co]):
    """A result over rows that are given piece by piece, in any order, to any number of folds."""

    def add(self, rows: Any, /) -> None:
        """Takes in rows: a Block, or what the reading's layout makes of it."""
        ...

    def merge(self, other: Any, /) -> None:
        """Takes in the rows of another fold of the same kind. Merging is associative and commutative, to the bit."""
        ...

    def result(self, group: Group, /) -> R_co:
        """The result over the rows of all processes of the group. Every process calls it at the same time."""
        ...


@dataclass(frozen=True, eq=False)
class Reading(Generic[R]):
    """One look at rows.

    new: makes an empty fold. blocks: the rows of this process, in pieces; readings of the same object share a pass.
    layout: how a Block is laid out for the fold, or None to hand it on as it is. group: the processes that hold the
    rows between them. meter: counts the rows as they are handed out.
    """

    new: Callable[[], Fold[R]]
    blocks: Iterable[Any]
    layout: Layout | None = None
    group: Group = ALONE
    meter: Meter | None = None

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory."""
        return isinstance(self.blocks, list)


Task = Generator[Sequence[Reading[Any]], Sequence[Any], R]


def read(reading: Reading[R]) -> Task[R]:
    """The result of a reading. Raises the GmmError that the fold's result raised."""
    (answer,) = yield from read_all([reading])
    return answer


def read_all(readings: Sequence[Reading[Any]]) -> Task[list[Any]]:
    """The results of several readings, which share a pass where they are of the same blocks."""
    answers = yield readings
    for answer in answers:
        if isinstance(answer, GmmError):
            raise answer
    return [*answers]


def side_by_side(tasks: Sequence[Task[R]]) -> Task[list[R | GmmError]]:
    """The result of every task, or the GmmError that ended it.

    Each task runs until it needs readings of rows that are not in memory. When all wait, these are made together.
    Rows in memory are read at once: a task that works on a sample does not fall behind the others.
    """
    running = dict(enumerate(tasks))
    ended: dict[int, R | GmmError] = {}
    answers: dict[int, Sequence[Any] | None] = dict.fromkeys(running)
    try:
        while running:
            asked: dict[int, Sequence[Reading[Any]]] = {}
            for i, task in [*running.items()]:
                try:
                    readings = task.send(answers[i])  # type: ignore[arg-type]  # None starts a generator
                    while all(reading.in_memory for reading in readings):
                        readings = task.send((yield readings))
                    asked[i] = readings
                except StopIteration as end:
                    ended[i] = end.value
                except GmmError as error:
                    ended[i] = error
                if i in ended:
                    del running[i]
            if asked:
                found = iter((yield [reading for readings in asked.values() for reading in readings]))
                answers = {i: [next(found) for _ in readings] for i, readings in asked.items()}
    finally:
        for task in running.values():
            task.close()
    return [ended[i] for i in range(len(tasks))]


def drive(task: Task[R], threads: int) -> R:
    """Runs a task to its end, with up to `threads` workers for every reading, and returns its result."""
    answers: Any = None
    with single_intra_op_thread():
        try:
            while True:
                answers = _answers(task.send(answers), threads)
        except StopIteration as end:
            return end.value
        finally:
            task.close()


def _answers(readings: Sequence[Reading[Any]], threads: int) -> list[Any]:
    """The result of each reading, or its GmmError, after one pass over every collection of blocks."""
    by_blocks: dict[int, list[Reading[Any]]] = {}
    for reading in readings:
        by_blocks.setdefault(id(reading.blocks), []).append(reading)
    folds: dict[Reading[Any], Fold[Any]] = {}
    for together in by_blocks.values():
        folds |= zip(together, _folded(together, threads), strict=True)
    return [_result(folds[reading], reading.group) for reading in readings]


def _folded(readings: Sequence[Reading[Any]], threads: int) -> list[Fold[Any]]:
    """The fold of each reading over the blocks that they share."""
    blocks, meter = readings[0].blocks, readings[0].meter
    work = blocks if meter is None else meter.over(blocks)
    first, *others = fold_blocks(lambda: _Worker(readings), work, threads)
    for other in others:
        for fold, more in zip(first.folds, other.folds, strict=True):
            fold.merge(more)
    return first.folds


def _result(fold: Fold[Any], group: Group) -> Any:
    try:
        return fold.result(group)
    except GmmError as error:
        return error


class _Worker:
    """A fold for every reading. Rows that several readings want in the same layout are laid out once."""

    def __init__(self, readings: Sequence[Reading[Any]]) -> None:
        self.folds = [reading.new() for reading in readings]
        layouts = [reading.layout for reading in readings]
        self._by_layout = [
            (layout, [fold for fold, own in zip(self.folds, layouts, strict=True) if own is layout])
            for layout in dict.fromkeys(layouts)
        ]

    def __call__(self, block: Any) -> None:
        for layout, folds in self._by_layout:
            rows = block if layout is None else _laid_out(block, layout, alone=len(folds) == 1)
            for fold in folds:
                fold.add(rows)


def _laid_out(block: Any, layout: Layout, *, alone: bool) -> Any:
    """The block in a layout. A fold that is alone may lay it out itself, chunk by chunk."""
    return layout.late(block) if alone else layout(block)


class Collected(Generic[R]):
    """A fold that keeps a value of every piece of rows that has any; the result is those of this process, in order.

    function: from the rows to the value.
    """

    def __init__(self, function: Callable[[Any], R]) -> None:
        self._function = function
        self._values: list[tuple[int, R]] = []

    def add(self, rows: Any) -> None:
        """Keeps the value of a Block or of a laid-out block."""
        rows = rows.laid_out()
        if len(rows):
            self._values.append((rows.first_row, self._function(rows)))

    def merge(self, other: Collected[R]) -> None:
        """Takes in the values of another fold."""
        self._values += other._values

    def result(self, group: Group) -> list[R]:
        """The values in the order of the rows."""
        return [value for _, value in sorted(self._values, key=lambda pair: pair[0])]
