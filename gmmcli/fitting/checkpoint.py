"""The state of a fit in a file, so that one that is interrupted goes on as if it had never been.

A torch.save file of plain data, written whole or not at all: the standing of the race, what it depends on (options,
columns, data), and the seconds that it took. One of other options, or of data that has changed since, is refused.
The file may be a remote one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import torch

from gmmcli.errors import InputError
from gmmcli.fitting.intervals import Every
from gmmcli.fitting.search import Keeper, Standing
from gmmcli.fitting.state import plain, restored
from gmmcli.storage.files import replace
from gmmcli.storage.filesystem import open_if_there
from gmmcli.storage.names import listing, printable

FORMAT = "gmm checkpoint"
VERSION = 2  # raised when the content or the bits of a pass change: a resumed fit must not mix bits


class Checkpoint(Keeper):
    """The state of one fit in the file `path`.

    every: how often it is written; key: what the fit depends on, as JSON values by name; data: the fingerprint of the
    rows; resume: whether to go on from the file where there is one; writes: whether this process is the one that
    writes; begin: time.monotonic() when the fit began.
    """

    def __init__(
        self,
        path: str,
        every: Every,
        *,
        key: Mapping[str, Any],
        data: str,
        resume: bool,
        writes: bool = True,
        begin: float | None = None,
    ) -> None:
        self._path, self._every, self._key, self._data = path, every, dict(key), data
        self._resume, self._writes = resume, writes
        self._begin = time.monotonic() if begin is None else begin
        self._before = 0.0  # seconds of earlier attempts
        self._newest: Standing | None = None
        self._written: Standing | None = None
        self.there = False  # whether the file has a standing of this fit
        self._at, self._passes = time.monotonic(), 0

    @property
    def seconds(self) -> float:
        """That the fit has taken, in all attempts."""
        return self._before + time.monotonic() - self._begin

    def kept(self) -> Standing | None:
        """The standing in the file; None where there is no file or it is not wanted.

        Raises InputError for a file that is none of ours and, where it is to be gone on from, of another fit or data.
        """
        found = read_checkpoint(self._path)  # if only to see that no other file is written over
        if found is None or not self._resume:
            return None
        label = printable(self._path)
        others = [name for name in self._key if self._key[name] != found["key"].get(name)]
        if others:
            raise InputError(f"{label}: of a fit with other {listing(others)}: give the same, or remove the file")
        if found["data"] != self._data:
            raise InputError(f"{label}: the data has changed since it was written: remove it to start anew")
        self._before = found["seconds"]
        self.there = True
        return found["standing"]

    def passed(self, standing: Standing) -> None:
        """Takes in the standing, and writes it when that is due."""
        self._newest = standing.copy()
        self._passes += 1
        if time.monotonic() - self._at >= self._every.seconds or self._passes >= self._every.passes:
            self.write()

    def stopped(self) -> None:
        """Writes the newest standing."""
        self.write()

    def write(self) -> None:
        """Writes the newest standing, unless it is in the file."""
        self._at, self._passes = time.monotonic(), 0
        if not self._writes or self._newest is None or self._newest is self._written:
            return
        content = {
            "format": FORMAT,
            "version": VERSION,
            "key": self._key,
            "data": self._data,
            "seconds": self.seconds,
            "standing": plain(self._newest),
        }
        buffer = io.BytesIO()  # torch.save leaves a file that it could not finish open
        torch.save(content, buffer)
        try:
            replace(self._path, buffer.getbuffer())
        except Exception:  # which ends the fit: `stopped` is not to meet the same again
            self._newest = None
            raise
        self._written = self._newest
        self.there = True


def read_checkpoint(path: str) -> dict[str, Any] | None:
    """The content of a checkpoint file, None where there is none.

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
        raise InputError(f"{label}: {error.strerror or error}") from None
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, an OSError among them for what is cut short
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{label}: not a checkpoint of gmm, or cut short: remove it to start anew")
    if found.get("version") != VERSION:
        raise InputError(f"{label}: of another version of gmm: remove it to start anew")
    try:
        if not isinstance(standing := restored(found["standing"]), Standing):
            raise ValueError("no standing")
        return {
            "key": dict(found["key"]),
            "data": str(found["data"]),
            "seconds": float(found["seconds"]),
            "standing": standing,
        }
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{label}: damaged: remove it to start anew") from None
