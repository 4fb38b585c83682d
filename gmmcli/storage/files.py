"""Targets of output: files that appear whole or not at all, and pipes and devices that are written to directly.

- `is_direct`: which of the two a target is. `check_writable`: whether it can be written, before any work is done.
- `replace`: bytes into a target. `writing`: a stream into one. `named_failure`: a failure that names the target.
- `begin`: a target to be ended by `commit` or `abort`: a `PendingFile` or a `DirectFile`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from gmmcli.errors import GmmError, UsageError
from gmmcli.storage.filesystem import locate
from gmmcli.storage.names import is_address, name_of, one_line

STDOUT = (None, "-", "/dev/stdout")


def is_direct(target: str | None) -> bool:
    """Whether a target is written to directly: standard output, a descriptor, a pipe, a device."""
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
    if is_direct(target) and not os.path.isdir(target):
        return
    location = locate(target, UsageError)
    obstacle = location.obstacle()
    if obstacle is None and (not os.path.basename(name_of(target)) or location.info().kind == "folder"):
        obstacle = "this is a folder", f"name a file in it, such as {example}"
    if obstacle is not None:
        raise UsageError(obstacle[0], subject=one_line(location.name), remedy=obstacle[1])


def replace(target: str, content: bytes | memoryview) -> None:
    """Makes the bytes the content of a target. Raises what `PendingFile.commit` raises."""
    with writing(target) as stream:
        stream.write(content)


@contextlib.contextmanager
def writing(target: str) -> Iterator[BinaryIO]:
    """A stream into a target. A file is replaced when the block ends, and left alone if it raises."""
    output = begin(target)
    try:
        yield output.stream
    except BaseException:
        output.abort()
        raise
    output.commit()


@contextlib.contextmanager
def named_failure(target: str) -> Iterator[None]:
    """Raises GmmError that names the target in place of OSError. BrokenPipeError passes: the reader has gone."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        raise GmmError(problem, subject=one_line(target), remedy="name another file") from error


def begin(target: str | None, durable: bool = True) -> PendingFile | DirectFile:
    """The target, ready for content. durable: see PendingFile."""
    return DirectFile(target) if target is None or is_direct(target) else PendingFile(target, durable)


class PendingFile:
    """A file under a temporary name, which `commit` moves to the target and `abort` removes.

    For a file of this machine it lies in the same folder; a link stays a link, to the new content, and an existing
    file's mode is kept. For a remote file it lies in the folder for temporary files, and is uploaded.

    stream: takes the content. temporary: path of the temporary file. durable: whether `commit` waits for the disk, so
    that the file survives a power failure.
    """

    def __init__(self, target: str, durable: bool = True) -> None:
        self._location = locate(target, UsageError)
        self._durable = durable
        self.temporary, self.stream = self._location.draft()

    def commit(self) -> None:
        """Gives the target the new content.

        Raises OSError where the disk refuses. Where an upload fails the temporary file is kept, and a GmmError names
        it.
        """
        try:
            self.stream.flush()
            self._location.put(self.temporary, self.stream, self._durable)
        except GmmError as error:
            kept, self.temporary = self.temporary, ""  # which `abort` leaves alone
            problem = f"{error.notice.problem}; it is kept as {one_line(kept)}"
            raise GmmError(problem, subject=error.notice.subject, remedy=error.notice.remedies) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Removes the temporary file, unless it has become the target or is kept."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


class DirectFile(io.RawIOBase):
    """A pipe, a device or standard output, which receives the content as it is written.

    stream: takes the content. This object is a stream too, for writers that close their stream: only `commit` and
    `abort` end the target, and later writes are dropped.
    """

    def __init__(self, target: str | None) -> None:
        direct = sys.stdout.buffer if target is None or target in STDOUT else open(target, "wb")  # noqa: SIM115
        self.stream: BinaryIO = direct

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()

    def commit(self) -> None:
        """Passes on all that was written, and ends the stream."""
        try:
            self.stream.flush()
        finally:
            self.abort()

    def abort(self) -> None:
        """Ends the stream. Standard output stays open."""
        stream, self.stream = self.stream, io.BytesIO()
        if stream is not sys.stdout.buffer:
            with contextlib.suppress(OSError):
                stream.close()
