"""The README's commands, run as written, print what it shows. `python -m tests.test_readme` renews what it shows."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.all_options import renewed

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
# What a run depends on but its result does not: time, and the number of passes and the gain left, which hang on the
# processor's last bits.
VARIABLE = [
    (re.compile(r"after \d+\.\d s, \d+ passes in all"), "after T s, P passes in all"),
    (re.compile(r"after \d+ passes"), "after P passes"),
    (re.compile(r"gain: \S+ nats"), "gain: G nats"),
]


def blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README.read_text()) if name == kind]


def steps(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output shown."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def environment(folder: Path) -> dict[str, str]:
    """One in which `gmm` is this checkout's, run by this interpreter."""
    (folder / "gmm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gmmcli "$@"\n')
    (folder / "gmm").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def run(command: str, folder: Path, bin_folder: Path) -> str:
    script = ["bash", "-c", f"set -eo pipefail; {{ {command}\n}} 2>&1"]
    done = subprocess.run(
        script, cwd=folder, env=environment(bin_folder), capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (0, 141), f"{command}\n{done.stdout}"  # 141: head has read enough
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def assert_same(got: str, shown: str) -> None:
    """The same words and whole numbers; others as printed, or, where they hang on rounding, to 1e-6 of themselves."""
    for pattern, replacement in VARIABLE:
        got, shown = pattern.sub(replacement, got), pattern.sub(replacement, shown)
    words = [re.sub(r" +", " ", NUMBER.sub("#", text)).strip() for text in (got, shown)]
    assert words[0] == words[1]
    for a, b in zip(NUMBER.findall(got), NUMBER.findall(shown), strict=True):
        same = a == b or ("." in a and "." in b and math.isclose(float(a), float(b), rel_tol=1e-6))
        assert same, f"{a} is shown as {b}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The sample data in a folder of its own, with room for a folder of executables beside it."""
    (tmp_path / "bin").mkdir()
    shutil.copytree(ROOT / "sample_data", tmp_path / "clone" / "sample_data")
    return tmp_path / "clone"


def test_the_transcripts(clone: Path) -> None:
    for block in blocks("console"):
        for command, shown in steps(block):
            assert_same(run(command, clone, clone.parent / "bin"), shown)


def test_the_python_side(clone: Path) -> None:
    for block in blocks("python"):
        run(f"{sys.executable} - <<'EOF'\n{block}EOF", clone, clone.parent / "bin")


def test_the_two_commands_are_one_line_each() -> None:
    install, check = blocks("sh")
    assert install.startswith("python -m pip install . && gmm fit sample_data/")
    assert check == "python -m pip install '.[test]' && python -m pytest\n"
    assert install.count("\n") == 1


def test_all_options_are_those_of_the_commands() -> None:
    readme = README.read_text(encoding="utf-8")
    assert renewed(readme) == readme, "renew the README's last part: python -m tests.all_options"


def test_the_install_line_fits(clone: Path) -> None:
    fit = blocks("sh")[0].partition("&&")[2]
    assert "penguins.pt: written" in run(fit, clone, clone.parent / "bin")


def renew() -> None:
    """Puts the output of every command into the README."""
    with tempfile.TemporaryDirectory() as name:
        folder, executables = Path(name) / "clone", Path(name) / "bin"
        executables.mkdir()
        shutil.copytree(ROOT / "sample_data", folder / "sample_data")

        def rewrite(match: re.Match[str]) -> str:
            if match[1] != "console":
                return match[0]
            outputs = [f"$ {command}\n{run(command, folder, executables)}" for command, _ in steps(match[2])]
            return "```console\n" + "\n".join(outputs) + "```"

        README.write_text(BLOCK.sub(rewrite, README.read_text()))


if __name__ == "__main__":
    renew()
