import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from gmmcli.data.reader import each, in_turn


def counting(n: int, started: list[int], most: int = 3) -> Iterator[str]:
    started.append(n)
    for piece in range(most):
        yield f"{n}.{piece}"


@pytest.mark.parametrize("most", [1, 2, 8, 50])
def test_the_order_is_that_of_the_iterators(most: int):
    begin = [partial(counting, n, [], n % 4) for n in range(20)]
    assert list(in_turn(begin, most)) == [f"{n}.{piece}" for n in range(20) for piece in range(n % 4)]
    assert each(lambda n: n * n, range(20), most) == [n * n for n in range(20)]


def test_no_more_are_begun_than_may_be():
    started: list[int] = []
    pieces = in_turn([partial(counting, n, started) for n in range(20)], 4)
    assert not started
    for count, piece in enumerate(pieces):
        assert len(started) <= int(piece.partition(".")[0]) + 4
        if count == 10:
            break
    pieces.close()  # type: ignore[attr-defined]
    assert len(started) < 20


def test_they_are_begun_side_by_side():
    together = threading.Barrier(4, timeout=10)  # which breaks unless four wait at a time

    def one() -> Iterator[int]:
        together.wait()
        yield 1

    assert sum(in_turn([one] * 8, 4)) == 8
    assert each(lambda _: together.wait() >= 0, range(8), 4) == [True] * 8


@pytest.mark.parametrize("most", [1, 8])
def test_the_first_error_is_that_of_the_first_item_and_what_is_before_it_comes(most: int):
    def fails(n: int) -> Iterator[int]:
        if n > 3:
            raise ValueError(n)
        yield n

    begin: list[Callable[[], Iterator[int]]] = [partial(fails, n) for n in range(10)]
    pieces, seen = in_turn(begin, most), []
    with pytest.raises(ValueError, match=r"^4$"):
        seen.extend(pieces)
    assert seen == [0, 1, 2, 3]
    assert [*in_turn(begin[:4], most)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"^4$"):
        each(lambda n: next(fails(n)), range(10), most)
