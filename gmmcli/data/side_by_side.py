"""Iterators whose items are made in advance by threads, since requests to stores take longer than the work on them.

- `each`: a function of every item. `in_turn`: the items of several iterators, some begun before it is their turn.
- `ahead`: the items of one iterator.

No order depends on which request is answered first: neither the order of the items nor which error comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

AT_A_TIME = 8  # remote files

T = TypeVar("T")
R = TypeVar("R")
_END = object()


def each(function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """Results of the function for every item, in order. most: number of calls at a time."""
    if min(most, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(function, items))


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Items; a thread makes the next one while the caller works on the one before."""
    return in_turn([lambda: iter(items)], 2)


def in_turn(begin: Sequence[Callable[[], Iterator[T]]], most: int) -> Iterator[T]:
    """Items of the iterators, one iterator after the other. Threads make the next item of `most` of them."""
    if most <= 1:
        for one in begin:
            yield from one()
        return
    waiting = iter(begin)
    with ThreadPoolExecutor(most) as pool:

        def fetch(iterator: Iterator[T]) -> tuple[Iterator[T], Future[Any]]:
            return iterator, pool.submit(next, iterator, _END)

        begun = deque(fetch(one()) for one in islice(waiting, most))
        try:
            while begun:
                iterator, future = begun.popleft()
                while (item := future.result()) is not _END:
                    _, future = fetch(iterator)
                    yield item
                begun.extend(fetch(one()) for one in islice(waiting, 1))
        finally:
            for _, future in begun:
                future.cancel()
