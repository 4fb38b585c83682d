"""Room for data: a budget of memory, and temporary files for data that do not fit.

- `Scratch`: the budget, shared by all files of a source, and the directory of its temporary files.
- `ScratchFile`: bytes on the disk without a name. `hold`: the content of a stream, in memory or in such a file.
- `TableStore`: tables of one schema, in memory while there is room, then in such a file.
- `available_memory`: free bytes of the machine. `is_in_memory`: whether the files of a directory take memory.

A temporary file has no name from the start (O_TMPFILE), or is unlinked as soon as it is open. The system removes it
with the process, even if that is killed without a chance to clean up.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from gmmcli.errors import GmmError, Remedy
from gmmcli.storage.names import one_line

_ON_DISK = "/var/tmp"
_READ_BYTES = 1 << 20
_HELD_SHARE = 4  # the content of a pipe may take this part of the free budget: its numbers need the rest
_GUESS = 1 << 30  # bytes of available memory if the system reports none


class Scratch:
    """Budget of memory for data, and a directory for data beyond it.

    memory_bytes: budget for all data, without the interpreter and libraries; None is half of the available memory.
    folder: directory for temporary files; None is the system's, or /var/tmp if files in that take memory. processes:
    number of processes that share the budget evenly.
    """

    def __init__(self, memory_bytes: int | None = None, folder: str | None = None, processes: int = 1) -> None:
        memory = available_memory() // 2 if memory_bytes is None else memory_bytes
        self.memory_bytes = memory // processes
        self._taken = 0
        self._lock = threading.Lock()  # remote files are read side by side
        self.folder = folder

    @property
    def free(self) -> int:
        """Bytes left of the budget."""
        return self.memory_bytes - self._taken

    def take(self, size: int) -> bool:
        """Take so many bytes of the budget. Returns False and takes none if there are fewer."""
        with self._lock:
            if size > self.free:
                return False
            self._taken += size
            return True

    def give_back(self, size: int) -> None:
        """Return bytes that were taken."""
        with self._lock:
            self._taken -= size

    def file(self) -> ScratchFile:
        """New temporary file. Raises GmmError naming the directory if there can be none."""
        return ScratchFile(_systems_folder() if self.folder is None else self.folder)


def _systems_folder() -> str:
    folder = tempfile.gettempdir()
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    better = not chosen and is_in_memory(folder) and os.access(_ON_DISK, os.W_OK) and not is_in_memory(_ON_DISK)
    return _ON_DISK if better else folder


# ---- files


class ScratchFile(io.RawIOBase):
    """Bytes on the disk, written once and then read by any number of streams. They go with the last reference."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.size = 0
        try:
            self._file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._refusal(error) from None

    def writable(self) -> bool:
        """Always True; `pa.PythonFile` requires it."""
        return True

    def write(self, data: Any, /) -> int:
        """Append the bytes. Raises GmmError naming the directory if they cannot be written."""
        rest = memoryview(data).cast("B")
        total = len(rest)
        try:
            while rest:  # a write may take a part only, as before a disk is full
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._refusal(error) from None
        self.size += total
        return total

    def sink(self) -> pa.NativeFile:
        """Stream for a writer; closing it leaves the file open."""
        return pa.PythonFile(self, mode="w")

    def open(self) -> pa.NativeFile:
        """Content from its start, seekable."""
        return pa.PythonFile(_View(self), mode="r")

    def close(self) -> None:
        """Do nothing, since writers close their stream before it is read."""

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _refusal(self, error: OSError) -> GmmError:
        reason = (error.strerror or str(error)).lower()
        return GmmError(
            f"no temporary file for data larger than the memory: {reason}",
            subject=one_line(self._folder),
            remedy=(Remedy("name a folder with room by", "cache_dir"), Remedy("raise", "memory")),
        )


class _View(io.RawIOBase):
    """Stream with a position of its own in a scratch file. Several threads may read one each."""

    def __init__(self, file: ScratchFile) -> None:
        self._scratch = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = offset + (0, self._position, self._scratch.size)[whence]
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._scratch.size - self._position if size is None or size < 0 else size
        parts = []
        number = self._scratch._file.fileno()
        while wanted > 0 and (part := os.pread(number, wanted, self._position)):  # at most 2 GiB
            parts.append(part)
            self._position += len(part)
            wanted -= len(part)
        return b"".join(parts)  # a single part is not copied


