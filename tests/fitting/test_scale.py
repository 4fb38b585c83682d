"""Neither memory nor the number of processes changes a fit: rows that are read anew, and rows that others hold."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.families import FAMILIES
from gmmcli.fitting import search as race
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult, describe
from gmmcli.passes import prepared
from gmmcli.passes.block import Block, TableBlocks
from gmmcli.passes.execution import Execution, Group
from tests.conftest import fit_blocks

NAMES = ["a", "b", "c"]
LITTLE = Execution(memory=lambda: 1)
QUICK: dict[str, Any] = {"components": 3, "restarts": 2, "threads": 1, "tolerance": 1e-4}


class Meeting:
    """What threads that play processes say to each other: each waits until all have spoken."""

    def __init__(self, size: int):
        self.said: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=60)

    def exchange(self, rank: int, words: Tensor) -> list[Tensor]:
        self.said[rank] = words
        self.barrier.wait()
        heard = list(self.said)
        self.barrier.wait()
        return heard


class Process(Group):
    def __init__(self, meeting: Meeting, rank: int, size: int):
        self.rank, self.size, self._meeting = rank, size, meeting

    def sum(self, numbers: Tensor) -> Tensor:
        assert numbers.dtype == torch.int64
        return torch.stack(self._meeting.exchange(self.rank, numbers)).sum(0)

    def greatest(self, numbers: Tensor) -> Tensor:
        return torch.stack(self._meeting.exchange(self.rank, numbers)).amax(0)

    def joined(self, rows: Tensor) -> Tensor:
        return torch.cat(self._meeting.exchange(self.rank, rows))


def by_processes(
    parts: Sequence[Sequence[Block]], options: FitOptions, memory: float = math.inf
) -> list[FitResult | Exception]:
    """What each of several processes finds, which hold a part of the blocks each."""
    meeting, found = Meeting(len(parts)), dict[int, Any]()

    def process(rank: int) -> None:
        try:
            execution = Execution(Process(meeting, rank, len(parts)), lambda: memory)
            found[rank] = fit_blocks(parts[rank], options, columns=NAMES, execution=execution)
        except GmmError as error:  # of all processes alike
            found[rank] = error
        except BaseException as error:
            found[rank] = error
            meeting.barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(len(parts))]


def told(result: FitResult) -> dict[str, Any]:
    """All that is known of a fit, times and what says how it was made apart."""
    metadata = describe(result)
    for name in ("seconds", "device", "options"):
        del metadata[name]
    return metadata


def assert_same_fit(a: FitResult | Exception, b: FitResult | Exception) -> None:
    assert isinstance(a, FitResult), a
    assert isinstance(b, FitResult), b
    for name, tensor in a.model.state_dict().items():
        assert torch.equal(tensor, b.model.state_dict()[name]), name
    assert told(a) == told(b)


def clusters(count: int = 900, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(3, 3, generator=draw, dtype=torch.float64)
    return centres[torch.arange(count) % 3] + torch.randn(count, 3, generator=draw, dtype=torch.float64)


def with_gaps(x: Tensor, seed: int = 1) -> Tensor:
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < 0.15
    return x.masked_fill(gaps, torch.nan)


@dataclass(frozen=True)
class Case:
    """Rows to fit, and options that reach some part of the fit."""

    options: dict[str, Any]
    gaps: bool = False
    weighted: bool = False

    def blocks(self) -> list[Block]:
        x = clusters()
        weights = torch.rand(len(x), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        x = with_gaps(x) if self.gaps else x
        blocks = TableBlocks(x, weights if self.weighted else None, 64, incomplete=self.gaps)
        return list(blocks)


CASES = {
    **{family: Case({"family": family}) for family in FAMILIES if family != "constant"},
    "constant": Case({"family": "constant", "variance": 1.0}),
    "weights": Case({"family": "full"}, weighted=True),
    "missing, by pattern": Case({"family": "full"}, gaps=True, weighted=True),
    "missing, tied": Case({"family": "tied"}, gaps=True),
    "missing, by cell": Case({"family": "diagonal"}, gaps=True),
    "noise": Case({"family": "full", "noise": True}),
    "float32": Case({"family": "full", "precision": "float32"}),
    "gradient": Case({"family": "full", "method": "gradient", "iterations": 20}),
    "standardize": Case({"family": "isotropic", "standardize": True}),
    "resets": Case({"family": "full", "components": 12, "restarts": 1, "init": "random-rows"}),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples, and what is kept whatever the memory, of a size that small tests reach."""
    monkeypatch.setattr(prepared, "SAMPLE_NUMBERS", 1)
    monkeypatch.setattr(prepared, "SAMPLE_ROWS", 600)
    monkeypatch.setattr(race, "SAMPLE_ROWS", 100)
    monkeypatch.setattr("gmmcli.fitting.starts.SAMPLE_ROWS", 300)
    monkeypatch.setattr("gmmcli.fitting.result.ROWS", 500)


