"""Turns a function that calls back for answers into a generator that yields the questions.

torch.optim.LBFGS evaluates through a callback, while engines yield; the function runs on a thread of its own,
and only one of the two runs at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")


class _Abandoned(BaseException):
    """Unwinds the function when nobody will answer its question any more."""


def as_generator(function: Callable[[Callable[[Q], A]], R]) -> Generator[Q, A, R]:
    """Yields every question that `function(ask)` asks, is sent the answers, returns what the function returns.

    Exceptions of the function are raised from the generator; an exception thrown into the generator, or its
    being closed, ends the function.
    """
    questions: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def ask(question: Q) -> A:
        questions.put(("question", question))
        answered, answer = answers.get()
        if not answered:
            raise _Abandoned
        return answer

    def run() -> None:
        try:
            questions.put(("result", function(ask)))
        except _Abandoned:
            questions.put(("abandoned", None))
        except BaseException as error:
            questions.put(("error", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    waiting = False
    try:
        while True:
            kind, value = questions.get()
            if kind == "question":
                waiting = True
                answer = yield value
                waiting = False
                answers.put((True, answer))
            elif kind == "error":
                raise value
            else:
                return value
    finally:
        if waiting:
            answers.put((False, None))
        thread.join()
