"""The checkpoint of a fit: its progress in a file, from which an interrupted fit goes on as if it had never stopped.

It is a torch.save file of plain data, written whole or not at all: the progress of the search, what the fit depends
on (options, columns, data), and the seconds it took. A checkpoint of other options, or of data that has changed
since, is refused. The file may be a remote one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import torch

from gmmcli.errors import InputError
from gmmcli.fitting.options import Every
from gmmcli.fitting.search import Keeper, Progress
from gmmcli.fitting.state import plain, restored
from gmmcli.storage.files import replace
from gmmcli.storage.filesystem import open_if_there
from gmmcli.storage.names import listing, printable

FORMAT = "gmm checkpoint"
VERSION = 3  # raised when the content or the bits of a pass change: a resumed fit must not mix bits
ANEW = "remove it to start anew"


class Checkpoint(Keeper):
    """The progress of one fit in the file `path`.

    every: how often it is written. key: what the fit depends on, as JSON values by name. resume: whether to go on
    from the file if it is there. writes: whether this process is the one that writes. begin: time.monotonic() at the
    start of the fit.

    Raises InputError for a file that is no checkpoint of this version and, if the fit is to go on from it, for one of
    another fit. So a file that cannot be used is refused before any work, and no other file is ever overwritten.
    """

    def __init__(
        self,
        path: str,
        every: Every,
        *,
        key: Mapping[str, Any],
        resume: bool,
        writes: bool = True,
        begin: float | None = None,
    ) -> None:
        self.path = path
        self._every, self._key, self._writes = every, dict(key), writes
        self._begin = time.monotonic() if begin is None else begin
        self._data = ""
        self._earlier = 0.0  # seconds of earlier attempts
        self._newest: Progress | None = None
        self._written: Progress | None = None
        self.exists = False  # whether the file holds progress of this fit
        self._at, self._passes = time.monotonic(), 0
        found = read_checkpoint(path)
        self._found = found if resume else None
        if self._found is not None:
            others = [name for name in self._key if self._key[name] != self._found["key"].get(name)]
            if others:
                raise InputError(
                    f"it is of a fit with other {listing(others)}",
                    subject=printable(path),
                    remedy="give the same, or remove the file",
                )

    @property
    def seconds(self) -> float:
        """Seconds that the fit has taken, in all attempts."""
        return self._earlier + time.monotonic() - self._begin

    def saved(self, data: str) -> Progress | None:
        """The progress in the file, or None if there is none to go on from. Raises InputError for other data."""
        self._data, found = data, self._found
        if found is None:
            return None
        if found["data"] != data:
            raise InputError("the data has changed since it was written", subject=printable(self.path), remedy=ANEW)
        self._earlier = found["seconds"]
        self.exists = True
        return found["progress"]

    def passed(self, progress: Progress) -> None:
        """Remembers the progress, and writes it when that is due."""
        self._newest = progress.copy()
        self._passes += 1
        if time.monotonic() - self._at >= self._every.seconds or self._passes >= self._every.passes:
            self.write()

    def stopped(self) -> None:
        """Writes the newest progress."""
        self.write()

    def write(self) -> None:
        """Writes the newest progress, unless the file has it already."""
        self._at, self._passes = time.monotonic(), 0
        if not self._writes or self._newest is None or self._newest is self._written:
            return
        content = {
            "format": FORMAT,
            "version": VERSION,
            "key": self._key,
            "data": self._data,
            "seconds": self.seconds,
            "progress": plain(self._newest),
        }
        buffer = io.BytesIO()  # torch.save leaves a file open that it could not finish
        torch.save(content, buffer)
        try:
            replace(self.path, buffer.getbuffer())
        except Exception:  # it ends the fit, and `stopped` must not meet the same error again
            self._newest = None
            raise
        self._written = self._newest
        self.exists = True


def read_checkpoint(path: str) -> dict[str, Any] | None:
    """The content of a checkpoint file, or None if there is no such file.

    Raises InputError for any other file, GmmError where a remote one cannot be reached.
    """
    label = printable(path)
    try:
        stream = open_if_there(path)
        if stream is None:
            return None
        with stream:
            content = stream.read()
    except OSError as error:
        raise InputError(f"{error.strerror or error}", subject=label) from None
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # of many kinds; an OSError is among them, for a file that is cut short
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError("it is not a checkpoint of gmm, or it is cut short", subject=label, remedy=ANEW)
    if found.get("version") != VERSION:
        raise InputError("it is a checkpoint of another version of gmm", subject=label, remedy=ANEW)
    try:
        if not isinstance(progress := restored(found["progress"]), Progress):
            raise ValueError("no progress")
        return {
            "key": dict(found["key"]),
            "data": str(found["data"]),
            "seconds": float(found["seconds"]),
            "progress": progress,
        }
    except (KeyError, TypeError, ValueError):
        raise InputError("it is damaged", subject=label, remedy=ANEW) from None
