"""How deep JSON is nested, told without a parser: `nested_deeper`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

_MARKS = b'"{[}]\n'
_QUOTE, _NEWLINE = b'"'[0], b"\n"[0]
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEP = np.zeros(256, np.int64)
_STEP[list(b"{[")], _STEP[list(b"}]")] = 1, -1


def nested_deeper(read: Callable[[], Iterable[bytes]], most: int) -> bool:
    """Whether objects and lists lie within each other more than `most` deep, in a content that `read` gives anew.

    In most files few begin but after the end of another at the end of a line: only these could add to the depth, so
    that counting is enough. Else all are followed, outside of text; text does not go on in another line.
    """
    return _inner_starts(read()) > most and _deepest(read()) > most


def _inner_starts(blocks: Iterable[bytes]) -> int:
    """At most so many objects and lists begin within another; a start at a seam of two blocks counts as one."""
    return sum(b.count(b"{") + b.count(b"[") - b.count(b"}\n{") - b.count(b"}\r\n{") for b in blocks)


def _deepest(blocks: Iterable[bytes]) -> int:
    depth = deepest = inside = 0
    rest = b""
    for block in blocks:
        block = rest + block
        if b"\\" in block:
            block = re.sub(rb"\\[^\n]", b"", block)
        rest = b"\\" if block.endswith(b"\\") else b""
        plain = block.translate(None, _OTHERS).replace(b'""', b"")  # texts without a mark go
        marks = np.frombuffer(plain, np.uint8)
        quotes = inside + np.cumsum(marks == _QUOTE)
        before = np.maximum.accumulate(np.where(marks == _NEWLINE, quotes, 0))  # in earlier lines
        within = (quotes - before) % 2
        levels = depth + np.cumsum(np.where(within, 0, _STEP[marks]))
        lowest = np.minimum(np.minimum.accumulate(levels), 0)  # below 0 after ends of nothing
        if len(levels):
            deepest = max(deepest, int((levels - lowest).max()))
            depth, inside = int(levels[-1] - lowest[-1]), int(within[-1])
    return deepest
