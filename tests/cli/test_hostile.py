"""The table of bad inputs, through `main`: one line that names the culprit, and an exit code.

Cases that need a shell run as processes of their own, some of every exit code; the others run in this process, since
most of a command's time is torch's import.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Outcome, gmm, shell
from tests.cli.hostile import CASES, Case, files

WRITTEN = ("out.pt", "out.csv")  # outputs of the cases
SHELL = re.compile(r"[<>|$]")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, fitted: Path) -> dict[str, Outcome]:
    """The outcome of every case."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    for model in fitted.iterdir():
        shutil.copy(model, folder / model.name)
    files(folder, folder / "faithful.pt")

    def process(case: Case) -> Outcome:
        return shell(f"cd {folder}\n{case.line}")

    in_shell = [case for case in CASES if needs_shell(case)]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip((case.line for case in in_shell), pool.map(process, in_shell), strict=True))
    with contextlib.chdir(folder):
        found |= {case.line: gmm(*shlex.split(case.line)[1:]) for case in CASES if not needs_shell(case)}
    left = sorted(path.name for path in folder.rglob("*") if path.name in WRITTEN or path.name.startswith(".gmm"))
    assert left == [], "something half-written was left"
    assert not (folder / "sprung").exists(), "a model file's code was run"
    return found


def needs_shell(case: Case) -> bool:
    return SHELL.search(case.line) is not None


def test_there_are_enough_of_each_kind() -> None:
    kinds = Counter(case.kind for case in CASES)
    assert len(CASES) >= 100
    assert len(kinds) == 8
    assert min(kinds.values()) >= 5
    assert len({case.line for case in CASES}) == len(CASES)
    assert {case.code for case in CASES if needs_shell(case)} == {1, 2, 3, 141} == {case.code for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}: {case.line}" for case in CASES])
def test_bad_input(case: Case, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case.line]
    assert outcome.code == case.code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "\x1b" not in outcome.stderr
    assert "\x07" not in outcome.stderr
    if case.message is None:
        assert outcome.stderr == ""
        return
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("gmm: error: ")
    assert re.search(case.message, last), last