class Counted:
    """Blocks, and how often they were read."""

    def __init__(self, blocks: Sequence[Block]):
        self.blocks, self.readings = blocks, 0

    def __iter__(self) -> Iterator[Block]:
        self.readings += 1
        return iter(self.blocks)


@pytest.mark.usefixtures("hostile")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_rows_that_do_not_fit_in_memory_give_the_same_fit(case: Case) -> None:
    options = FitOptions(**{**QUICK, **case.options})
    kept, anew = Counted(case.blocks()), Counted(case.blocks())
    expected = fit_blocks(kept, options, columns=NAMES)
    actual = fit_blocks(anew, options, columns=NAMES, execution=LITTLE)
    assert_same_fit(actual, expected)
    assert kept.readings == 3
    assert anew.readings > 5


@pytest.mark.usefixtures("hostile")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("memory", [math.inf, 1], ids=["kept", "anew"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_any_number_of_processes_gives_the_same_fit(case: Case, memory: float) -> None:
    """Of which the second holds little, and one of three nothing at all."""
    options, blocks = FitOptions(**{**QUICK, **case.options}), case.blocks()
    expected = fit_blocks(blocks, options, columns=NAMES)
    for parts in ([blocks[:11], blocks[11:12], blocks[12:]], [blocks, []]):
        for result in by_processes(parts, options, memory):
            assert_same_fit(result, expected)


@pytest.mark.usefixtures("small")
def test_no_rows_at_all_are_told_by_every_process() -> None:
    for error in by_processes([[], []], FitOptions(**QUICK)):
        assert isinstance(error, InputError)
        assert str(error) == "no row has a positive weight"


@pytest.mark.usefixtures("small")
def test_too_few_different_rows_are_counted_over_all_processes() -> None:
    x = torch.tensor([[0.0, 0, 0], [1, 0, 0]]).double().repeat(64, 1)
    parts = [[Block(i, 128 * i, x)] for i in range(2)]
    for error in by_processes(parts, FitOptions(**QUICK)):
        assert "3 components for 2 distinct rows" in str(error)


def refusals() -> list[Callable[[FitOptions], object]]:
    blocks = [*TableBlocks(clusters(), None, 64)]
    return [
        lambda options: fit_blocks(blocks, options, columns=NAMES, execution=LITTLE),
        lambda options: _raised(by_processes([blocks[:5], blocks[5:]], options)),
    ]


def _raised(found: Sequence[FitResult | Exception]) -> None:
    raise next(error for error in found if isinstance(error, UsageError))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("fit", refusals(), ids=["memory", "processes"])
def test_mini_batches_that_would_need_all_rows_are_refused(fit: Callable[[FitOptions], object]) -> None:
    options = FitOptions(**QUICK, method="gradient", batch_size=100)
    with pytest.raises(UsageError, match="batch_size: mini-batches"):
        fit(options)


def test_a_group_has_nothing_but_what_processes_must_say() -> None:
    """What a process alone answers is what it was asked, so that nothing else needs to know how many there are."""
    alone, x = Group(), torch.arange(3)
    assert torch.equal(alone.sum(x), x)
    assert torch.equal(alone.greatest(x), x)
    assert torch.equal(alone.joined(x), x)
