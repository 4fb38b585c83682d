"""Where bytes go: `Output`, a file that appears whole or not at all, or a stream that is written as it comes."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
import sys
from typing import Any, BinaryIO

import pyarrow as pa

STDOUT = (None, "-", "/dev/stdout")


class Output(io.RawIOBase):
    """Where the bytes go. Writers close what they write to; this is closed by commit and abort alone."""

    def __init__(self, target: str | None) -> None:
        self._temporary: str | None = None
        self._path = ""
        self._raw: BinaryIO | None
        if target is None or target in STDOUT:
            self._raw = sys.stdout.buffer
        elif is_direct(target):
            self._raw = open(target, "wb")  # noqa: SIM115
        else:
            self._path = os.path.realpath(target)  # a link stays a link, to the new content
            folder, name = os.path.split(self._path)
            temporary = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(4)}.tmp")
            self._raw = open(temporary, "xb")  # noqa: SIM115
            self._temporary = temporary
        self._stdout = self._raw is sys.stdout.buffer

    def stream(self, compression: str | None) -> Any:
        """The stream for a writer, which compresses what goes through it."""
        file = pa.PythonFile(self, mode="w")
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
        if self._raw is not None and not self._temporary:
            self._raw.flush()

    def close(self) -> None:
        """Nothing: it is for commit and abort to close."""

    def commit(self) -> None:
        """Write what is buffered and give the file its name."""
        if self._raw is None:
            return
        self._raw.flush()
        if not self._stdout:
            self._raw.close()
        self._raw = None
        if self._temporary is not None:
            if os.path.exists(self._path):
                shutil.copymode(self._path, self._temporary)
            os.replace(self._temporary, self._path)
            self._temporary = None

    def abort(self) -> None:
        """Let go of the stream and remove the file."""
        raw, self._raw = self._raw, None
        if raw is not None and not self._stdout:
            with contextlib.suppress(OSError):
                raw.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None


def is_direct(target: str | None) -> bool:
    """Whether a target is written to, not replaced: standard output, a descriptor, a pipe, a device."""
    if target is None or target in STDOUT:
        return True
    if target.startswith(("/dev/fd/", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(os.stat(target).st_mode)
    except OSError:
        return False
