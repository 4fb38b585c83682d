"""Progress of a fit: a picture on a terminal, or lines with --log-every; and of rows that pass through a command.

- `follow`: the watcher of a fit or of several. It shows every step, and hands it to the visualizer.
- `RowCount`: the number of rows so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import ConsoleOptions
from rich.table import Table
from rich.text import Text

from gmmcli.choosing.watcher import Watcher
from gmmcli.cli.console import Console, as_flag, count
from gmmcli.fitting.stopping import LEFT_BEHIND
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.choosing.cells import Cell
    from gmmcli.cli.visualize import Visualizer
    from gmmcli.fitting.loop import Listener, Run
    from gmmcli.passes.execution import Meter

SHOWN = 12  # restarts in the picture
HEADER = ("restart", "pass", "log-likelihood\nper row", "gain", "remaining", "state")
BARS = "▁▂▃▄▅▆▇█"
SPARKS = 40  # passes of the leading restart that are drawn
WIDE = 68  # columns of a terminal that also shows the gain


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
    """The watcher of so many fits: lines if they are asked for, else a picture where a terminal shows it.

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
        """Titles the steps of a fit."""
        self._draws = self._visualizer is not None and not purpose
        self._entitle(f"fit {self._done + 1} of {self._fits}: {family}, {count(components, 'component')}", purpose)

    def several_begin(self, cells: Sequence[tuple[str, int]], purpose: str) -> Callable[[str, int], Listener | None]:
        """Titles the steps of several fits that go side by side, and returns the listener of each."""
        self._draws = False
        last = self._done + len(cells)
        self._entitle(f"fits {self._done + 1} to {last} of {self._fits}, which share their readings", purpose)
        shown = self._shown
        return lambda family, components: shown and partial(shown, fit=f"{family} {components}")

    def ends(self, cell: Cell) -> None:
        """Counts a cell of a grid as done."""
        self._done += 1

    def _entitle(self, title: str, purpose: str) -> None:
        if self._shown is not None:
            self._shown.begins(title + (f", {purpose}" if purpose else ""))

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
        if due or run.ended:
            self._shown[fit, run.restart] = passes // self._every
            self._write(run, passes, elapsed, fit)

    @property
    def _rate(self) -> float | None:
        return None if self._meter is None else self._meter.rows_per_second

    def _write(self, run: Run, passes: int, elapsed: float, fit: str) -> None:
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

    rows_per_second: of the last pass over all rows, null if that was too short to measure it.
    """

    _title = ""

    def begins(self, title: str) -> None:
        """Begins the lines of another fit of a grid."""
        self._shown.clear()
        self._title = title

    def _write(self, run: Run, passes: int, elapsed: float, fit: str) -> None:
        record = asdict(run.history[-1]) if run.history else {}
        stop = None if run.stop is None else run.stop.name
        failure = None if run.failure is None else run.failure.worded(as_flag)
        values = {"fit": fit or self._title} if fit or self._title else {}
        values |= {"restart": run.restart} | record | {"passes": passes, "elapsed": elapsed}
        self._console.log(values | {"rows_per_second": self._rate, "stop": stop, "failure": failure})


class _Picture:
    """The newest step of each restart. A call only stores it; rich draws from a thread of its own."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter
        self._runs: dict[tuple[str, int], Run] = {}
        self._begin = time.monotonic()
        self._title = ""

    def begins(self, title: str) -> None:
        """Begins the picture of another fit of a grid."""
        self._title, self._runs = title, {}

    def __call__(self, run: Run, elapsed: float, fit: str = "") -> None:
        self._runs[fit, run.restart] = replace(run, history=run.history[-SPARKS:])

    def __rich_console__(self, console: object, options: ConsoleOptions) -> Iterator[Text | Table]:
        runs = self._runs.copy()
        if self._title:
            yield Text(self._title)
        if runs:
            ranked = sorted(runs, key=lambda restart: _rank(runs[restart]))
            yield _table({restart: runs[restart] for restart in sorted(ranked[:SHOWN])}, options.max_width >= WIDE)
            hidden = [runs[restart] for restart in ranked[SHOWN:]]
            if hidden:
                failed = sum(run.failure is not None for run in hidden)
                more = f"and {count(len(hidden), 'more restart')}" + (f", {failed} failed" if failed else "")
                yield Text(more, style="dim")
            (fit, _), leading = ranked[0], runs[ranked[0]]
            levels = [record.log_likelihood for record in leading.history]
            if len(levels) > 1:
                drawn = sparkline(levels[-min(SPARKS, options.max_width // 2) :])
                yield Text(f"log-likelihood of restart {_cells(fit, leading)[0]} {drawn}")
        else:
            yield Text("reading the data")
        if self._meter is not None and (line := pass_line(self._meter)):
            yield Text(line)
        yield Text(f"elapsed {time.monotonic() - self._begin:.1f} s", style="dim")


def _rank(run: Run) -> tuple[int, float]:
    """The order in which restarts are shown where there are many: the promising first, the failed last."""
    level = run.history[-1].log_likelihood if run.history else -math.inf
    return 2 if run.failure is not None else int(run.stop is LEFT_BEHIND), -level


def _table(runs: Mapping[tuple[str, int], Run], wide: bool) -> Table:
    """A row for each restart; only the state is cut where the terminal is too narrow."""
    shown = [index for index, name in enumerate(HEADER) if wide or name != "gain"]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for index in shown:
        name = HEADER[index]
        side = "left" if name in ("restart", "state") else "right"
        table.add_column(name, justify=side, vertical="bottom", no_wrap=name != "state")
    for (fit, _), run in runs.items():
        cells = [Text(one_line(cell), no_wrap=True, overflow="ellipsis") for cell in _cells(fit, run)]
        table.add_row(*(cells[index] for index in shown))
    return table


def _cells(fit: str, run: Run) -> tuple[str, ...]:
    """The restart in the columns of HEADER; numbers that are not known are empty."""
    numbers = ("", "", "")
    if run.history:
        record = run.history[-1]
        gains = (f"{value:.1e}" if math.isfinite(value) else "" for value in (record.gain, record.remaining))
        numbers = (f"{record.log_likelihood:.6f}", *gains)
    state = "running" if run.stop is None else run.stop.name
    if run.failure is not None:
        state = f"failed: {replace(run.failure.notice, remedies=()).worded(as_flag)}"
    return f"{fit}, {run.restart}" if fit else str(run.restart), str(_passes(run)), *numbers, state


class RowCount:
    """Number of rows that have passed through a command, for a terminal."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.rows = 0

    def __rich__(self) -> Text:
        seconds = time.monotonic() - self._begin
        rate = rate_of(self.rows / max(seconds, 1e-3))
        return Text(f"{self.rows} rows, {rate}, elapsed {seconds:.1f} s", style="dim")


def pass_line(meter: Meter) -> str:
    """Progress of a pass that takes long; empty for a short one."""
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
