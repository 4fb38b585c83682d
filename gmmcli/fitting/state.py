"""The progress of a fit as plain data, which torch.load takes with weights_only=True, and back.

- `plain`: a dataclass becomes a dictionary with its name; containers, numbers and tensors stay as they are.
- `restored`: the reverse. It raises ValueError for anything else.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Parameters, Unconstrained
from gmmcli.fitting.acceleration import AcceleratedState, Local, Point
from gmmcli.fitting.em import EMState
from gmmcli.fitting.engine import State
from gmmcli.fitting.loop import PassRecord, Reset, Run
from gmmcli.fitting.search import Heat, Progress
from gmmcli.fitting.secants import Secants
from gmmcli.fitting.stopping import STOP_REASONS, StopReason
from gmmcli.passes.sums import SufficientStatistics

KIND = "kind"
LEFT_OUT = {"Run": {"view"}, "Heat": {"runs"}}  # the fit sets the first anew, the progress the second


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
