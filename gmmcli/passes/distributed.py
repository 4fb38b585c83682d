"""The processes that torchrun starts, as the Group of one fit. A process that it did not start is alone.

- `place`: rank and number of processes, from the environment. It imports no torch.
- `together`: the group, for as long as its context lasts.

Sums go over gloo on the CPU and NCCL on CUDA. An error of one process ends all. The process reports it in the store
that all share, and exits. The others find the connection closed, see who reported, and exit silently. torchrun may
then start all of them again. That helps if a process was killed, but not if the data is wrong: such an error is kept
in torchrun's store and raised again at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gmmcli.errors import GmmError, UsageError
from gmmcli.passes.execution import ALONE, Group

if TYPE_CHECKING:
    from torch import Tensor

TIMEOUT = 600.0  # seconds that a process waits for the others; they are behind it by less than a pass
LAST_WORDS = 3.0  # seconds until the report of another process must have arrived
LASTING = (2, 3, 4, 5)  # exit codes of errors that another attempt would meet again


class ProcessLostError(GmmError):
    """Another process has ended, or has not answered in time, and has not said why."""


@dataclass(frozen=True)
class Place:
    """Position of this process among all.

    rank: among `size` processes. local_rank: among the `local_size` processes of this host. attempt: number of times
    that torchrun has started all processes again.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    attempt: int = 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1


def place() -> Place:
    """Rank and number of processes, from the variables that torchrun sets."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return Place()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    defaults = ("0", "1", "0", "1", "0")
    return Place(*(int(os.environ.get(name, default)) for name, default in zip(names, defaults, strict=True)))


def own_device(name: str) -> str:
    """The device of this process on a host with several processes and CUDA devices."""
    here = place()
    if here.local_size == 1 or name not in ("auto", "cuda"):
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{here.local_rank % count}" if count else name


@contextmanager
def together(word: Callable[[BaseException], str] = str) -> Iterator[Group]:
    """The processes that torchrun has started, or this process alone. word: the line that reports an error.

    An error that leaves the context ends all processes. The first process that it reaches raises it, the others raise
    SystemExit. Raises ProcessLostError if another process ended without a report, or has not answered for GMM_TIMEOUT
    seconds, by default TIMEOUT.
    """
    here = place()
    if here.alone:
        yield ALONE
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    wait = timedelta(seconds=_timeout())
    run, rank, size = next(rendezvous("env://", timeout=wait))
    attempt = PrefixStore(f"gmm attempt {here.attempt}", run)
    words = _Words(attempt, PrefixStore("gmm", run), here, word)
    words.recall()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=size, timeout=wait)
    try:
        yield _ranks(here)
    except (Exception, KeyboardInterrupt) as error:
        if not words.tell(error):
            raise SystemExit(1) from None
        raise
    finally:
        dist.destroy_process_group()


def _timeout() -> float:
    given = os.environ.get("GMM_TIMEOUT", "")
    try:
        return float(given or TIMEOUT)
    except ValueError:
        raise UsageError(
            "it is not a number of seconds", subject=f"GMM_TIMEOUT {given!r}", remedy="give a number of seconds"
        ) from None


@dataclass(frozen=True)
class _Words:
    """Reports of errors in torch's stores: one for this attempt, and one for all attempts."""

    attempt: Any
    run: Any
    here: Place
    word: Callable[[BaseException], str]

    def recall(self) -> None:
        """Raises the error that ended an earlier attempt and would end this one."""
        if not self.here.attempt or not self.run.check(["error"]):
            return
        code, _, message = self.run.get("error").decode().partition(" ")
        if self.here.rank:
            raise SystemExit(int(code))
        lasting = GmmError(message)
        lasting.exit_code = int(code)
        raise lasting

    def tell(self, error: BaseException) -> bool:
        """Whether this process reports the error to the user: only the first one does."""
        try:
            if isinstance(error, ProcessLostError):
                end = time.monotonic() + LAST_WORDS
                while not self.attempt.check(["spoken"]):
                    if time.monotonic() > end:
                        return True
                    time.sleep(0.05)
                return False
            if self.attempt.add("speakers", 1) > 1:
                return False
            self.attempt.set("spoken", "")
            code = getattr(error, "exit_code", 1)
            if code in LASTING:
                self.run.set("error", f"{code} {self.word(error)}")
        except RuntimeError:  # the store is gone
            pass
        return True


def _ranks(here: Place) -> Group:
    """The group over torch.distributed."""
    import torch
    import torch.distributed as dist

    class Ranks(Group):
        rank, size = here.rank, here.size

        def sum(self, numbers: Tensor) -> Tensor:
            return self._reduced(numbers, dist.ReduceOp.SUM)

        def greatest(self, numbers: Tensor) -> Tensor:
            return self._reduced(numbers, dist.ReduceOp.MAX)

        def joined(self, rows: Tensor) -> Tensor:
            counts = [int(n) for n in self._gathered(torch.tensor([len(rows)]))]
            padded = rows.new_zeros(max(counts), *rows.shape[1:])
            padded[: len(rows)] = rows
            return torch.cat([part[:n] for part, n in zip(self._gathered(padded), counts, strict=True)])

        def _reduced(self, numbers: Tensor, how: Any) -> Tensor:
            found = numbers.clone()
            _heard(lambda: dist.all_reduce(found, how))
            return found

        def _gathered(self, numbers: Tensor) -> list[Tensor]:
            found = [torch.empty_like(numbers) for _ in range(self.size)]
            _heard(lambda: dist.all_gather(found, numbers.contiguous()))
            return found

    return Ranks()


def _heard(exchange: Callable[[], object]) -> None:
    """Runs an exchange between processes. Raises ProcessLostError if one does not take part."""
    try:
        exchange()
    except RuntimeError as error:
        reason = re.sub(r"^\[\S*\] ", "", " ".join(str(error).splitlines()[:1]))
        raise ProcessLostError(f"another process has ended or does not answer: {reason}") from error
