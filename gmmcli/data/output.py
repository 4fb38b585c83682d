"""Where bytes go: `Output`, a file that appears whole or not at all, or a stream that is written as it comes."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from gmmcli.storage.files import STDOUT, PendingFile, is_direct, pending_file

if TYPE_CHECKING:
    from gmmcli.storage.remote_output import RemoteFile


class Output(io.RawIOBase):
    """Where the bytes go. Writers close what they write to; this is closed by commit and abort alone."""

    def __init__(self, target: str | None) -> None:
        self._pending: PendingFile | RemoteFile | None = None
        self._raw: BinaryIO | None
        if target is None or target in STDOUT:
            self._raw = sys.stdout.buffer
        elif is_direct(target):
            self._raw = open(target, "wb")  # noqa: SIM115
        else:
            self._pending = pending_file(target, durable=False)  # gigabytes of rows would wait for the disk
            self._raw = self._pending.stream
        self._stdout = self._raw is sys.stdout.buffer

    def stream(self, compression: str | None) -> Any:
        """The stream for a writer, which compresses what goes through it; to be asked for once.

        A file of this machine is written past Python: a stream of Python's has every write copied, and takes turns
        with the threads that make what is written.
        """
        local = self._pending if isinstance(self._pending, PendingFile) else None
        file = pa.PythonFile(self, mode="w") if local is None else pa.OSFile(local.temporary, mode="wb")
        return file if compression is None else pa.CompressedOutputStream(file, compression)

    def writable(self) -> bool:
        """Always, as pyarrow asks."""
        return True

    def write(self, data: Any, /) -> int:
        """Pass the bytes on, or after an abort drop them."""
        if self._raw is not None:
            self._raw.write(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Let a reader of the stream see what has been written; a file has none yet."""
        if self._raw is not None and self._pending is None:
            self._raw.flush()

    def close(self) -> None:
        """Nothing: it is for commit and abort to close."""

    def commit(self) -> None:
        """Write what is buffered and give the file its name."""
        if self._raw is None:
            return
        self._raw.flush()
        raw, self._raw = self._raw, None
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.commit()
        elif not self._stdout:
            raw.close()

    def abort(self) -> None:
        """Let go of the stream and remove the file."""
        raw, self._raw = self._raw, None
        if self._pending is not None:
            self._pending.abort()
            self._pending = None
        elif raw is not None and not self._stdout:
            with contextlib.suppress(OSError):
                raw.close()
