"""What a benchmark says: the machine it ran on, tables in markdown, and its section of a file of results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

DISTRIBUTIONS = (
    "gmmcli", "torch", "numpy", "scikit-learn", "scikit-learn-intelex", "daal4py", "pomegranate", "pandas", "pyarrow"
)  # fmt: skip
NOTHING = "–"  # in a cell that has no value


@dataclass(frozen=True)
class Table:
    """A table for people: names of columns, and rows of cells that are text already."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """In markdown, padded so that it reads well on a terminal too; all columns but the first to the right."""
        widths = [max(len(row[i]) for row in (self.header, *self.rows)) for i in range(len(self.header))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(_line(row, widths) for row in (self.header, rule, *self.rows))


def add_options(parser: ArgumentParser) -> None:
    """The options of every script that say where its results go."""
    parser.add_argument("--markdown", metavar="FILE", help="also put the results in FILE, in place of earlier ones")
    parser.add_argument("--json", metavar="FILE", help="also write what was measured, unrounded, to FILE")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, versions, and the load that others had put on the machine, for a reader to judge."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in DISTRIBUTIONS if (version := _version(name))},
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2),
    }


def describe(about: dict[str, Any]) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['torch_kernels']}, "
        f"{about['system']}; load before the run {about['load']}.\n"
        f"Python {about['python']}, {versions}; commit {about['commit']}."
    )


def publish(options: Any, title: str, parts: Sequence[str], measured: Any) -> None:
    """Prints the parts, and writes them where the options of `add_options` say.

    title: of the script's section in the file. measured: what goes into the JSON.
    """
    text = "\n\n".join(parts)
    print(f"\n{text}")
    if options.markdown:
        write_section(Path(options.markdown), title, text)
    if options.json:
        Path(options.json).write_text(json.dumps(measured, indent=1) + "\n")


def write_section(path: Path, title: str, text: str) -> None:
    """Puts `## title` and the text into a markdown file, in place of the section of that title if it has one."""
    sections = path.read_text().split("\n## ") if path.exists() else ["# Results of the benchmarks\n"]
    ours = f"{title}\n\n{text}\n"
    places = [i for i, section in enumerate(sections) if i and section.splitlines()[0] == title]
    if places:
        sections[places[0]] = ours
    else:
        sections.append(ours)
    path.write_text("\n## ".join(section.rstrip("\n") + "\n" for section in sections))


def progress(text: str) -> None:
    """A line on stderr about what is going on."""
    print(text, file=sys.stderr, flush=True)


def figure(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits and no exponent, or a dash for none."""
    if value is None or value != value or value in (float("inf"), -float("inf")):
        return NOTHING
    if value and abs(value) < 10 ** (digits - 1):
        return f"{value:.{digits}g}"
    return f"{value:,.0f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in lines.items()}
        if "model name" in fields:
            return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"
    return platform.processor() or "unknown processor"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
