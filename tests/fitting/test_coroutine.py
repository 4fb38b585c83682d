"""A function that calls back, turned into a generator: answers, results, exceptions, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from gmmcli.fitting.coroutine import as_generator


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def add_three(ask: Callable[[int], int]) -> int:
    return sum(ask(n) for n in (1, 2, 3))


def test_questions_answers_and_the_result():
    generator = as_generator(add_three)
    assert next(generator) == 1
    assert generator.send(10) == 2
    assert generator.send(20) == 3
    with pytest.raises(StopIteration) as end:
        generator.send(30)
    assert end.value.value == 60


def test_no_questions_at_all():
    with pytest.raises(StopIteration) as end:
        next(as_generator(lambda ask: "done"))
    assert end.value.value == "done"


def test_delegation_reads_as_if_it_were_a_plain_generator():
    def outer() -> Iterator[int]:
        result = yield from as_generator(add_three)
        yield 100 * result

    generator = outer()
    asked = [next(generator)]
    for _ in range(3):
        asked.append(generator.send(7))  # type: ignore[attr-defined]
    assert asked == [1, 2, 3, 2100]


@pytest.mark.parametrize("questions", [0, 2])
def test_exceptions_of_the_function_come_out_of_the_generator(questions: int):
    def fails(ask: Callable[[int], int]) -> None:
        for n in range(questions):
            ask(n)
        raise ZeroDivisionError("within")

    generator = as_generator(fails)
    if questions:
        next(generator)
        generator.send(0)
        with pytest.raises(ZeroDivisionError, match="within"):
            generator.send(0)
    else:
        with pytest.raises(ZeroDivisionError, match="within"):
            next(generator)


@pytest.mark.parametrize("how", ["close", "throw", "drop"])
def test_abandonment_unwinds_the_function_and_ends_its_thread(how: str):
    unwound = threading.Event()

    def waits(ask: Callable[[int], int]) -> int:
        try:
            return ask(1)
        finally:
            unwound.set()

    generator = as_generator(waits)
    next(generator)
    if how == "close":
        generator.close()
    elif how == "throw":
        with pytest.raises(KeyboardInterrupt):
            generator.throw(KeyboardInterrupt())
    else:
        del generator
    assert unwound.wait(5)


def test_a_function_that_swallows_exceptions_is_unwound_all_the_same():
    def stubborn(ask: Callable[[int], int]) -> str:
        try:
            ask(1)
        except Exception:  # as an optimiser might
            return "went on"
        return "answered"

    generator = as_generator(stubborn)
    next(generator)
    generator.close()
    with pytest.raises(StopIteration):
        next(generator)


def test_only_one_of_the_two_runs_at_any_time():
    running: list[str] = []

    def function(ask: Callable[[str], None]) -> None:
        for _ in range(200):
            running.append("in")
            running.append("out")
            ask("next")

    for _ in as_generator(function):
        assert running == ["in", "out"] * (len(running) // 2)
        running.append("in")
        running.append("out")


def test_never_started_starts_no_thread():
    before = threading.active_count()
    generator = as_generator(add_three)
    assert threading.active_count() == before
    generator.close()
