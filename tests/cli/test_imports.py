"""Importing the libraries: the collector of garbage is spared them, and works as before for all else."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from gmmcli.cli.imports import library_imports
from tests.cli.conftest import ENVIRONMENT


@pytest.mark.parametrize("arguments", [["show", "faithful.pt"], ["sample", "faithful.pt"]])
def test_the_collector_is_on_again_and_looks_through_no_library(arguments: list[str], here: Path) -> None:
    script = (
        "import gc, sys; from gmmcli.cli.app import main; main(sys.argv[1:]); "
        "print(gc.isenabled(), gc.get_freeze_count() > 50_000 > len(gc.get_objects()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, env=ENVIRONMENT, text=True)
    assert done.stderr == "True True\n"


def test_a_caller_with_torch_keeps_the_collector_as_it_is() -> None:
    import torch  # noqa: F401

    before = gc.isenabled(), gc.get_freeze_count()
    with library_imports():
        assert gc.isenabled()
    assert (gc.isenabled(), gc.get_freeze_count()) == before
