"""The contract of folds, checked once for all of them, and the driver of readings."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gmmcli.errors import GmmError, InputError
from gmmcli.passes.block import Block, TableBlocks
from gmmcli.passes.execution import ALONE, Group
from gmmcli.passes.reading import Collected, Fold, Reading, Task, drive, read, read_all, side_by_side
from tests.cli.conftest import ENVIRONMENT, ROOT
from tests.hostile_blas import command
from tests.passes.folds import Case, cases, comparable, folded

CASES = cases()
each_fold = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def merged(case: Case, order: random.Random) -> Fold[Any]:
    """A fold of all rows in random order, by random merges, some of them with empty folds."""
    rows = [*case.rows]
    order.shuffle(rows)
    folds = []
    while rows:
        fold, count = case.new(), order.randint(0, 4)
        for piece in rows[:count]:
            fold.add(piece)
        folds.append(fold)
        rows = rows[count:]
    while len(folds) > 1:
        i, j = order.sample(range(len(folds)), 2)
        folds[i].merge(folds[j])
        del folds[j]
    return folds[0]


@each_fold
def test_a_folds_result_does_not_depend_on_order_and_grouping(case: Case):
    expected = folded(case, case.rows, ALONE)
    for seed in range(3):
        assert comparable(merged(case, random.Random(seed)).result(ALONE)) == expected


@each_fold
def test_merging_with_an_empty_fold_before_and_after_changes_nothing(case: Case):
    expected = folded(case, case.rows, ALONE)
    before, after = case.new(), case.new()
    full = case.new()
    for piece in case.rows:
        full.add(piece)
        after.add(piece)
    before.merge(full)
    after.merge(case.new())
    assert comparable(before.result(ALONE)) == expected
    assert comparable(after.result(ALONE)) == expected


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("processes", [2, 3])
def test_folds_over_real_processes_have_the_bits_of_one(processes: int, tmp_path: Path):
    """The last process has no rows."""
    path = tmp_path / "results.pt"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*launch, *command("tests.passes.folds"), str(path)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.load(path, weights_only=False)
    assert found == {name: folded(case, case.rows, ALONE) for name, case in cases().items()}


class Count:
    """Fold: how many rows there are."""

    def __init__(self, limit: int = 10**9) -> None:
        self.rows, self._limit = 0, limit

    def add(self, block: Block) -> None:
        self.rows += len(block)

    def merge(self, other: Count) -> None:
        self.rows += other.rows

    def result(self, group: Group) -> int:
        if self.rows > self._limit:
            raise InputError(f"{self.rows} rows are too many")
        return self.rows


class Watched:
    """Blocks that count how often they are read."""

    def __init__(self, rows: int = 100, fails: bool = False) -> None:
        self.blocks, self.readings, self._fails = TableBlocks(torch.zeros(rows, 1).double(), None, 7), 0, fails

    def __iter__(self):
        self.readings += 1
        yield from self.blocks
        if self._fails:
            raise OSError("the disk has gone")


def counted(blocks: Any, times: int, limit: int = 10**9) -> Task[int]:
    total = 0
    for _ in range(times):
        total += yield from read(Reading(lambda: Count(limit), blocks))
    return total


@pytest.mark.parametrize("threads", [1, 3])
def test_tasks_side_by_side_share_their_readings(threads: int):
    blocks = Watched()
    found = drive(side_by_side([counted(blocks, times) for times in (1, 4, 2)]), threads)
    assert found == [100, 400, 200]
    assert blocks.readings == 4


def test_a_gmm_error_ends_its_own_task():
    blocks = Watched()
    found = drive(side_by_side([counted(blocks, 3, limit=50), counted(blocks, 3)]), 1)
    assert isinstance(found[0], GmmError)
    assert found[1] == 300
    assert blocks.readings == 3


def test_a_task_may_handle_the_error_of_a_reading_of_its_own():
    def task() -> Task[str]:
        try:
            yield from counted(Watched(), 1, limit=1)
        except InputError as error:
            return str(error)
        return "no error"

    assert drive(task(), 1) == "100 rows are too many"


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_reading_ends_all_tasks_and_closes_them(threads: int):
    closed = []

    def task(blocks: Watched) -> Task[int]:
        try:
            return (yield from counted(blocks, 2))
        finally:
            closed.append(blocks)

    good, bad = Watched(), Watched(fails=True)
    with pytest.raises(OSError, match="the disk has gone"):
        drive(side_by_side([task(good), task(bad)]), threads)
    assert closed == [good, bad]


def test_one_task_may_ask_for_several_readings_at_once():
    blocks = Watched()

    def task() -> Task[list[Any]]:
        first = Reading(Count, blocks)
        second = Reading(lambda: Collected(lambda block: block.index), blocks)
        return (yield from read_all([first, second]))

    assert drive(task(), 2) == [100, list(range(15))]
    assert blocks.readings == 1


def test_the_callers_number_of_torch_threads_is_restored():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        drive(counted(Watched(), 1), 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
