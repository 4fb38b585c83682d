"""The checkpoint of a fit: its progress in a file, from which an interrupted fit goes on as if it had never stopped.

The file is written by torch.save, whole or not at all. It holds its version, what the fit depends on (options,
columns, data), the seconds it took, and the progress of the search. The progress is a torch.save file of its own
inside, so that the version is read before it. Both are opened with weights_only=True, which makes tensors, numbers,
text, containers and the classes of `_classes`, and nothing else. A checkpoint of another version, of other options,
or of data that has changed since, is refused. The file may be a remote one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, Notice, NumericalError, Option, Remedy
from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.acceleration import AcceleratedState, Local, Point
from gmmcli.fitting.em import EMState
from gmmcli.fitting.engine import State
from gmmcli.fitting.loop import Heat, Keeper, PassRecord, Progress, Reset, Run
from gmmcli.fitting.options import Every
from gmmcli.fitting.secants import Secants
from gmmcli.fitting.stopping import StopReason
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.storage.files import replace
from gmmcli.storage.filesystem import open_if_there
from gmmcli.storage.names import listing, printable

FORMAT = "gmm checkpoint"
VERSION = 4  # raised when the content or the bits of a pass change: a resumed fit must not mix bits
ANEW = "remove it to start anew"


class Checkpoint(Keeper):
    """The progress of one fit in the file `path`.

    every: the interval between two writings. key: everything that the fit depends on, as JSON values by
    name. resume: whether to go on from the file if it is there. writes: whether this process is the one that writes.
    begin: time.monotonic() at the start of the fit. exists: whether the file holds progress of this fit.

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
        self.path, self.exists = path, False
        self._every, self._key, self._writes = every, dict(key), writes
        self._begin = time.monotonic() if begin is None else begin
        self._data = ""
        self._newest: Progress | None = None  # None again once it is written
        self._at, self._passes = time.monotonic(), 0  # of the last writing, and passes since
        content = read_checkpoint(path)
        self._earlier = content if resume else None
        others = [name for name in self._key if self._earlier and self._key[name] != self._earlier["key"].get(name)]
        if others:
            raise InputError(
                f"it is of a fit with other {listing(others)}",
                subject=printable(path),
                remedy="give the same, or remove the file",
            )

    @property
    def seconds(self) -> float:
        """Seconds that the fit has taken, in all attempts."""
        earlier = self._earlier["seconds"] if self._earlier else 0.0
        return earlier + time.monotonic() - self._begin

    def saved(self, data: str) -> Progress | None:
        """The progress in the file, or None if there is none to go on from. Raises InputError for other data."""
        self._data = data
        if self._earlier is None:
            return None
        if self._earlier["data"] != data:
            raise InputError("the data has changed since it was written", subject=printable(self.path), remedy=ANEW)
        self.exists = True
        return self._earlier.pop("progress")

    def passed(self, progress: Progress) -> None:
        """Remembers the progress, and writes it when that is due."""
        self._newest = progress.copy()
        self._passes += 1
        if time.monotonic() - self._at >= self._every.seconds or self._passes >= self._every.passes:
            self.stopped()

    def stopped(self) -> None:
        """Writes the newest progress, unless the file has it already."""
        self._at, self._passes = time.monotonic(), 0
        if not self._writes or self._newest is None:
            return
        content = {
            "format": FORMAT,
            "version": VERSION,
            "key": self._key,
            "data": self._data,
            "seconds": self.seconds,
            "progress": torch.frombuffer(_saved(self._newest), dtype=torch.uint8),
        }
        try:
            replace(self.path, _saved(content))
        except Exception:  # it ends the fit, and the next call must not meet the same error again
            self._newest = None
            raise
        self._newest, self.exists = None, True


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
            buffer = io.BytesIO(stream.read())
    except OSError as error:
        raise InputError(f"{error.strerror or error}", subject=label) from None
    content = _opened(buffer, [])
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError("it is not a checkpoint of gmm, or it is cut short", subject=label, remedy=ANEW)
    if content.get("version") != VERSION:
        raise InputError("it is a checkpoint of another version of gmm", subject=label, remedy=ANEW)
    if isinstance(progress := content.get("progress"), Tensor):
        content["progress"] = _opened(io.BytesIO(progress.numpy().tobytes()), _classes())
    kinds = {"key": dict, "data": str, "seconds": float, "progress": Progress}
    if not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise InputError("it is damaged", subject=label, remedy=ANEW)
    return content


def _saved(value: Any) -> memoryview:
    """The content of a torch.save file. It is made in memory: torch.save leaves a file open that it cannot finish."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def _opened(stream: io.BytesIO, classes: list[Any]) -> Any:
    """The value in a torch.save file of plain data and these classes. None for any other file."""
    try:
        with torch.serialization.safe_globals(classes):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds; an OSError is among them, for a file that is cut short
        return None


def _classes() -> list[Any]:
    """The classes of which progress is made."""
    from gmmcli.fitting.gradient import DescentState  # torch.optim costs EM's start-up a second

    of_engines = [AcceleratedState, DescentState, EMState, Local, Point, Secants, State, Unconstrained]
    of_search = [Heat, Parameters, PassRecord, Progress, Reset, Run, SufficientStatistics]
    of_ends = [Notice, NumericalError, Option, Remedy, StopReason]
    return [*of_engines, *of_search, *of_ends]
