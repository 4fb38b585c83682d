"""Long fits: options of checkpoint and time limit, and the note on what an interrupted fit has saved.

- `Running`: the options. `parse_duration`, `parse_every`: `90s`, `10m`, `1h30m`; or a number of passes.
- `saved_by_fit`, `saved_by_grid`: the text of that note. `ends_named` prints it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gmmcli.cli.console import Console, as_flag
from gmmcli.cli.options import REPORT
from gmmcli.declared import Panel
from gmmcli.errors import Option, RowsError, UsageError
from gmmcli.fitting.options import Every, FitOptions
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.choosing.cells import FolderStore
    from gmmcli.data.source_blocks import SourceBlocks
    from gmmcli.fitting.checkpoint import Checkpoint
    from gmmcli.passes.execution import Group

LONG = Panel("Long fits")
NO_RESULT_DEPENDS_ON = ("threads", "device")  # a resumed fit may have others
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
        """Raises UsageError for options that exclude each other. several: whether several fits are made."""
        if several and self.checkpoint is not None:
            given, remedy = Option("checkpoint", self.checkpoint), "of several, --resume keeps those that are done"
            raise UsageError("a checkpoint is of a single fit", subject=given, remedy=remedy)
        if self.checkpoint is None and self.checkpoint_every is not None:
            every = Option("checkpoint_every", self.checkpoint_every)
            raise UsageError("applies to a --checkpoint FILE", subject=every, remedy="name one")
        if self.resume and not several and self.checkpoint is None:
            raise UsageError("goes on from a --checkpoint FILE", subject=Option("resume"), remedy="name one")
        parse_every(self.checkpoint_every)
        if self.time_limit is not None:
            parse_duration("time_limit", self.time_limit)

    def late(self, begin: float, group: Group) -> Callable[[], bool]:
        """A function: whether the time limit has passed in any process. begin: time.monotonic() at the start."""
        if self.time_limit is None:
            return lambda: False
        import torch

        end = begin + parse_duration("time_limit", self.time_limit)
        return lambda: bool(group.greatest(torch.tensor([float(time.monotonic() > end)], dtype=torch.float64)))


def checkpoint_key(options: FitOptions, blocks: SourceBlocks, missing: str) -> dict[str, Any]:
    """Everything that a fit depends on, by the names that users know: options, columns, files with their sizes."""
    chosen = {as_flag(Option(name)): v for name, v in asdict(options).items() if name not in NO_RESULT_DEPENDS_ON}
    columns_and_rows = {"columns": list(blocks.columns), "--weights": blocks.weights, "--missing": missing}
    return chosen | columns_and_rows | {"files": [list(file) for file in blocks.files]}


def parse_duration(option: str, text: str) -> float:
    """The seconds of a duration. Raises UsageError naming the option."""
    parts = re.fullmatch(r"((?:[0-9]+(?:\.[0-9]+)?[dhms])+)|([0-9]+(?:\.[0-9]+)?)", text.strip())
    if parts is None:
        raise UsageError("give a time such as 90s, 10m or 1h30m", subject=Option(option, printable(text)))
    if parts[2]:
        return float(parts[2])
    return sum(float(number) * SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)([dhms])", parts[1]))


def parse_every(text: str | None) -> Every:
    """The interval between checkpoints: a time with a unit, or a number of passes. None is the default."""
    if text is None:
        return Every()
    if text.strip().isdecimal():
        if int(text) < 1:
            raise UsageError("must be at least 1", subject=Option("checkpoint_every", text))
        return Every(float("inf"), int(text))
    return Every(parse_duration("checkpoint_every", text))


@contextmanager
def ends_named(label: str, console: Console, saved: Callable[[], str]) -> Iterator[None]:
    """Adds the name of the data to errors about rows, and notes what an interrupted fit has saved."""
    try:
        yield
    except RowsError as error:
        raise error.of(label) from None
    except (KeyboardInterrupt, SystemExit):  # the latter comes from a SIGTERM
        console.note(f"gmm: interrupted: {saved()}")
        raise


def saved_by_fit(checkpoint: Checkpoint | None) -> str:
    """The note on a single fit."""
    if checkpoint is None:
        return "nothing of the fit is kept: --checkpoint FILE would keep it"
    shown = printable(checkpoint.path)
    if not checkpoint.exists:
        return f"nothing is kept in {shown} yet"
    return f"the fit is kept in {shown} as far as it came: --resume goes on from it"


def saved_by_grid(store: FolderStore | None, fits: int) -> str:
    """The note on a grid. fits: number of its fits."""
    if store is None:
        return "none of the fits is kept: --resume would keep those that are done"
    if not store.cells:
        return f"no fit is kept, as none of {fits} was done"
    return f"{store.cells} of {fits} fits are kept in {printable(store.folder)}: the same command goes on from them"
