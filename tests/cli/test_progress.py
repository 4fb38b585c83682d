"""How a fit is followed: what the picture and the lines say of restarts in every state."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
from rich.console import Console as RichConsole

from gmmcli.cli.console import Console
from gmmcli.cli.progress import SHOWN, _Lines, _Picture, pass_line, sparkline
from gmmcli.errors import NumericalError, Remedy
from gmmcli.fitting.loop import PassRecord, Run
from gmmcli.fitting.stopping import CONVERGED, ITERATION_LIMIT, LEFT_BEHIND, StopReason
from gmmcli.passes.execution import Meter

STATE: Any = None  # of the engine, which nobody looks at here
REMEDIES = (Remedy("lower", "components"), Remedy("raise", "variance_floor"))
FAILURE = NumericalError("component 3 has 1.2 rows of weight", remedy=REMEDIES)
LINE = "component 3 has 1.2 rows of weight: lower --components or raise --variance-floor"


def run(
    restart: int,
    log_likelihood: float | None = -4.5,
    *,
    passes: int = 24,
    stop: StopReason | None = None,
    failure: NumericalError | None = None,
) -> Run:
    history = [] if log_likelihood is None else [PassRecord(passes, log_likelihood, 1e-3, 2e-3)]
    return Run(restart, STATE, history, passes=passes, stop=stop, failure=failure)


ENDS = [
    (run(0), "running"),
    (run(1, stop=CONVERGED), "converged"),
    (run(2, stop=ITERATION_LIMIT), "iteration limit"),
    (run(3, stop=LEFT_BEHIND), "left behind"),
    (run(4, failure=FAILURE), "failed: component 3 has 1.2 rows of weight"),
    (run(5, None, passes=1, failure=FAILURE), "failed: component 3 has 1.2 rows of weight"),
]


def drawn(runs: list[Run], width: int = 100) -> list[str]:
    picture = _Picture()
    for each in runs:
        picture(each, 1.0)
    console = RichConsole(file=io.StringIO(), width=width)
    console.print(picture)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 68, 80, 200])
def test_the_picture_tells_every_state(width: int) -> None:
    heading, names, *rows, elapsed = drawn([each for each, _ in ENDS], width)
    assert heading.split() == ["log-likelihood"]
    assert names.split()[:5] == ["restart", "pass", "per", "row", "gain" if width > 60 else "remaining"]
    assert elapsed.startswith("elapsed ")
    for row, (each, state) in zip(rows, ENDS, strict=True):
        assert len(row) <= width
        numbers, _, told = row.partition(state[:6])
        assert (state[:6] + told).rstrip("…") == state[: len(state[:6] + told.rstrip("…"))]
        expected = [str(each.restart), str(round(each.passes))]
        if each.history:
            expected += ["-4.500000", *(["1.0e-03"] if width > 60 else []), "2.0e-03"]
        assert numbers.split() == expected


def test_control_characters_of_a_failure_do_not_reach_the_terminal() -> None:
    _, _, row, _ = drawn([run(0, failure=NumericalError("column a\x1b[2Jb is\nodd"))])
    assert "failed: column a" in row
    assert row.isprintable()


def first(restart: int) -> Run:
    """A run after one pass, which has no gain yet."""
    return Run(restart, STATE, [PassRecord(1, -4.5, math.inf, math.inf)], passes=1)


def test_a_gain_that_is_not_known_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert drawn([first(0)])[2].split() == ["0", "1", "-4.500000", "running"]
    (line,) = lines_of([first(0)], 1, capsys)
    assert line == "restart 0  pass 1  log-likelihood -4.500000 per row  elapsed 1.5 s"


def test_nothing_yet() -> None:
    assert drawn([])[0] == "reading the data"


def test_where_there_are_many_the_promising_are_shown() -> None:
    many = [run(i, -5.0 - i) for i in range(10)]
    many += [run(10 + i, -1.0, stop=LEFT_BEHIND) for i in range(4)]
    many += [run(14, None, failure=FAILURE), run(15, -1.0, failure=FAILURE)]
    *_, more, _ = lines = drawn(many)
    shown = [int(line.split()[0]) for line in lines[2:-2]]
    assert shown == list(range(SHOWN))
    assert more == "and 4 more restarts, 2 failed"


def test_the_newest_step_counts() -> None:
    lines = drawn([run(0, -5.0), run(0, -4.0, passes=30, stop=CONVERGED)])
    assert len(lines) == 4
    assert re.match("0 +30 +-4.000000 .* converged$", lines[2])


def test_the_leading_restart_is_drawn_pass_by_pass() -> None:
    leading = run(3, -4.0)
    leading.history[:0] = [PassRecord(n, -8.0 + n, 1.0, 1.0) for n in range(4)]
    *_, drawn_line, elapsed = drawn([run(0, -5.0), leading])
    assert drawn_line == "log-likelihood of restart 3 ▁▃▅▆█"
    assert elapsed.startswith("elapsed ")


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 7, 3.5]) == "▁█▅"
    assert sparkline([2, 2]) == "▁▁"
    assert sparkline([]) == ""


def lines_of(runs: list[Run], every: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    follow = _Lines(Console(), every)
    for each in runs:
        follow(each, 1.5)
    return capsys.readouterr().err.splitlines()


def test_lines_come_every_so_many_passes_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [run(0, passes=n) for n in range(1, 8)]
    got = lines_of([*steps, run(0, passes=7, stop=LEFT_BEHIND)], 3, capsys)
    assert [re.findall(r"pass (\d+)", line) for line in got] == [["3"], ["6"], ["7"]]
    assert [line.partition("elapsed 1.5 s")[2] for line in got] == ["", "", "  stopped: left behind"]


def test_the_last_line_of_a_restart_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    got = lines_of([each for each, _ in ENDS[1:]], 1000, capsys)
    numbers = "log-likelihood -4.500000 per row  gain 1.00e-03  remaining 2.00e-03  elapsed 1.5 s"
    assert got == [
        f"restart 1  pass 24  {numbers}  stopped: converged",
        f"restart 2  pass 24  {numbers}  stopped: iteration limit",
        f"restart 3  pass 24  {numbers}  stopped: left behind",
        f"restart 4  pass 24  {numbers}  failed: {LINE}",
        f"restart 5  pass 1  elapsed 1.5 s  failed: {LINE}",
    ]


class Clock:
    """Time as a test has it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_long_pass_tells_how_far_it_is_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("gmmcli.passes.execution.time", clock)
    meter = Meter(total=8_000_000, own=4_000_000)  # of two processes
    assert pass_line(meter) == ""
    parts = meter.over([range(1_000_000)] * 4)
    told = []
    for _ in parts:
        told.append(pass_line(meter))
        clock.now += 0.5
    assert told == [
        "",
        "",
        "pass over 8000000 rows: 50%, 4 million rows/s, 1 s left in it",
        "pass over 8000000 rows: 75%, 4 million rows/s, 0 s left in it",
    ]
    clock.now += 100  # between the passes
    assert meter.rows_per_second == 4e6
    parts = meter.over([range(1_000_000)] * 4)
    next(parts)
    next(parts)
    assert pass_line(meter) == "pass over 8000000 rows: 25%, 4 million rows/s, 2 s left in it"


def test_a_short_pass_is_not_worth_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("gmmcli.passes.execution.time", clock)
    meter = Meter(10, 10)
    for _ in meter.over([range(5)] * 2):
        clock.now += 0.1
    clock.now += 10
    assert pass_line(meter) == ""
    assert meter.rows_per_second == pytest.approx(50)
