"""All that the commands print: notes, warnings and errors on stderr, reports and JSON on stdout.

- `Console`: notes and warnings, silent under --quiet, and the progress of a fit on a terminal.
- `Table`: numbers in columns, none of which is ever folded.
- `write`, `write_json`, `flush`: to stdout. `error`: the line that a failing command ends with.
- `as_flag`: an option as the command line has it. `count`, `number`: words.
- `discard`: drops the output to a stream that cannot be written.

Text from outside (names of columns and files) is never read as rich's markup, nor are control characters in it
passed on to the terminal.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.live import Live
from rich.text import Text

from gmmcli.errors import Option
from gmmcli.storage.names import one_line

UNLIMITED = sys.maxsize  # columns of a "terminal" that is a file or a pipe: nothing is cut or wrapped there
REFRESHES = 5  # a second
GAP = 2  # spaces between the columns of a table
STDOUT = "standard output"
_ODD = re.compile(r"[^\n -~]")


def as_flag(option: Option) -> str:
    """The option as the command line has it: `--variance-floor`, or `--missing drop`."""
    flag = "--" + option.name.replace("_", "-")
    return flag if option.value is None or option.value is True else f"{flag} {option.value}"


def number(value: float) -> str:
    """Six digits."""
    return f"{value:.6g}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


class Console:
    """Notes to the user on stderr; none of them when quiet."""

    def __init__(self, quiet: bool = False):
        self._quiet = quiet

    @property
    def live(self) -> bool:
        """Whether someone is watching: a terminal, and notes are wanted."""
        return not self._quiet and _rich(stderr=True).is_terminal

    def note(self, text: str | Table = "") -> None:
        """A line, or a table."""
        if not self._quiet:
            _tell(text)

    def log(self, value: Any) -> None:
        """A value as JSON on one line of stderr, also when quiet: it was asked for."""
        print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A line that begins `gmm: warning:`."""
        if not self._quiet:
            _tell(Text.assemble("gmm: ", ("warning:", "yellow"), " ", one_line(text)))

    def watch(self, picture: RenderableType) -> AbstractContextManager[Any]:
        """Shows the picture, drawn anew some times a second, for as long as the context lasts, then removes it."""
        return Live(picture, console=_rich(stderr=True), transient=True, refresh_per_second=REFRESHES)


def error(text: str) -> None:
    """The last line of a command that failed."""
    _tell(Text.assemble("gmm: ", ("error:", "bold red"), " ", one_line(text)), wrap=False)


def write(text: str | Table = "") -> None:
    """A line or a table on standard output."""
    with _naming_stdout():
        _show(_rich(stderr=False), text)


def write_json(value: Any) -> None:
    """Writes a value as JSON on standard output; NaN and infinity, which JSON lacks, are null.

    Characters that a terminal would act on are escaped, as JSON allows in text.
    """
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    with _naming_stdout():
        sys.stdout.write(_ODD.sub(_escaped, text) + "\n")


def flush() -> None:
    """Writes out the buffer of standard output."""
    with _naming_stdout():
        sys.stdout.flush()


def discard(stream: TextIO) -> None:
    """Drops the stream's buffer and all further output to it."""
    try:
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, stream.fileno())
        os.close(void)
    except (OSError, ValueError):
        pass


class Table:
    """Rows of cells without lines around them, for a terminal of any width.

    header: names of the columns; a newline in a name begins another line of it. Without any name there is no header.
    The first column has words and is flush left; the others have numbers and are flush right. Columns that do not fit
    side by side come in several tables, one under another, each of which begins with the first column. Only a name
    that is too wide by itself is cut. rich's own table would fold or cut the numbers.
    """

    def __init__(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = ""):
        self._title = one_line(title)
        names = [[one_line(line) for line in name.split("\n")] for name in header]
        height = max(map(len, names)) if any(header) else 0
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        if len(columns) != len(header):
            raise ValueError(f"{len(columns)} columns with {len(header)} names")
        self._names = [[""] * (height - len(lines)) + lines if height else [] for lines in names]
        self._cells = [[one_line(cell) for cell in column] for column in columns]

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> Iterator[Text]:
        """The lines, for rich to print."""
        for line in self.lines(options.max_width):
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def lines(self, width: int) -> list[Text]:
        """The lines for a terminal of this many columns."""
        lines = [Text(self._title)] if self._title else []
        first = self._column(0)
        rest = width - cell_len(first[0]) - GAP
        part, used = [first], 0
        for index in range(1, len(self._names)):
            column = self._column(index, rest)
            if used and used + cell_len(column[0]) > rest:
                lines += [*self._part(part), Text()]
                part, used = [first], 0
            part.append(column)
            used += cell_len(column[0]) + GAP
        return lines + self._part(part)

    def _column(self, index: int, most: int = UNLIMITED) -> list[str]:
        """Lines of one width: the name, cut to `most` if it is wider, then the cells."""
        cells = self._cells[index]
        most = max(most, *map(cell_len, cells), 1)
        lines = [*(_cut(name, most) for name in self._names[index]), *cells]
        widest = max(map(cell_len, lines), default=0)
        padding = [" " * (widest - cell_len(line)) for line in lines]
        return [pad + line if index else line + pad for line, pad in zip(lines, padding, strict=True)]

    def _part(self, columns: Sequence[Sequence[str]]) -> list[Text]:
        lines = [Text((" " * GAP).join(cells).rstrip()) for cells in zip(*columns, strict=True)]
        for line in lines[: len(self._names[0])]:
            line.stylize("dim")
        return lines


def _escaped(character: re.Match[str]) -> str:
    if character[0].isprintable():
        return character[0]
    units = character[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _cut(text: str, width: int) -> str:
    cut = Text(text)
    cut.truncate(width, overflow="ellipsis")
    return cut.plain


@contextmanager
def _naming_stdout() -> Iterator[None]:
    """Adds the name of standard output to an error of the system without a file's name."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise type(error)(error.errno, error.strerror, STDOUT) from None


def _tell(what: str | Text | Table, wrap: bool = True) -> None:
    """Shows on stderr, or drops it where that cannot be written, as on a full disk: no result is lost for a note."""
    try:
        _show(_rich(stderr=True), what, wrap)
    except BrokenPipeError:
        raise
    except OSError:
        discard(sys.stderr)  # else its buffer fails again at the end of the process, with exit code 120


def _show(console: RichConsole, what: str | Text | Table, wrap: bool = True) -> None:
    """Prints a table or a text. A text is wrapped between words, so that no number is folded, or stays one line."""
    if isinstance(what, str):
        what = Text(one_line(what))
    console.print(what, soft_wrap=isinstance(what, Table) or not wrap, highlight=False)


def _rich(*, stderr: bool) -> RichConsole:
    stream = sys.stderr if stderr else sys.stdout
    return RichConsole(stderr=stderr, markup=False, emoji=False, width=None if stream.isatty() else UNLIMITED)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