def hold(stream: BinaryIO | pa.NativeFile, scratch: Scratch) -> pa.Buffer | ScratchFile:
    """Content of a stream, in memory if it takes a small part of the free budget, else in a temporary file."""
    most, size = scratch.free // _HELD_SHARE, 0
    parts: list[bytes] = []
    while part := stream.read(_READ_BYTES):
        parts.append(part)
        if size + len(part) > most or not scratch.take(len(part)):
            scratch.give_back(size)
            file = scratch.file()
            file.write(b"".join(parts))
            parts.clear()
            while part := stream.read(_READ_BYTES):
                file.write(part)
            return file
        size += len(part)
    return pa.py_buffer(b"".join(parts))


class TableStore:
    """Tables of one schema by their index: in memory while there is room, the rest in a temporary file.

    A `with` statement fills it. If that ends by an error, the memory is given back.
    """

    def __init__(self, schema: pa.Schema, scratch: Scratch) -> None:
        self._schema = schema
        self._scratch = scratch
        self._tables: list[pa.Table] = []
        self._file: ScratchFile | None = None
        self._writer: Any = None
        self.rows = 0

    def __enter__(self) -> TableStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is not None:
            self._scratch.give_back(sum(table.nbytes for table in self._tables))

    def add(self, table: pa.Table) -> None:
        """Store one more table."""
        self.rows += table.num_rows
        if self._file is None and self._scratch.take(table.nbytes):
            self._tables.append(table)
            return
        if self._file is None:
            self._file = self._scratch.file()
            self._writer = pa.ipc.new_file(self._file.sink(), self._schema)
        self._writer.write_table(table.combine_chunks())

    def tables(self, columns: Sequence[str], indices: range) -> Iterator[pa.Table]:
        """Columns of the tables with these indices, which run upwards."""
        held = len(self._tables)
        for table in self._tables[indices.start : indices.stop]:
            yield table.select(list(columns))
        if self._file is None or indices.stop <= held:
            return
        fields = sorted(self._schema.get_field_index(name) for name in columns)
        reader = pa.ipc.open_file(self._file.open(), options=pa.ipc.IpcReadOptions(included_fields=fields))
        for index in range(max(indices.start, held), indices.stop):
            yield pa.Table.from_batches([reader.get_batch(index - held)]).select(list(columns))


# ---- memory of the machine


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that are free, or would be if the system released cached files; at least 0.

    Containers and job schedulers limit a process by control groups (versions 1 and 2). The result is the least of the
    machine's memory and the rest of each limit. root: root of the file system to read, for tests.
    """
    machine = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    limits = [*([int(machine[1]) << 10] if machine else []), *_of_groups(root)]
    return max(0, min(limits, default=_of_system()))


def is_in_memory(folder: str, root: Path = Path("/")) -> bool:
    """Whether files in the directory take memory, as those in /tmp do on many systems; False if unknown."""
    path = os.path.realpath(folder)
    longest, longest_kind = "", ""
    for line in _read(root / "proc/self/mounts").splitlines():
        _, mounted, kind, *_ = [*line.split(" "), "", ""]
        mounted = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted)
        if len(mounted) >= len(longest) and os.path.commonpath([mounted, path]) == mounted:
            longest, longest_kind = mounted, kind
    return longest_kind in ("tmpfs", "ramfs")


def _of_groups(root: Path) -> Iterator[int]:
    """Memory left in each group with a limit, from the process's own group up."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "sys/fs/cgroup/memory"
        else:
            continue
        # in a container the path may be the host's, while the group's files lie at the top
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            yield from _left(group, *names)
            if group == top:
                break


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if most.isdecimal() and used.isdecimal():  # not "max"
        cached = re.search(rf"^{reclaimable} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
        yield int(most) - int(used) + (int(cached[1]) if cached else 0)


def _of_system() -> int:
    """Free memory by POSIX, or half of all memory if a system reports that only."""
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        try:
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // share
        except (AttributeError, ValueError, OSError):
            continue
    return _GUESS


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
