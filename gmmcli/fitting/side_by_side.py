"""Fits side by side over rows that are read anew for each pass: one reading serves all of them.

Each fit runs until it needs a reading of all rows, then the next one, until all wait; then the rows are read once,
and all go on. Only one runs at a time, in their order, so that several processes do the same in step, and what one
finds is what it finds alone: sums over rows do not depend on what else is summed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gmmcli.errors import GmmError
from gmmcli.fitting.coroutine import as_generator
from gmmcli.passes.block import Block
from gmmcli.passes.layout import LateBlock, Layout, PreparedBlock, Reread
from gmmcli.passes.workers import fold_blocks, single_intra_op_thread

R = TypeVar("R")


@dataclass(frozen=True)
class Question:
    """What a fit wants of a reading: each worker that `new` makes is given some of the blocks in this layout."""

    new: Callable[[], Any]
    layout: Layout


Ask = Callable[[Question], list[Any]]  # the workers, when all blocks have been read


@dataclass(frozen=True)
class SharedReread(Reread):
    """Rows whose readings are asked for."""

    ask: Ask

    def fold(self, new: Callable[[], Any], threads: int) -> list[Any]:
        """As Reread has it, in a reading that may be of others too."""
        return self.ask(Question(new, self.layout))


def fit_side_by_side(blocks: Iterable[Block], fits: Sequence[Callable[[Ask], R]], threads: int) -> list[R | GmmError]:
    """What each fit returns, or the error that it ended with. blocks: those that all of them read."""
    running: dict[int, Generator[Question, list[Any], R]] = {i: as_generator(fit) for i, fit in enumerate(fits)}
    ended: dict[int, R | GmmError] = {}
    answers: dict[int, list[Any]] = {}
    try:
        while running:
            questions: dict[int, Question] = {}
            for i, fit in [*running.items()]:
                try:
                    questions[i] = fit.send(answers.pop(i)) if i in answers else next(fit)
                except StopIteration as end:
                    ended[i] = end.value
                except GmmError as error:
                    ended[i] = error
                if i in ended:
                    del running[i]
            if questions:
                answers = _read(blocks, questions, threads)
    finally:
        for fit in running.values():
            fit.close()
    return [ended[i] for i in range(len(fits))]


def _read(blocks: Iterable[Block], questions: dict[int, Question], threads: int) -> dict[int, list[Any]]:
    """The workers of every question, after one reading."""
    asked = list(questions.values())
    with single_intra_op_thread():
        read = fold_blocks(lambda: _Together(asked), blocks, threads)
    return {i: [together.workers[place] for together in read] for place, i in enumerate(questions)}


class _Together:
    """A worker of every question; what is laid out alike is laid out once."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.workers = [question.new() for question in questions]
        self._layouts = [question.layout for question in questions]

    def __call__(self, block: Block) -> None:
        rows: dict[int, LateBlock | PreparedBlock] = {}
        for worker, layout in zip(self.workers, self._layouts, strict=True):
            if id(layout) not in rows:
                alone = sum(other is layout for other in self._layouts) == 1
                rows[id(layout)] = LateBlock(block, layout) if alone else layout(block)
            worker(rows[id(layout)])
