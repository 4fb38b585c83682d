"""Targets of output: files that appear whole or not at all, and pipes and devices that are written to directly.

- `is_direct`: which of the two a target is. `check_writable`: whether it can be written, before any work is done.
- `replace`: bytes into a target. `writing`: a stream into one.
- `PendingFile`: a file that appears when it is committed, on this machine or in a store.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from gmmcli.errors import GmmError, UsageError
from gmmcli.storage.addresses import is_address
from gmmcli.storage.filesystem import locate
from gmmcli.storage.names import one_line

STDOUT = (None, "-", "/dev/stdout")


def is_direct(target: str | None) -> bool:
    """Whether a target is written to, not replaced: standard output, a descriptor, a pipe, a device."""
    if target is None or target in STDOUT:
        return True
    if is_address(target):
        return False
    is_descriptor = target.startswith(("/dev/fd/", "/proc/")) or target == "/dev/stderr"
    return is_descriptor or locate(target).info().kind in ("stream", "folder")


def check_writable(target: str, example: str) -> None:
    """Raises UsageError where a target cannot be written: a folder, no such folder, no permission.

    example: a file's name for the message. Standard output, pipes and devices can always be written.
    """
    if not is_direct(target) or os.path.isdir(target):
        locate(target, UsageError).check_writable(example)


def replace(target: str, content: bytes | memoryview) -> None:
    """Makes the bytes the content of a target. Errors as of `PendingFile.commit`."""
    with writing(target) as stream:
        stream.write(content)


@contextlib.contextmanager
def writing(target: str) -> Iterator[BinaryIO]:
    """A stream into a target. A file is replaced when the block ends, and left alone if it raises."""
    if is_direct(target):
        with open(target, "wb") as stream:
            yield stream
        return
    pending = PendingFile(target)
    try:
        yield pending.stream
    except BaseException:
        pending.abort()
        raise
    pending.commit()


class PendingFile:
    """A file under a temporary name, which `commit` moves to the target and `abort` removes.

    For a file of this machine it lies in the same folder; a link stays a link, to the new content, and an existing
    file's mode is kept. For a remote file it lies in the folder for temporary files, and is uploaded.

    stream: for the content; temporary: the path until then. durable: whether `commit` waits until the disk has it, so
    that it is there after a power failure.
    """

    def __init__(self, target: str, durable: bool = True) -> None:
        self._location = locate(target, UsageError)
        self._durable = durable
        self.temporary, self.stream = self._location.draft()

    def commit(self) -> None:
        """Gives the target the new content.

        Raises OSError where the disk refuses. Where an upload fails the temporary file is kept, and the GmmError names
        it.
        """
        try:
            self.stream.flush()
            self._location.put(self.temporary, self.stream, self._durable)
        except GmmError as error:
            self.stream.close()
            problem = f"{error.notice.problem}; it is kept as {one_line(self.temporary)}"
            raise GmmError(problem, subject=error.notice.subject, remedy=error.notice.remedies) from error
        except BaseException:
            self.abort()
            raise
        self.abort()

    def abort(self) -> None:
        """Removes the temporary file."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)
