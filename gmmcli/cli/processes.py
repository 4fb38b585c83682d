"""The processes that torchrun started: their group, their shares of a host, their exchange of numbers and lines.

- `group_of`: the group that `gmm` hands to a command. `refuse_stdin`: refuses standard input to several processes.
  `among_processes`, `threads_here`: their shares of a host. `sums_over`, `joined_lines`: exchange numbers and lines.
- `library_imports`: imports torch and pyarrow in less time.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import typer

from gmmcli.errors import UsageError
from gmmcli.fitting.options import FitOptions
from gmmcli.passes.distributed import own_device, place
from gmmcli.passes.execution import ALONE, Group


def group_of(context: typer.Context) -> Group:
    """The processes that run this command together."""
    return context.obj if isinstance(context.obj, Group) else ALONE


def refuse_stdin(paths: Sequence[str] | None, group: Group) -> None:
    """Raises UsageError where several processes would have to read standard input."""
    if group.size > 1 and (not paths or "-" in paths):
        raise UsageError("standard input cannot be read by several processes", remedy="name files")


def sums_over(group: Group, *numbers: int) -> list[int]:
    """The sums of whole numbers over all processes."""
    if group.size == 1:
        return [*numbers]
    import torch

    return group.sum(torch.tensor(numbers)).tolist()


def joined_lines(group: Group, lines: Sequence[str]) -> list[str]:
    """The lines of all processes, in the order of the processes; no line has a line break."""
    if group.size == 1:
        return [*lines]
    import torch

    content = list("".join(f"{line}\n" for line in lines).encode())
    joined = group.joined(torch.tensor(content, dtype=torch.uint8))
    return bytes(joined.tolist()).decode().split("\n")[:-1]


def among_processes(options: FitOptions) -> FitOptions:
    """The options for one of several processes that share the processors and CUDA devices of a host."""
    here = place()
    if here.local_size == 1:
        return options
    return replace(options, device=own_device(options.device), threads=options.threads or threads_here())


def threads_here() -> int:
    """Processors for each process of this host."""
    from gmmcli.passes.workers import default_threads

    return max(1, default_threads() // place().local_size)


@contextmanager
def library_imports() -> Iterator[None]:
    """Spares the collector of cyclic garbage the objects that the imports inside make, for good.

    Modules, classes and functions live until the process ends. A search through them finds nothing, but takes 0.13 of
    the 1.25 s of importing torch, and another 0.2 s when the process ends. Nothing changes where torch was imported
    before, by a caller who has objects of their own.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
