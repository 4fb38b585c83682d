"""The options of `gmm fit` for long work: what is kept of it on the way, and when it ends.

- `Running`: the options. `parse_duration`, `parse_every`: `90s`, `10m`, `1h30m`; or a number of passes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gmmcli.cli.options import REPORT
from gmmcli.errors import UsageError
from gmmcli.storage.addresses import beside
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.choosing.store import FolderStore
    from gmmcli.fitting.checkpoint import Checkpoint, Every
    from gmmcli.fitting.options import FitOptions
    from gmmcli.passes.group import Group

LONG = "Long fits"
ANY = ("threads", "device")  # with which a fit may go on, whatever they were
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Running:
    """What is kept of a fit on its way, and when it ends."""

    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Keep the state of the fit in this file, also when it is interrupted. Default: none.",
            rich_help_panel=LONG,
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How often it is written: a time, as 60s, 10m or 2h, or a number of passes. Default: 60s.",
            rich_help_panel=LONG,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the --checkpoint as if the fit had never stopped, or begin where there is none. Of "
            "several fits, keep each that is done in the folder MODEL.cells until all are, and go on from those that "
            "are there.",
            rich_help_panel=LONG,
        ),
    ] = False
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="End with the best so far after this time, as 90s, 10m or 1h30m, and the pass under way. "
            "Default: none.",
            rich_help_panel=LONG,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the rows, the memory and the passes that the fit would take, without fitting.",
            rich_help_panel=LONG,
        ),
    ] = False
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(
            "--log-format",
            help="Of --log-every. json: an object on a line of stderr, every pass unless --log-every says how often.",
            rich_help_panel=REPORT,
        ),
    ] = "text"

    def check(self, several: bool) -> None:
        """Raises UsageError for what does not go together. several: whether several fits are made."""
        if several and self.checkpoint is not None:
            raise UsageError("--checkpoint is of a single fit: of several, --resume keeps those that are done")
        if self.checkpoint is None and self.checkpoint_every is not None:
            raise UsageError("--checkpoint-every applies to a --checkpoint FILE: name one")
        if self.resume and not several and self.checkpoint is None:
            raise UsageError("--resume goes on from a --checkpoint FILE: name one")
        parse_every("--checkpoint-every", self.checkpoint_every)
        if self.time_limit is not None:
            parse_duration("--time-limit", self.time_limit)

    def late(self, begin: float, group: Group) -> Callable[[], bool]:
        """Whether the time is up since `begin`, by time.monotonic(): for all processes when it is for one."""
        if self.time_limit is None:
            return lambda: False
        import torch

        end = begin + parse_duration("--time-limit", self.time_limit)
        return lambda: bool(group.greatest(torch.tensor([float(time.monotonic() > end)], dtype=torch.float64)))

    def store(self, output: str, key: Any) -> FolderStore | None:
        """Where those of several fits that are done are kept under --resume. key: what else they depend on."""
        if not self.resume:
            return None
        from gmmcli.choosing.store import FolderStore

        return FolderStore(beside(output, ".cells"), key)

    def checkpoints(self, key: Mapping[str, Any], begin: float, writes: bool) -> Checkpoint | None:
        """The checkpoint of a fit that depends on `key`; None if nothing is saved."""
        if self.checkpoint is None:
            return None
        from gmmcli.fitting.checkpoint import Checkpoint

        every = parse_every("--checkpoint-every", self.checkpoint_every)
        return Checkpoint(self.checkpoint, every, key=key, resume=self.resume, writes=writes, begin=begin)


def checkpoint_key(
    options: FitOptions,
    files: Sequence[tuple[str, int, int]],
    columns: Sequence[str],
    weights: str | None,
    missing: str,
) -> dict[str, Any]:
    """What a fit depends on, by the names that the user knows: options, columns, files with their sizes."""
    chosen = {f"--{name.replace('_', '-')}": value for name, value in asdict(options).items() if name not in ANY}
    columns_and_rows = {"columns": list(columns), "--weights": weights, "--missing": missing}
    return chosen | columns_and_rows | {"files": [list(file) for file in files]}


def parse_duration(option: str, text: str) -> float:
    """Seconds. Raises UsageError naming the option."""
    parts = re.fullmatch(r"((?:[0-9]+(?:\.[0-9]+)?[dhms])+)|([0-9]+(?:\.[0-9]+)?)", text.strip())
    if parts is None:
        raise UsageError(f"{option} {printable(text)}: give a time such as 90s, 10m or 1h30m")
    if parts[2]:
        return float(parts[2])
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([dhms])", parts[1]))


def parse_every(option: str, text: str | None) -> Every:
    """A time with a unit, or a number of passes; None is the default."""
    from gmmcli.fitting.checkpoint import Every

    if text is None:
        return Every()
    if text.strip().isdecimal():
        if int(text) < 1:
            raise UsageError(f"{option} {text}: must be at least 1")
        return Every(float("inf"), int(text))
    return Every(parse_duration(option, text))
