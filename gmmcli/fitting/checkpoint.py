"""The checkpoint of a fit: its progress in a file, from which an interrupted fit goes on as if it had never stopped.

It is a torch.save file of plain data, written whole or not at all: the progress of the search, what the fit depends
on (options, columns, data), and the seconds it took. A checkpoint of other options, or of data that has changed
since, is refused. The file may be a remote one.

- `Checkpoint`: the file. `plain`: a progress as dictionaries, lists, numbers and tensors. `restored`: the reverse.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, NumericalError
from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.acceleration import AcceleratedState, Local, Point
from gmmcli.fitting.em import EMState
from gmmcli.fitting.engine import State
from gmmcli.fitting.loop import PassRecord, Reset, Run
from gmmcli.fitting.options import Every
from gmmcli.fitting.search import Heat, Keeper, Progress
from gmmcli.fitting.secants import Secants
from gmmcli.fitting.stopping import STOP_REASONS, StopReason
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.storage.files import replace
from gmmcli.storage.filesystem import open_if_there
from gmmcli.storage.names import listing, printable

FORMAT = "gmm checkpoint"
VERSION = 3  # raised when the content or the bits of a pass change: a resumed fit must not mix bits
ANEW = "remove it to start anew"
KIND = "kind"
LEFT_OUT = {"Run": {"view"}, "Heat": {"runs"}}  # the fit sets the first anew, the progress the second


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


@cache
def _kinds() -> dict[str, type]:
    from gmmcli.fitting.gradient import DescentState  # torch.optim costs EM's start-up a second

    known = (
        AcceleratedState, DescentState, EMState, Heat, Local, Parameters, PassRecord, Point, Reset, Run, Secants,
        Progress, State, SufficientStatistics, Unconstrained,
    )  # fmt: skip
    return {kind.__name__: kind for kind in known}


def plain(value: Any) -> Any:
    """The value as dictionaries, lists, tuples, numbers, text and tensors. Tensors are not copied."""
    if isinstance(value, StopReason):
        return {KIND: "StopReason", "name": value.name}
    if isinstance(value, NumericalError):
        return {KIND: "NumericalError", "problem": value.notice.problem, "error_kind": value.kind}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__
        kept = (f.name for f in fields(value) if f.name not in LEFT_OUT.get(kind, ()))
        return {KIND: kind} | {name: plain(getattr(value, name)) for name in kept}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, Tensor):
        return value.detach()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is not plain data")


def restored(value: Any) -> Any:
    """The value that `plain` was given. Raises ValueError if there is no such value."""
    if isinstance(value, dict):
        if KIND not in value:
            return {key: restored(item) for key, item in value.items()}
        given = {name: restored(item) for name, item in value.items() if name != KIND}
        return _made(value[KIND], given)
    if isinstance(value, list | tuple):
        return type(value)(restored(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value
    raise ValueError(f"{type(value).__name__} is not of the state of a fit")


def _made(kind: Any, given: dict[str, Any]) -> Any:
    try:
        if kind == "StopReason":
            return STOP_REASONS[given["name"]]
        if kind == "NumericalError":
            return NumericalError(given["problem"], given["error_kind"])
        return _kinds()[kind](**given)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no {kind!r} of the state of a fit: {error}") from None
