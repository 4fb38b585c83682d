"""`ahead`: the next item made while the one before is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each made by a thread of its own while the caller works on the one before; never more than one."""
    made = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="gmm-ahead") as pool:
        coming = pool.submit(next, made, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, made, _END)
            yield item
