"""`gmm` as several processes, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from tests.cli.conftest import ENVIRONMENT
from tests.hostile_blas import command

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def torchrun(
    processes: int, *arguments: str, restarts: int = 0, meeting: Sequence[str] = ("--standalone",)
) -> subprocess.Popen[str]:
    """Starts `gmm` as so many processes. meeting: how several torchruns, one on each host, find each other."""
    launch = [*TORCHRUN, "--nproc-per-node", str(processes), "--max-restarts", str(restarts), *meeting]
    return subprocess.Popen(
        [*launch, *command("gmmcli"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def done(started: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str]:
    """The exit code, and what `gmm` has said on stderr, without torch's own words."""
    try:
        _, stderr = started.communicate(timeout=timeout)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    return started.returncode, "\n".join(line for line in stderr.splitlines() if line.startswith("gmm: "))
