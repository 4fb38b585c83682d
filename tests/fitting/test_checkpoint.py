"""An interrupted fit goes on as if it had never been: the same bits, from wherever it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
import torch

from gmmcli.errors import InputError
from gmmcli.fitting.checkpoint import VERSION, Checkpoint, read_checkpoint
from gmmcli.fitting.engine import Evaluator
from gmmcli.fitting.options import Every, FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.passes.block import Block
from gmmcli.passes.execution import HERE, Execution
from gmmcli.storage.files import PendingFile
from tests.conftest import fit_blocks
from tests.fitting.test_scale import CASES, LITTLE, NAMES, QUICK, Case, assert_same_fit

FITS = {
    **{name: CASES[name] for name in ("full", "tied", "weights", "missing, by pattern", "noise", "resets")},
    "many restarts": Case({"family": "diagonal", "restarts": 8}),
    "plain EM": Case({"family": "full", "acceleration": "none"}),
    "Anderson": Case({"family": "full", "acceleration": "anderson"}),
    "SQUAREM": Case({"family": "full", "acceleration": "squarem"}),
    "Adam": Case({"family": "full", "method": "gradient", "iterations": 12, "restarts": 5}),
    "batches": Case({"family": "full", "method": "gradient", "iterations": 6, "batch_size": 300}),
    "L-BFGS": Case({"family": "full", "method": "gradient", "optimizer": "lbfgs", "iterations": 30}),
}


class Stop(BaseException):
    """An interrupt."""


def keeper_of(path: Path, *, resume: bool, every: Every | None = None) -> Checkpoint:
    return Checkpoint(str(path), every or Every(passes=1), key={"seed": 0}, resume=resume)


def rows_of(case: Case) -> list[Block]:
    """The case's, nearer to each other, so that a fit takes its time."""
    draw = torch.Generator().manual_seed(0)
    return [
        replace(block, cells=block.x * 0.3 + torch.randn(block.x.shape, generator=draw, dtype=torch.float64))
        for block in case.blocks()
    ]


