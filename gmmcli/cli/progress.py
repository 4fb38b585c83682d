"""Progress of a fit: a picture on a terminal, or lines with --log-every; and of rows that pass through a command.

- `follow`: the watcher of a fit or of several. Picture and lines are listeners of the fit's loop, which calls them
  after every step and at the end of every restart.
- `RowCount`: the number of rows so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import ConsoleOptions
from rich.text import Text

from gmmcli.choosing.watcher import Watcher
from gmmcli.cli.console import Console, Table, as_flag, count
from gmmcli.fitting.stopping import LEFT_BEHIND

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.cli.visualize import Visualizer
    from gmmcli.fitting.loop import Listener, Run
    from gmmcli.passes.meter import Meter

SHOWN = 12  # restarts in the picture
HEADER = ("restart", "pass", "log-likelihood\nper row", "gain", "remaining", "state")
BARS = "▁▂▃▄▅▆▇█"
SPARKS = 40  # passes of the leading restart that are drawn
WIDE = 68  # columns of a terminal that is wide enough for all of them
NARROW = (0, 1, 2, 4, 5)  # indices of the others on a narrow one


@contextmanager
def follow(
    console: Console,
    log_every: int | None,
    visualizer: Visualizer | None,
    fits: int,
    meter: Meter | None = None,
    *,
    as_json: bool = False,
) -> Iterator[Watcher]:
    """The watcher of so many fits: lines when they are asked for, else a picture where a terminal shows it.

    meter: of the passes over the rows. as_json: whether the lines are JSON objects; they are then asked for.
    """
    if as_json or log_every is not None:
        lines = _JsonLines if as_json else _Lines
        yield _Followed(lines(console, log_every or 1, meter), visualizer, fits)
    elif console.live:
        picture = _Picture(meter)
        with console.watch(picture):
            yield _Followed(picture, visualizer, fits)
    else:
        yield _Followed(None, visualizer, fits)


class _Followed(Watcher):
    """Passes every step of the fits on: to the lines or the picture, and those of the cells to the visualizer."""

    def __init__(self, shown: _Lines | _Picture | None, visualizer: Visualizer | None, fits: int) -> None:
        self._shown, self._visualizer, self._fits = shown, visualizer, fits
        self._done = 0
        self._draws = visualizer is not None
        self.listener = None if shown is None and visualizer is None else self._step

    def begins(self, family: str, components: int, purpose: str) -> None:
        """Before every fit of a grid."""
        self._draws = self._visualizer is not None and not purpose
        title = f"fit {self._done + 1} of {self._fits}: {family}, {count(components, 'component')}"
        if self._shown is not None:
            self._shown.begins(title + (f", {purpose}" if purpose else ""))

    def several_begin(self, cells: Sequence[tuple[str, int]], purpose: str) -> Callable[[str, int], Listener | None]:
        """Before several fits of a grid that go side by side."""
        self._draws = False
        title = f"fits {self._done + 1} to {self._done + len(cells)} of {self._fits}, which share their readings"
        shown = self._shown
        if shown is None:
            return lambda family, components: None
        shown.begins(title + (f", {purpose}" if purpose else ""))
        return lambda family, components: partial(shown, fit=f"{family} {components}")

    def ends(self, cell: Cell) -> None:
        """After every cell of a grid."""
        self._done += 1

    def _step(self, run: Run, elapsed: float) -> None:
        if self._visualizer is not None and self._draws:
            self._visualizer.keep(run)
        if self._shown is not None:
            self._shown(run, elapsed)


class _Lines:
    """A line for every so many passes of a restart, and for its end; gains are in it once they are known."""

    def __init__(self, console: Console, every: int, meter: Meter | None = None):
        self._console = console
        self._every = every
        self._meter = meter
        self._shown: dict[tuple[str, int], int] = {}

    def begins(self, title: str) -> None:
        """Begins the lines of another fit of a grid."""
        self._shown.clear()
        self._console.note(title)

    def __call__(self, run: Run, elapsed: float, fit: str = "") -> None:
        passes = _passes(run)
        due = passes // self._every > self._shown.get((fit, run.restart), 0)
        if due or run.stop is not None or run.failure is not None:
            self._shown[fit, run.restart] = passes // self._every
            self._tell(run, passes, elapsed, fit)

    @property
    def _rate(self) -> float | None:
        return None if self._meter is None else self._meter.rows_per_second

    def _tell(self, run: Run, passes: int, elapsed: float, fit: str) -> None:
        parts = [fit] if fit else []
        parts += [f"restart {run.restart}", f"pass {passes}"]
        if run.history:
            record = run.history[-1]
            parts.append(f"log-likelihood {record.log_likelihood:.6f} per row")
            gains = {"gain": record.gain, "remaining": record.remaining}
            parts += [f"{name} {value:.2e}" for name, value in gains.items() if math.isfinite(value)]
        if self._rate is not None:
            parts.append(rate_of(self._rate))
        parts.append(f"elapsed {elapsed:.1f} s")
        if run.failure is not None:
            parts.append(f"failed: {run.failure.worded(as_flag)}")
        elif run.stop is not None:
            parts.append(f"stopped: {run.stop.name}")
        self._console.note("  ".join(parts))


class _JsonLines(_Lines):
    """JSON objects, one a line: log-likelihood and gains in nats per row, the time elapsed in seconds.

    rows_per_second: of the last pass over all rows, null where they are too few to measure it.
    """

    _title = ""

    def begins(self, title: str) -> None:
        """Begins the lines of another fit of a grid."""
        self._shown.clear()
        self._title = title

    def _tell(self, run: Run, passes: int, elapsed: float, fit: str) -> None:
        record = asdict(run.history[-1]) if run.history else {}
        stop = None if run.stop is None else run.stop.name
        failure = None if run.failure is None else run.failure.worded(as_flag)
        values = {"fit": fit or self._title} if fit or self._title else {}
        values |= {"restart": run.restart} | record | {"passes": passes, "elapsed": elapsed}
        self._console.log(values | {"rows_per_second": self._rate, "stop": stop, "failure": failure})


@dataclass(frozen=True)
class _Row:
    """A restart in the picture. rank: the less the likelier it is shown where there are many."""

    rank: tuple[int, float]
    failed: bool
    cells: tuple[str, ...]
    levels: tuple[float, ...] = ()  # log-likelihoods of the last passes


class _Picture:
    """The newest step of each restart. A call only stores it; rich draws from a thread of its own."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._rows: dict[tuple[str, int], _Row] = {}
        self._begin = time.monotonic()
        self._title = ""

    def begins(self, title: str) -> None:
        """Begins the picture of another fit of a grid."""
        self._title, self._rows = title, {}

    def __call__(self, run: Run, elapsed: float, fit: str = "") -> None:
        numbers = ("", "", "")
        log_likelihood = -math.inf
        if run.history:
            record = run.history[-1]
            log_likelihood = record.log_likelihood
            gains = (f"{value:.1e}" if math.isfinite(value) else "" for value in (record.gain, record.remaining))
            numbers = (f"{log_likelihood:.6f}", *gains)
        failed = run.failure is not None
        state = "running" if run.stop is None else run.stop.name
        if run.failure is not None:
            state = f"failed: {replace(run.failure.notice, remedies=()).worded(as_flag)}"
        hopeless = 2 if failed else int(run.stop == LEFT_BEHIND)
        cells = (f"{fit}, {run.restart}" if fit else str(run.restart), str(_passes(run)), *numbers, state)
        levels = tuple(record.log_likelihood for record in run.history[-SPARKS:])
        self._rows[fit, run.restart] = _Row((hopeless, -log_likelihood), failed, cells, levels)

    def __rich_console__(self, console: object, options: ConsoleOptions) -> Iterator[Text]:
        rows = self._rows.copy()
        if self._title:
            yield Text(self._title)
        if rows:
            shown = sorted(sorted(rows, key=lambda restart: rows[restart].rank)[:SHOWN])
            indices = range(len(HEADER)) if options.max_width >= WIDE else NARROW
            cells = [[rows[restart].cells[index] for index in indices] for restart in shown]
            header, words = [HEADER[index] for index in indices], (0, len(indices) - 1)
            yield from Table(header, cells, left=words, split=False).lines(options.max_width)
            hidden = [row for restart, row in rows.items() if restart not in shown]
            if hidden:
                failed = sum(row.failed for row in hidden)
                more = f"and {count(len(hidden), 'more restart')}" + (f", {failed} failed" if failed else "")
                yield Text(more, style="dim")
            leading = min(rows.values(), key=lambda row: row.rank)
            if len(leading.levels) > 1:
                drawn = sparkline(leading.levels[-min(SPARKS, options.max_width // 2) :])
                yield Text(f"log-likelihood of restart {leading.cells[0]} {drawn}")
        else:
            yield Text("reading the data")
        if self._meter is not None and (line := pass_line(self._meter)):
            yield Text(line)
        yield Text(f"elapsed {time.monotonic() - self._begin:.1f} s", style="dim")


class RowCount:
    """Rows that have passed through a command, for a terminal."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.rows = 0

    def __rich_console__(self, console: object, options: ConsoleOptions) -> Iterator[Text]:
        seconds = time.monotonic() - self._begin
        yield Text(
            f"{self.rows} rows, {rate_of(self.rows / max(seconds, 1e-3))}, elapsed {seconds:.1f} s", style="dim"
        )


def pass_line(meter: Meter) -> str:
    """Progress of a pass that takes long; empty for one that does not."""
    if not meter.long:
        return ""
    rate, left = meter.rows_per_second, meter.left
    parts = [f"pass over {meter.total} rows" + (f": {meter.share:.0%}" if meter.share < 1 else "")]
    parts += [rate_of(rate)] if rate is not None else []
    parts += [f"{left:.0f} s left in it"] if left else []
    return ", ".join(parts)


def rate_of(rows_per_second: float) -> str:
    """`12.3 million rows/s`."""
    million = rows_per_second >= 1e6
    return f"{rows_per_second / 1e6:.3g} million rows/s" if million else f"{rows_per_second:.0f} rows/s"


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the lowest to the highest of them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = high - low
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span > 0 else 0] for value in values)


def _passes(run: Run) -> int:
    return run.history[-1].passes if run.history else round(run.passes)
