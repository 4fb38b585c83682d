"""Remote files read side by side, since a request takes longer than the reading of a small file.

- `each`: a function of every item. `in_turn`: the items of several iterators, some begun before it is their turn.
- `together`: how many readers may read at a time.

No order depends on which request is answered first: neither that of the items, nor which error comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from gmmcli.data.reader import Reader
from gmmcli.data.scratch import Scratch

AT_A_TIME = 8
HELD_BYTES = 1 << 28
_HELD_SHARE = 8  # one part in so many of the memory for data may be held by readers while they read

T = TypeVar("T")
R = TypeVar("R")
_END = object()


def together(readers: Sequence[Reader], scratch: Scratch) -> int:
    """Number of readers that may read at a time: one if none is remote, else as many as the memory allows."""
    if not any(reader.remote for reader in readers):
        return 1
    held = max(reader.held for reader in readers)
    return max(1, min(AT_A_TIME, min(HELD_BYTES, scratch.memory_bytes // _HELD_SHARE) // max(held, 1)))


def each(function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """The function of every item, in order. most: number of calls at a time."""
    if min(most, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(function, items))


def in_turn(begin: Sequence[Callable[[], Iterator[T]]], most: int) -> Iterator[T]:
    """The items of the iterators, one iterator after the other. The next item of `most` of them is fetched ahead."""
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
                iterator, item = begun.popleft()
                while (found := item.result()) is not _END:
                    _, item = fetch(iterator)
                    yield found
                begun.extend(fetch(one()) for one in islice(waiting, 1))
        finally:
            for _, item in begun:
                item.cancel()
