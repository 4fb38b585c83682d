"""The options for memory and for the folder of temporary files; sizes such as `512MB`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gmmcli.errors import UsageError
from gmmcli.names import printable

if TYPE_CHECKING:
    from gmmcli.data.scratch import Scratch

MEMORY = "Memory"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Room:
    """How much memory data may take, and where what takes more is put."""

    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What data may take of each host's memory, beyond the program and its libraries, as 512MB or 2GiB. "
            "Default: half of what is free.",
            rich_help_panel=MEMORY,
        ),
    ] = None
    cache_dir: Annotated[
        str | None,
        typer.Option(
            "--cache-dir",
            metavar="FOLDER",
            help="Where temporary files are made of text and pipes that take more. Default: the system's.",
            rich_help_panel=MEMORY,
        ),
    ] = None

    def scratch(self, processes: int = 1) -> Scratch:
        """The same for the data layer, of one of so many processes that share the host."""
        from gmmcli.data.memory import available_memory
        from gmmcli.data.scratch import Scratch

        budget = available_memory() // 2 if self.memory is None else parse_size("--memory", self.memory)
        return Scratch(budget // processes, self.cache_dir)


def parse_size(option: str, text: str) -> int:
    """Bytes, in decimal or binary units. Raises UsageError naming the option."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*((?:[KMGT]I?)?)B?", text.strip().upper())
    if found is None:
        raise UsageError(f"{option} {printable(text)}: give a size such as 512MB or 2GiB")
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < 1:
        raise UsageError(f"{option} {text}: must be at least 1 byte")
    return size
