"""Files that appear whole or not at all, and the targets that are written to as they are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import BinaryIO

STDOUT = (None, "-", "/dev/stdout")


def is_direct(target: str | None) -> bool:
    """Whether a target is written to, not replaced: standard output, a descriptor, a pipe, a device."""
    if target is None or target in STDOUT:
        return True
    if target.startswith(("/dev/fd/", "/proc/")) or target == "/dev/stderr":
        return True
    try:
        return not stat.S_ISREG(os.stat(target).st_mode)
    except OSError:
        return False


class PendingFile:
    """A file under a temporary name in the target's folder, which `commit` renames and `abort` removes.

    A link stays a link, to the new content; an existing file's mode is kept. stream: what is written to.
    """

    def __init__(self, target: str) -> None:
        self._path = os.path.realpath(target)
        # Short, since the target's own name may already be as long as a name may be.
        self._temporary = os.path.join(os.path.dirname(self._path), f".gmm-{secrets.token_hex(8)}.tmp")
        self.stream: BinaryIO = open(self._temporary, "xb")  # noqa: SIM115

    def commit(self) -> None:
        """Puts what was written on the disk and gives it its name."""
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()
            if os.path.exists(self._path):
                shutil.copymode(self._path, self._temporary)
            os.replace(self._temporary, self._path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Removes what was written."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)
