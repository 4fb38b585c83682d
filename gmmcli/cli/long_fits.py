"""The options of `gmm fit` for long work: its checkpoint, its end, and a line on what an interrupted fit has saved.

- `Running`: the options. `parse_duration`, `parse_every`: `90s`, `10m`, `1h30m`; or a number of passes.
- `saved_by_fit`, `saved_by_grid`: the words of that line; `interruptible` prints it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gmmcli.cli.console import Console, as_flag
from gmmcli.cli.options import REPORT
from gmmcli.declared import Panel
from gmmcli.errors import Option, UsageError
from gmmcli.fitting.options import Every, FitOptions
from gmmcli.storage.addresses import beside
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.choosing.cells import FolderStore
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.checkpoint import Checkpoint
    from gmmcli.passes.execution import Group

LONG = Panel("Long fits")
NO_RESULT_DEPENDS_ON = ("threads", "device")  # a fit goes on with others
SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Running:
    """The options of a long fit."""

    checkpoint: str | None = LONG.field(
        None, "FILE", "Keep the state of the fit in this file, also when it is interrupted. Default: none."
    )
    checkpoint_every: str | None = LONG.field(
        None, "TIME", "How often it is written: a time, as 60s, 10m or 2h, or a number of passes. Default: 60s."
    )
    resume: bool = LONG.field(
        False,
        "",
        "Go on from the --checkpoint as if the fit had never stopped, or begin where there is none. Of several fits, "
        "keep each that is done in the folder MODEL.cells until all are, and go on from those that are there.",
    )
    time_limit: str | None = LONG.field(
        None,
        "TIME",
        "End with the best so far after this time, as 90s, 10m or 1h30m, and the pass under way. Default: none.",
    )
    dry_run: bool = LONG.field(
        False, "", "Print the rows, the memory and the passes that the fit would take, without fitting."
    )
    log_format: Literal["text", "json"] = REPORT.field(
        "text",
        "",
        "Of --log-every. json: an object on a line of stderr, every pass unless --log-every says how often.",
    )

    def check(self, several: bool) -> None:
        """Raises UsageError for what does not go together. several: whether several fits are made."""
        if several and self.checkpoint is not None:
            given, remedy = Option("checkpoint", self.checkpoint), "of several, --resume keeps those that are done"
            raise UsageError("a checkpoint is of a single fit", subject=given, remedy=remedy)
        if self.checkpoint is None and self.checkpoint_every is not None:
            every = Option("checkpoint_every", self.checkpoint_every)
            raise UsageError("applies to a --checkpoint FILE", subject=every, remedy="name one")
        if self.resume and not several and self.checkpoint is None:
            raise UsageError("goes on from a --checkpoint FILE", subject=Option("resume"), remedy="name one")
        parse_every("checkpoint_every", self.checkpoint_every)
        if self.time_limit is not None:
            parse_duration("time_limit", self.time_limit)

    def late(self, begin: float, group: Group) -> Callable[[], bool]:
        """Whether the time is up since `begin`, by time.monotonic(): for all processes when it is for one."""
        if self.time_limit is None:
            return lambda: False
        import torch

        end = begin + parse_duration("time_limit", self.time_limit)
        return lambda: bool(group.greatest(torch.tensor([float(time.monotonic() > end)], dtype=torch.float64)))

    def store(self, output: str, key: Any) -> FolderStore | None:
        """The folder for finished fits under --resume. key: what these depend on beside options and data."""
        if not self.resume:
            return None
        from gmmcli.choosing.cells import FolderStore

        return FolderStore(beside(output, ".cells"), key)

    def checkpoint_of(self, key: Mapping[str, Any], begin: float, writes: bool) -> Checkpoint | None:
        """The checkpoint of a fit that depends on `key`; None without --checkpoint."""
        if self.checkpoint is None:
            return None
        from gmmcli.fitting.checkpoint import Checkpoint

        every = parse_every("checkpoint_every", self.checkpoint_every)
        return Checkpoint(self.checkpoint, every, key=key, resume=self.resume, writes=writes, begin=begin)


def checkpoint_key(options: FitOptions, blocks: SourceBlocks, missing: str) -> dict[str, Any]:
    """Everything that a fit depends on, by the user's names: options, columns, files with their sizes."""
    chosen = {as_flag(Option(name)): v for name, v in asdict(options).items() if name not in NO_RESULT_DEPENDS_ON}
    columns_and_rows = {"columns": list(blocks.columns), "--weights": blocks.weights, "--missing": missing}
    return chosen | columns_and_rows | {"files": [list(file) for file in blocks.files]}


def parse_duration(option: str, text: str) -> float:
    """Seconds. Raises UsageError naming the option."""
    parts = re.fullmatch(r"((?:[0-9]+(?:\.[0-9]+)?[dhms])+)|([0-9]+(?:\.[0-9]+)?)", text.strip())
    if parts is None:
        raise UsageError("give a time such as 90s, 10m or 1h30m", subject=Option(option, printable(text)))
    if parts[2]:
        return float(parts[2])
    return sum(float(number) * SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)([dhms])", parts[1]))


def parse_every(option: str, text: str | None) -> Every:
    """A time with a unit, or a number of passes; None is the default."""
    if text is None:
        return Every()
    if text.strip().isdecimal():
        if int(text) < 1:
            raise UsageError("must be at least 1", subject=Option(option, text))
        return Every(float("inf"), int(text))
    return Every(parse_duration(option, text))


@contextmanager
def interruptible(console: Console, words: Callable[[], str]) -> Iterator[None]:
    """Notes what is saved where the block is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter comes from a SIGTERM
        console.note(f"gmm: interrupted: {words()}")
        raise


def saved_by_fit(checkpoint: Checkpoint | None) -> str:
    """The words on a single fit."""
    if checkpoint is None:
        return "nothing of the fit is kept: --checkpoint FILE would keep it"
    shown = printable(checkpoint.path)
    if not checkpoint.exists:
        return f"nothing is kept in {shown} yet"
    return f"the fit is kept in {shown} as far as it came: --resume goes on from it"


def saved_by_grid(store: FolderStore | None, fits: int) -> str:
    """The words on so many fits."""
    if store is None:
        return "none of the fits is kept: --resume would keep those that are done"
    if not store.cells:
        return f"no fit is kept, as none of {fits} was done"
    return f"{store.cells} of {fits} fits are kept in {printable(store.folder)}: the same command goes on from them"
