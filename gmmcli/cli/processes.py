"""The processes that a command runs in, as `gmm` hands them to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import typer

from gmmcli.errors import UsageError
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.distributed import own_device, place
from gmmcli.passes.group import ALONE, Group


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


def joined_lines(group: Group, lines: Sequence[str]) -> list[str]:
    """The lines of all processes, one process's behind another's; there is no line break in any."""
    if group.size == 1:
        return [*lines]
    import torch

    content = list("".join(f"{line}\n" for line in lines).encode())
    joined = group.joined(torch.tensor(content, dtype=torch.uint8))
    return bytes(joined.tolist()).decode().split("\n")[:-1]


def among_processes(options: FitOptions) -> FitOptions:
    """The options with what processes of one host share: its processors, and its CUDA devices."""
    here = place()
    if here.local_size == 1:
        return options
    return replace(options, device=own_device(options.device), threads=options.threads or threads_here())


def threads_here() -> int:
    """Processors for each process of this host."""
    from gmmcli.passes.workers import default_threads

    return max(1, default_threads() // place().local_size)
