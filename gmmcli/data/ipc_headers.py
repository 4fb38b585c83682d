"""Rows of an Arrow IPC file or stream, told by the headers of its messages: `batch_rows`.

pyarrow tells them of a batch that it has read, cells and all. The two formats are the same sequence of messages,
which a file has behind 8 bytes: each a length, a flatbuffer and a body
(https://arrow.apache.org/docs/format/Columnar.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

_FILE_MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF  # before the length, but in files of versions before 0.15
_RECORD_BATCH = 3  # of MessageHeader
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of Message
_LENGTH = 0  # field of RecordBatch


def batch_rows(stream: pa.NativeFile) -> list[int]:
    """The number of rows of every record batch, in order. Raises ArrowInvalid for what is no sequence of messages."""
    try:
        return list(_batches(stream))
    except (struct.error, IndexError):
        raise pa.ArrowInvalid("a message of it is damaged") from None


def _batches(stream: pa.NativeFile) -> Iterator[int]:
    stream.seek(0)
    start = stream.read(8)
    stream.seek(8 if start.startswith(_FILE_MAGIC) else 0)
    while len(length := stream.read(4)) == 4:
        (size,) = struct.unpack("<I", length)
        if size == _CONTINUES:
            (size,) = struct.unpack("<I", stream.read(4))
        if not size:
            return
        message = stream.read(size)
        (root,) = struct.unpack_from("<I", message)
        kind = _place(message, root, _HEADER_TYPE)
        if kind and message[kind] == _RECORD_BATCH:
            at = _place(message, root, _HEADER)
            place = _place(message, at + struct.unpack_from("<I", message, at)[0], _LENGTH)
            yield struct.unpack_from("<q", message, place)[0] if place else 0
        place = _place(message, root, _BODY_LENGTH)
        end = stream.tell() + (struct.unpack_from("<q", message, place)[0] if place else 0)
        if end > stream.size():
            raise pa.ArrowInvalid("it is cut short")
        stream.seek(end)


def _place(message: bytes, table: int, field: int) -> int:
    """Where the field of a flatbuffer's table lies, 0 where it has the default value, which is 0."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    at = 4 + 2 * field
    inside = at < struct.unpack_from("<H", message, vtable)[0]
    offset = struct.unpack_from("<H", message, vtable + at)[0] if inside else 0
    return table + offset if offset else 0