def fitted(
    case: Case,
    path: Path | None = None,
    *,
    resume: bool = False,
    every: Every | None = None,
    execution: Execution = HERE,
) -> FitResult:
    keeper = None if path is None else keeper_of(path, resume=resume, every=every)
    options = FitOptions(**{**QUICK, "iterations": 40, **case.options})
    return fit_blocks(rows_of(case), options, columns=NAMES, keeper=keeper, execution=execution)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], int]]:
    """Stops a fit in the midst of so-manieth evaluation on all rows; tells how many there were."""
    real = Evaluator.__call__

    def at(number: int) -> Callable[[], int]:
        seen = 0

        def call(self: Evaluator, *args: Any, **how: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == number:
                raise Stop
            return real(self, *args, **how)

        monkeypatch.setattr(Evaluator, "__call__", call)
        return lambda: seen

    return at


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("case", FITS.values(), ids=FITS.keys())
def test_interrupted_and_resumed_equals_uninterrupted(
    case: Case, tmp_path: Path, stop_at: Callable[[int], Callable[[], int]]
) -> None:
    path = tmp_path / "fit.ckpt"
    count = stop_at(0)
    expected = fitted(case)
    evaluations = count()
    for number in sorted({3, evaluations // 2, evaluations - 1}):
        path.unlink(missing_ok=True)
        stop_at(number)
        with pytest.raises(Stop):
            fitted(case, path)
        stop_at(0)
        assert_same_fit(fitted(case, path, resume=True), expected)


@pytest.mark.usefixtures("hostile")
def test_interrupted_again_and_again(tmp_path: Path, stop_at: Callable[[int], Callable[[], int]]) -> None:
    """Every attempt gets a few passes further, until one is done."""
    path, case = tmp_path / "fit.ckpt", FITS["many restarts"]
    expected, found = fitted(case), None
    for _ in range(200):
        stop_at(9)
        try:
            found = fitted(case, path, resume=True)
            break
        except Stop:
            continue
    assert found is not None
    assert_same_fit(found, expected)


def test_it_starts_anew_where_there_is_no_file_and_where_it_is_not_asked_to_go_on(
    tmp_path: Path, stop_at: Callable[[int], Callable[[], int]]
) -> None:
    path, case = tmp_path / "fit.ckpt", FITS["full"]
    count = stop_at(0)
    assert_same_fit(fitted(case, path, resume=True), fitted(case))
    assert path.exists()
    evaluations = count() // 2
    again = stop_at(0)
    fitted(case, path)
    assert again() == evaluations
    again = stop_at(0)
    fitted(case, path, resume=True)
    assert again() < evaluations


@pytest.mark.usefixtures("hostile")
def test_with_other_memory(tmp_path: Path, stop_at: Callable[[int], Callable[[], int]]) -> None:
    path, case = tmp_path / "fit.ckpt", FITS["full"]
    expected = fitted(case)
    stop_at(12)
    with pytest.raises(Stop):
        fitted(case, path)
    stop_at(0)
    resumed = fitted(case, path, resume=True, execution=LITTLE)
    assert_same_fit(resumed, expected)


def test_how_often_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    real = PendingFile.commit

    def commit(self: Any) -> None:
        nonlocal written
        written += 1
        real(self)

    monkeypatch.setattr(PendingFile, "commit", commit)
    path, case = tmp_path / "fit.ckpt", FITS["plain EM"]
    passes = fitted(case, path).passes
    often, written = written, 0
    assert often > 10
    fitted(case, path, every=Every(passes=5))
    assert often // 5 <= written <= often // 5 + 1
    written = 0
    fitted(case, path, every=Every(seconds=3600))
    assert written == 0
    assert passes > 5


def test_data_that_has_changed_and_another_fit_are_refused(tmp_path: Path) -> None:
    path, case = tmp_path / "fit.ckpt", FITS["full"]
    fitted(case, path)
    blocks = [Block(b.index, b.first_row, b.x + (b.index == 3) * 1e-9) for b in rows_of(case)]
    options = FitOptions(**QUICK, iterations=40)
    with pytest.raises(InputError, match=r"fit\.ckpt: the data has changed since it was written"):
        fit_blocks(blocks, options, columns=NAMES, keeper=keeper_of(path, resume=True))
    with pytest.raises(InputError, match=r"fit\.ckpt: it is of a fit with other seed, family: give the same"):
        Checkpoint(str(path), Every(), key={"seed": 1, "family": "full"}, resume=True)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.ckpt"
    assert read_checkpoint(str(path)) is None
    for content in (b"", b"no zip", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a checkpoint of gmm, or it is cut short"):
            read_checkpoint(str(path))
    for content, message in (
        ([1, 2], "not a checkpoint"),
        ({"format": "gmm checkpoint", "version": VERSION, "progress": PurePath()}, "not a checkpoint"),
        ({"format": "gmm checkpoint", "version": 99}, "another version"),
        ({"format": "gmm checkpoint", "version": VERSION}, "damaged"),
        (
            {
                "format": "gmm checkpoint",
                "version": VERSION,
                "key": {},
                "data": "",
                "seconds": 0.0,
                "progress": {"kind": "Run"},
            },
            "damaged",
        ),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            read_checkpoint(str(path))


def test_a_write_that_fails_leaves_the_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, case = tmp_path / "fit.ckpt", FITS["full"]
    fitted(case, path)
    before = path.read_bytes()

    def full(self: Any) -> None:
        self.abort()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PendingFile, "commit", full)
    with pytest.raises(OSError, match="No space left"):
        fitted(case, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.ckpt"]


def test_a_file_that_is_cut_short_is_said_to_be(tmp_path: Path) -> None:
    """At any place: where torch reads on, it fails in one way or another."""
    path = tmp_path / "fit.ckpt"
    fitted(FITS["full"], path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        problem = r"fit\.ckpt: it is not a checkpoint of gmm, or it is cut short: remove"
        with pytest.raises(InputError, match=problem):
            read_checkpoint(str(path))


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_that_is_no_checkpoint_is_not_written_over(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"rows\.csv: it is not a checkpoint of gmm"):
        fitted(FITS["full"], path, resume=resume)
    assert path.read_text() == "a,b\n1,2\n"
