"""Room for data: how much memory they may take, and files for what does not fit.

- `Scratch`: the budget of memory, shared by all files of a source, and the folder of its temporary files.
- `ScratchFile`: bytes on the disk under no name. `hold`: a stream's content in memory, or in such a file.

A temporary file has no name from the start (O_TMPFILE), or is unlinked as soon as it is open: so it is gone with the
process, however that ends: by an error, by Ctrl-C, or killed with no chance to clean up.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from functools import cached_property
from typing import Any, BinaryIO

import pyarrow as pa

from gmmcli.data.memory import available_memory, is_in_memory
from gmmcli.errors import GmmError
from gmmcli.storage.names import one_line

_ON_DISK = "/var/tmp"
_READ_BYTES = 1 << 20
_HELD_SHARE = 4  # of the free budget, the part that the content of a pipe may take, whose numbers will need more


class Scratch:
    """Memory that data may take, and a folder for what takes more.

    memory_bytes: of all data together, beyond the interpreter and libraries; None is half of what is available when
    it is first asked for. folder: None is the system's for temporary files, or /var/tmp where its files take memory.
    processes: that share the memory evenly.
    """

    def __init__(self, memory_bytes: int | None = None, folder: str | None = None, processes: int = 1) -> None:
        self._given = memory_bytes
        self._processes = processes
        self._taken = 0
        self._lock = threading.Lock()  # since remote files are read side by side
        self.folder = folder

    @cached_property
    def memory_bytes(self) -> int:
        """The budget."""
        return (available_memory() // 2 if self._given is None else self._given) // self._processes

    @property
    def free(self) -> int:
        """What is left of the budget."""
        return self.memory_bytes - self._taken

    def take(self, size: int) -> bool:
        """Takes so many bytes of the budget, or none and says so where they are not left."""
        with self._lock:
            if size > self.free:
                return False
            self._taken += size
            return True

    def give_back(self, size: int) -> None:
        """Bytes that were taken are free again."""
        with self._lock:
            self._taken -= size

    def file(self) -> ScratchFile:
        """A new temporary file. Raises GmmError naming the folder where there can be none."""
        return ScratchFile(_systems_folder() if self.folder is None else self.folder)


def _systems_folder() -> str:
    folder = tempfile.gettempdir()
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    better = not chosen and is_in_memory(folder) and os.access(_ON_DISK, os.W_OK) and not is_in_memory(_ON_DISK)
    return _ON_DISK if better else folder


class ScratchFile(io.RawIOBase):
    """Bytes on the disk, written once and then read by any number of streams; gone when nothing refers to it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.size = 0
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._refusal(error) from None

    def writable(self) -> bool:
        """Always, as pyarrow asks."""
        return True

    def write(self, data: Any, /) -> int:
        """Adds the bytes at the end. Raises GmmError naming the folder where they cannot be written."""
        rest = memoryview(data).cast("B")
        total = len(rest)
        try:
            while rest:  # a disk may take a part before it is full
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._refusal(error) from None
        self.size += total
        return total

    def read_at(self, place: int, size: int) -> bytes:
        """At most so many bytes from a place on; may be called from any thread."""
        with self._lock:
            self._file.seek(place)
            parts = []
            while size > 0 and (part := self._file.read(size)):  # the system reads less than 2 GiB at a time
                parts.append(part)
                size -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def sink(self) -> pa.NativeFile:
        """A stream for a writer; closing it leaves the file open."""
        return pa.PythonFile(self, mode="w")

    def open(self) -> pa.NativeFile:
        """The content from its start, seekable."""
        return pa.PythonFile(_View(self), mode="r")

    def close(self) -> None:
        """Nothing, as writers close what they write to."""

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _refusal(self, error: OSError) -> GmmError:
        reason = (error.strerror or str(error)).lower()
        return GmmError(
            f"{one_line(self._folder)}: no temporary file for data larger than the memory: {reason}: "
            "name a folder with room by --cache-dir, or raise --memory"
        )


class _View(io.RawIOBase):
    """A stream with a place of its own in a scratch file."""

    def __init__(self, file: ScratchFile) -> None:
        self._scratch = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._place = offset + (0, self._place, self._scratch.size)[whence]
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._scratch.size - self._place if size is None or size < 0 else size
        data = self._scratch.read_at(self._place, wanted)
        self._place += len(data)
        return data


def hold(stream: BinaryIO | pa.NativeFile, scratch: Scratch) -> pa.Buffer | ScratchFile:
    """All that the stream gives: in memory, while it takes a small part of what is free, else in a temporary file."""
    most = scratch.free // _HELD_SHARE
    parts: list[bytes] = []
    size = 0
    while part := stream.read(_READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > most or not scratch.take(len(part)):
            break
    else:
        return pa.py_buffer(b"".join(parts))
    scratch.give_back(sum(map(len, parts[:-1])))
    file = scratch.file()
    for part in parts:
        file.write(part)
    parts.clear()
    while part := stream.read(_READ_BYTES):
        file.write(part)
    return file
