"""Memory of the machine: `available_memory` for this process, and `is_in_memory`, whether files take it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_GUESS = 1 << 30  # available memory if the system tells nothing


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that are free, or would be if the system released cached files; at least 0.

    The least of the machine's memory and the rest of the limits of the control groups (versions 1 and 2) of this
    process, as containers and job schedulers set them. root: of the file system to read, for tests.
    """
    machine = re.search(r"^MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    found = [*([int(machine[1]) << 10] if machine else []), *_of_groups(root)]
    return max(0, min(found, default=_of_system()))


def is_in_memory(folder: str, root: Path = Path("/")) -> bool:
    """Whether files in the directory take memory, as those in /tmp do on many systems; False if unknown."""
    path = os.path.realpath(folder)
    longest, kind = "", ""
    for line in _read(root / "proc/self/mounts").splitlines():
        _, mounted, found, *_ = [*line.split(" "), "", ""]
        mounted = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted)
        if len(mounted) >= len(longest) and os.path.commonpath([mounted, path]) == mounted:
            longest, kind = mounted, found
    return kind in ("tmpfs", "ramfs")


def _of_groups(root: Path) -> Iterator[int]:
    """Memory left in each group that limits it, from the process's own group up."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = root / "sys/fs/cgroup/memory"
        else:
            continue
        # in a container the path may be the host's, and the group is seen at the top
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            yield from _left(group, *names)
            if group == top:
                break


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if most.isdecimal() and used.isdecimal():  # not "max"
        cached = re.search(rf"^{reclaimable} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
        yield int(most) - int(used) + (int(cached[1]) if cached else 0)


def _of_system() -> int:
    """Free memory by POSIX, or half of all memory if a system tells only that."""
    for name, share in (("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)):
        try:
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") // share
        except (AttributeError, ValueError, OSError):
            continue
    return _GUESS


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
