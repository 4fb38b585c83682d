"""Sizes of the batches of an Arrow IPC file or stream, told by the headers of its messages: `batch_sizes`.

pyarrow tells the rows of a batch that it has read, cells and all. The two formats are the same sequence of messages,
which a file has behind 8 bytes: each a length, a flatbuffer and a body
(https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

_FILE_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF  # before the length, but in files of versions before 0.15
_RECORD_BATCH = 3  # of MessageHeader
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of Message
_LENGTH = 0  # field of RecordBatch
_LOOK_BYTES = 1 << 15  # read at a time, which is a request of a remote file: more than most headers have


class BatchSize(NamedTuple):
    """The rows of a record batch, and the bytes of its cells as they lie there, which may be compressed."""

    rows: int
    bytes: int


def batch_sizes(stream: pa.NativeFile) -> list[BatchSize]:
    """The sizes of all record batches, in order. Raises ArrowInvalid for what is no sequence of messages."""
    try:
        return list(_batches(_Look(stream)))
    except (struct.error, IndexError):
        raise pa.ArrowInvalid("a message of it is damaged") from None


class _Look:
    """Bytes of a file at any place, some more being read with those that are asked for."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._first, self._read = 0, b""
        self.size = stream.size()

    def at(self, place: int, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        start = place - self._first
        if start < 0 or start + size > len(self._read):
            self._stream.seek(place)
            self._first, self._read = place, self._stream.read(max(size, _LOOK_BYTES))
            start = 0
        return self._read[start : start + size]


def _batches(file: _Look) -> Iterator[BatchSize]:
    place = 8 if file.at(0, 8).startswith(_FILE_MAGIC) else 0
    while len(length := file.at(place, 4)) == 4:
        place += 4
        (size,) = struct.unpack("<I", length)
        if size == _CONTINUES:
            (size,) = struct.unpack("<I", file.at(place, 4))
            place += 4
        if not size:
            return
        message = file.at(place, size)
        (root,) = struct.unpack_from("<I", message)
        body = _number(message, _place(message, root, _BODY_LENGTH))
        kind = _place(message, root, _HEADER_TYPE)
        if kind and message[kind] == _RECORD_BATCH:
            at = _place(message, root, _HEADER)
            table = at + struct.unpack_from("<I", message, at)[0]
            yield BatchSize(_number(message, _place(message, table, _LENGTH)), body)
        place += size + body
        if body < 0:
            raise IndexError("before its header")
        if place > file.size:
            raise pa.ArrowInvalid("it is cut short")


def _number(message: bytes, place: int) -> int:
    """A field of 64 bits, by its place."""
    return struct.unpack_from("<q", message, place)[0] if place else 0


def _place(message: bytes, table: int, field: int) -> int:
    """Where the field of a flatbuffer's table lies, 0 where it has the default value, which is 0."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    at = 4 + 2 * field
    inside = at < struct.unpack_from("<H", message, vtable)[0]
    offset = struct.unpack_from("<H", message, vtable + at)[0] if inside else 0
    return table + offset if offset else 0
