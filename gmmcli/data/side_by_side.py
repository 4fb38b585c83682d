"""Remote files side by side: a request takes longer than the reading of a small file.

- `each`: a function of every item. `in_turn`: what several iterators give, some begun before it is their turn.
- `together`: how many readers at a time.

Nothing here changes an order: what is read, and which error comes first, does not depend on what answers when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gmmcli.data.reader import Reader
from gmmcli.data.scratch import Scratch

AT_A_TIME = 8
HELD_BYTES = 1 << 28
_HELD_SHARE = 8  # of the memory that data may take, the part that is held while readers read, and kept by none

T = TypeVar("T")
R = TypeVar("R")
_END = object()


def together(readers: Sequence[Reader], scratch: Scratch) -> int:
    """How many of the readers may read at a time: one where none is remote, else as many as need not much memory."""
    if not any(reader.remote for reader in readers):
        return 1
    held = max(reader.held for reader in readers)
    return max(1, min(AT_A_TIME, min(HELD_BYTES, scratch.memory_bytes // _HELD_SHARE) // max(held, 1)))


def each(function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """The function of every item, in their order, of so many at a time."""
    if min(most, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(most) as pool:
        return list(pool.map(function, items))


def in_turn(begin: Sequence[Callable[[], Iterator[T]]], most: int) -> Iterator[T]:
    """What the iterators give, one after the other; of so many the next item is fetched beforehand."""
    if most <= 1:
        for one in begin:
            yield from one()
        return
    begun: deque[tuple[Iterator[T], Future[object]]] = deque()
    waiting = iter(begin)
    with ThreadPoolExecutor(most) as pool:

        def fetch(iterator: Iterator[T]) -> Future[object]:
            return pool.submit(next, iterator, _END)

        try:
            while True:
                for one in waiting:
                    begun.append((iterator := one(), fetch(iterator)))
                    if len(begun) >= most:
                        break
                if not begun:
                    return
                iterator, item = begun.popleft()
                while (found := item.result()) is not _END:
                    item = fetch(iterator)
                    yield found  # pyright: ignore[reportReturnType]
        finally:
            for _, item in begun:
                item.cancel()
