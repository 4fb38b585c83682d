"""All that the commands print: notes, warnings and errors on stderr, reports and JSON on stdout.

- `Console`: notes and warnings, silent under --quiet, and the progress of a fit on a terminal.
- `table`: numbers in columns.
- `write`, `write_json`: to stdout. `error`: the line that a failing command ends with.

Text from outside (names of columns and files) is never read as rich's markup, nor are control characters in it
passed on to the terminal.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000  # columns of a "terminal" that is a file or a pipe: nothing is cut or wrapped there
REFRESHES = 5  # a second


class Console:
    """Notes to the user on stderr; none of them when quiet."""

    def __init__(self, quiet: bool = False):
        self._quiet = quiet

    @property
    def live(self) -> bool:
        """Whether someone is watching: a terminal, and notes are wanted."""
        return not self._quiet and _stderr().is_terminal

    def note(self, text: str | Table = "") -> None:
        """A line, or a table."""
        if not self._quiet:
            _show(_stderr(), text)

    def warn(self, text: str) -> None:
        """A line that begins `gmm: warning:`."""
        if not self._quiet:
            _show(_stderr(), Text.assemble("gmm: ", ("warning:", "yellow"), " ", one_line(text)))

    def watch(self, picture: RenderableType) -> AbstractContextManager[Any]:
        """Shows the picture, drawn anew some times a second, for as long as the context lasts, then removes it."""
        return Live(picture, console=_stderr(), transient=True, refresh_per_second=REFRESHES)


def error(text: str) -> None:
    """The last line of a command that failed."""
    _show(_stderr(), Text.assemble("gmm: ", ("error:", "bold red"), " ", one_line(text)))


def write(text: str | Table = "") -> None:
    """A line or a table on standard output."""
    _show(_rich(stderr=False), text)


def write_json(value: Any) -> None:
    """A value as JSON on standard output; NaN and infinity, which JSON has not, as null."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """Rows of cells without lines around them, the first column to the left, the others to the right."""
    made = Table(
        title=None if title is None else Text(one_line(title)),
        title_justify="left",
        title_style="",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=any(header),
        header_style="dim",
    )
    for place, name in enumerate(header):
        made.add_column(Text(one_line(name)), justify="right" if place else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(one_line(cell)) for cell in row))
    return made


def one_line(text: str) -> str:
    """The text on one line, control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _show(console: RichConsole, what: str | Text | Table) -> None:
    if isinstance(what, str):
        what = Text(one_line(what))
    console.print(what, soft_wrap=not isinstance(what, Table), highlight=False)


def _stderr() -> RichConsole:
    return _rich(stderr=True)


def _rich(*, stderr: bool) -> RichConsole:
    stream = sys.stderr if stderr else sys.stdout
    return RichConsole(stderr=stderr, markup=False, emoji=False, width=None if stream.isatty() else UNLIMITED)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
