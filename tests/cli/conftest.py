"""Running `gmm`: in this process where that is enough, for speed, and as a process of its own where it is not."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmmcli.cli.app import main
from tests.hostile_blas import command

ROOT = Path(__file__).parents[2]
EXECUTABLE = [sys.executable, "-m", "gmmcli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


@dataclass(frozen=True)
class Outcome:
    """What a run of `gmm` gave."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def executable() -> list[str]:
    """As EXECUTABLE, with the matrix products of this process."""
    return [sys.executable, *command("gmmcli")]


def gmm(*arguments: str, stdin: bytes | str = b"") -> Outcome:
    """Runs `gmm` in this process."""
    with CliRunner().isolation(input=stdin) as (stdout, stderr, _):
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        return Outcome(code, stdout.getvalue(), stderr.getvalue().decode())


def ok(*arguments: str, stdin: bytes | str = b"") -> Outcome:
    """Runs `gmm` in this process; it must succeed."""
    outcome = gmm(*arguments, stdin=stdin)
    assert outcome.code == 0, outcome.stderr
    return outcome


def process(*arguments: str, stdin: bytes = b"") -> Outcome:
    """Runs `gmm` as a process of its own."""
    done = subprocess.run([*executable(), *arguments], input=stdin, capture_output=True, env=ENVIRONMENT, timeout=60)
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


def processor_seconds(*arguments: str) -> float:
    """Processor time of `gmm` as a process; unlike the time by the clock, other work does not lengthen it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process(*arguments).code == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def shell(script: str, environment: dict[str, str] | None = None) -> Outcome:
    """Runs a script in bash, where `gmm` is this checkout's."""
    define = f'gmm() {{ {" ".join(executable())} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", define + script], capture_output=True, env=ENVIRONMENT | (environment or {}), timeout=120
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faithful.pt and penguins.pt."""
    folder = tmp_path_factory.mktemp("fitted")
    data = ROOT / "sample_data"
    ok("fit", f"{data}/faithful.csv", "-k", "2", "-o", f"{folder}/faithful.pt", "--restarts", "2")
    arguments = ["--columns", "3:6", "--missing", "drop", "-k", "3", "--restarts", "2"]
    ok("fit", f"{data}/penguins.csv", *arguments, "-o", f"{folder}/penguins.pt")
    return folder


@pytest.fixture
def here(tmp_path: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder but for sample_data and the two models."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    for model in fitted.iterdir():
        (tmp_path / model.name).symlink_to(model)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weigh(path: Path) -> None:
    """Writes faithful.csv with a column w of row weights 0 to 4, a fifth of the rows each."""
    head, *rows = (ROOT / "sample_data" / "faithful.csv").read_text().splitlines()
    path.write_text("\n".join([f"{head},w", *(f"{row},{i % 5}" for i, row in enumerate(rows))]) + "\n")


def new_files(folder: Path, known: Sequence[str] = ("sample_data", "faithful.pt", "penguins.pt")) -> set[str]:
    """Names of the files in a folder that the `here` fixture has not put there."""
    return {path.name for path in folder.iterdir()} - set(known)
