"""The processes that a command runs in, as `gmm` hands them to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import typer

from gmmcli.distributed import own_device, place
from gmmcli.errors import UsageError
from gmmcli.fitting.group import ALONE, Group
from gmmcli.fitting.options import FitOptions


def group_of(context: typer.Context) -> Group:
    """The processes that run this command together."""
    return context.obj if isinstance(context.obj, Group) else ALONE


def refuse_stdin(paths: Sequence[str] | None, group: Group) -> None:
    """Raises UsageError where several processes would have to read standard input."""
    if group.size > 1 and (not paths or "-" in paths):
        raise UsageError("standard input cannot be read by several processes: name files")


def sums_over(group: Group, *numbers: int) -> list[int]:
    """The sums of whole numbers over all processes."""
    if group.size == 1:
        return [*numbers]
    import torch

    return group.sum(torch.tensor(numbers)).tolist()


def among_processes(options: FitOptions) -> FitOptions:
    """The options with what processes of one host share: its processors, and its CUDA devices."""
    here = place()
    if here.local_size == 1:
        return options
    from gmmcli.fitting.workers import default_threads

    threads = options.threads or max(1, default_threads() // here.local_size)
    return replace(options, device=own_device(options.device), threads=threads)
