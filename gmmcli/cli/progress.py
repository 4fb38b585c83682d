"""How a fit is followed while it runs: a picture on a terminal, or plain lines with --log-every.

Both are listeners of the fit's loop, called after every step of every restart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from gmmcli.cli.console import Console, table

if TYPE_CHECKING:
    from gmmcli.fitting.loop import Listener, Run

SHOWN = 12  # restarts in the picture


@contextmanager
def follow(console: Console, log_every: int | None) -> Iterator[Listener | None]:
    """The listener for a fit: lines when they are asked for, else a picture where a terminal shows it."""
    if log_every is not None:
        yield _Lines(console, log_every)
    elif console.live:
        picture = _Picture()
        with console.watch(picture):
            yield picture
    else:
        yield None


class _Lines:
    """A line for every so many passes of a restart, and for its last."""

    def __init__(self, console: Console, every: int):
        self._console = console
        self._every = every
        self._shown: dict[int, int] = {}

    def __call__(self, run: Run, elapsed: float) -> None:
        record = run.history[-1]
        due = record.passes // self._every > self._shown.get(run.restart, 0)
        if due or run.stop is not None:
            self._shown[run.restart] = record.passes // self._every
            self._console.note(
                f"restart {run.restart}  pass {record.passes}  "
                f"log-likelihood {record.log_likelihood:.6f} per row  gain {record.gain:.2e}  "
                f"remaining {record.remaining:.2e}  elapsed {elapsed:.1f} s"
                + (f"  stopped: {run.stop.name}" if run.stop is not None else "")
            )


class _Picture:
    """The newest step of each restart. Remembers only; rich draws it from a thread of its own."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[float, tuple[str, ...]]] = {}
        self._begin = time.monotonic()

    def __call__(self, run: Run, elapsed: float) -> None:
        record = run.history[-1]
        self._rows[run.restart] = (
            record.log_likelihood,
            (
                str(run.restart),
                str(record.passes),
                f"{record.log_likelihood:.6f}",
                f"{record.gain:.1e}",
                f"{record.remaining:.1e}",
                "running" if run.stop is None else run.stop.name,
            ),
        )

    def __rich__(self) -> Group:
        elapsed = Text(f"elapsed {time.monotonic() - self._begin:.1f} s", style="dim")
        rows = self._rows.copy()
        if not rows:
            return Group(Text("reading the data"), elapsed)
        best = sorted(sorted(rows, key=lambda restart: -rows[restart][0])[:SHOWN])
        header = ["restart", "pass", "log-likelihood per row", "gain", "remaining", ""]
        more = [Text(f"and {len(rows) - SHOWN} more restarts", style="dim")] if len(rows) > SHOWN else []
        return Group(table(header, [rows[restart][1] for restart in best]), *more, elapsed)
