"""The first bytes of many cells of text at a time, to tell which of them need a closer look.

A pattern takes some 40 ns a cell and a set of texts 12, where a look at a byte takes 3 and parsing a number 20.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gmmcli.data.compute import pc, zero

_LEADS = np.zeros(256, bool)  # what may stand before the digits of an integer with leading zeros
_LEADS[list(b" \t+")] = True
_GOES_ON = np.zeros(256, bool)  # what makes a leading zero, or a hexadecimal number, of a 0 before it
_GOES_ON[list(b"0123456789xX")] = True
_ENDS = np.zeros(256, bool)  # what makes a negative zero of -0; there is no byte 0 but after the end
_ENDS[list(b"\0 \t")] = True
_ZERO, _MINUS = b"0"[0], b"-"[0]


def may_be_odd(column: pa.Array | pa.ChunkedArray, negative_zeros: bool) -> np.ndarray:  # (N,) bool
    """False for each cell of strings that surely is no number with leading zeros, in hexadecimal or, if asked, -0."""
    parts = [_odd(array, negative_zeros) for array in _arrays(column)]
    return np.concatenate([np.empty(0, bool), *parts])


def may_be_one_of(column: pa.Array | pa.ChunkedArray, texts: tuple[str, ...]) -> bool:
    """Whether any cell of strings may be one of the texts, of which the empty one is not looked for."""
    begins = np.zeros(256, bool)
    begins[[text.encode()[0] for text in texts if text]] = True
    return any(bool(begins[_byte(array, 0)].any()) for array in _arrays(column))


def has_empty(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether any cell is the empty string, which is not a missing one."""
    return bool(pc.any(pc.equal(pc.binary_length(column), zero())).as_py())


def _odd(array: pa.Array, negative_zeros: bool) -> np.ndarray:
    first, second = _byte(array, 0), _byte(array, 1)
    odd = _LEADS[first] | ((first == _ZERO) & _GOES_ON[second])
    minus = (first == _MINUS) & (second == _ZERO)
    if minus.any():
        third = _byte(array, 2)
        odd |= minus & (_GOES_ON[third] | (_ENDS[third] if negative_zeros else False))
    return odd


def _arrays(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return [column] if isinstance(column, pa.Array) else column.chunks


def _byte(array: pa.Array, place: int) -> np.ndarray:  # (N,) uint8
    """The byte at this place of each cell, 0 where it has not so many; of a missing cell any."""
    _, offsets, values = array.buffers()
    if not len(array) or values is None or not values.size:
        return np.zeros(len(array), np.uint8)
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(values, np.uint8)
    places = bounds[:-1] + place
    inside = places < bounds[1:]
    return np.where(inside, content[np.minimum(places, len(content) - 1)], 0)
