"""Start-up of two checkouts in turns: `python -m tests.benchmarks.start_up ONE OTHER`.

`gmm --help`, and `gmm fit` and `gmm assign` of a small file, in whole processes. CPython 3.11 holds the frames of a
thread in chunks of 16 KB. A loop whose calls cross the edge of a chunk maps and unmaps a chunk for every call. At one
depth of the stack in twenty the import of torch has such a loop and takes 0.1 s longer. So every round calls gmm at
another depth: the medians do not depend on the luck of one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.report import Table, add_options, describe, machine, publish

TITLE = "Start-up"
SMALL_FILE = str(Path(__file__).parents[2] / "sample_data" / "faithful.csv")
SLOTS = 2048  # 8 bytes each: the size of a chunk
COMMANDS = {
    "gmm --help": ["--help"],
    "gmm fit": ["fit", SMALL_FILE, "-o", "m.pt"],
    "gmm assign": ["assign", "m.pt", SMALL_FILE, "-o", "labelled.csv"],
}


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs=2, metavar="CHECKOUT", help="a folder that holds gmmcli/")
    parser.add_argument("--rounds", type=int, default=24)
    add_options(parser)
    options = parser.parse_args()
    about, seconds = machine(), {}
    with tempfile.TemporaryDirectory() as folder:  # gmm assign takes the model that gmm fit has left there
        for name, command in COMMANDS.items():
            seconds[name] = rounds(options.checkouts, command, options.rounds, folder)
    rows = []
    for name, pairs in seconds.items():
        one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(after / before for before, after in pairs)
        rows.append([name, f"{one:.3f}", f"{other:.3f}", f"{ratio:.3f}"])
    table = Table(["command", "one, s", "other, s", "other / one"], rows)
    publish(options, TITLE, [describe(about), table.markdown()], {"machine": about, "seconds": seconds})


def rounds(checkouts: list[str], command: list[str], count: int, folder: str) -> list[list[float]]:
    """Seconds of both checkouts in each round. A first round is not counted."""
    measured = []
    for index in range(count + 1):
        pair = [0.0, 0.0]
        for which in (0, 1) if index % 2 else (1, 0):
            pair[which] = once(checkouts[which], command, index * SLOTS // (count + 1), folder)
        measured.append(pair)
    return measured[1:]


def once(checkout: str, command: list[str], slots: int, folder: str) -> float:
    """Seconds of a command that is called below a frame of so many slots."""
    names = "=".join(f"_{index}" for index in range(slots + 1))
    call = f"def call():\n {names}=0\n from gmmcli.__main__ import run\n return run()"
    program = f"import sys\nsys.argv=['gmm', *{command!r}]\n{call}\nsys.exit(call())"
    environment = {**os.environ, "PYTHONPATH": os.path.abspath(checkout)}
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
