"""The options that several commands share, declared once: their names, help texts and where help shows them.

- Typed aliases such as `Output`, for the parameters of a command.
- `Reading` and `Common`: groups of options that a command takes as one parameter.
- `flatten`: makes a command with such parameters into one that Typer understands.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from gmmcli.cli.completion import column, column_list, complete
from gmmcli.cli.sizes import parse_size
from gmmcli.data.formats import COMPRESSIONS, DEFAULT_NULL_VALUES, FORMATS, ReadOptions
from gmmcli.errors import UsageError
from gmmcli.families import FAMILIES
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.data import Scratch

DATA = "Data"
DRAWS = "Drawing"
FORMAT = "Input format"
MEMORY = "Memory"
MIXTURE = "Mixture"
OUTPUT = "Output"
REPORT = "Reporting"
MISSING_CHOICES = Literal["error", "drop", "em"]


_formats = [*FORMATS, *(f"{name}{suffix}" for name in ("csv", "tsv", "json") for suffix in COMPRESSIONS)]

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Model file, as gmm fit writes it.", show_default=False)]
Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="Files, globs or folders, here or at an address as s3://bucket/data.parquet; - or nothing is standard "
        "input.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write, a file or an address. Default: standard output.",
        rich_help_panel=OUTPUT,
    ),
]
RowsOutput = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write, a file or an address; the only file of DATA is replaced when all rows are written. "
        "With / at its end a new folder, of a file for each process of torchrun's. Default: standard output.",
        rich_help_panel=OUTPUT,
    ),
]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--output-format",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}, with .gz or .zst to compress. Default: by the suffix of --output, else csv; "
        "of a folder, parquet.",
        autocompletion=complete(_formats),
        rich_help_panel=OUTPUT,
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        metavar="TEXT", help="Put before the names of the columns added. Default: nothing.", rich_help_panel=OUTPUT
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="LIST",
        help="Columns to use: names, positions from 1 or ranges such as 2:4, comma-separated. "
        "Default: all numeric columns but those that gmm itself adds.",
        autocompletion=column_list,
        rich_help_panel=DATA,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="LIST",
        help="Columns to leave out, given alike. Default: none.",
        autocompletion=column_list,
        rich_help_panel=DATA,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="COLUMN",
        help="Column of row weights, not negative; N is then the total weight wherever it occurs. Default: every "
        "row weighs 1.",
        autocompletion=column,
        rich_help_panel=DATA,
    ),
]
Missing = Annotated[
    MISSING_CHOICES,
    typer.Option(
        "--missing",
        help="Rows with a missing, NaN or infinite cell: an error that counts them, or left out of the fit (drop). "
        "With em the cells that are there are fitted, as is right where the others are missing at random; infinite "
        "ones are an error.",
        rich_help_panel=DATA,
    ),
]
MissingCells = Annotated[
    MISSING_CHOICES,
    typer.Option(
        "--missing",
        help="Rows with a missing, NaN or infinite cell: an error that counts them, or empty cells in what is "
        "added (drop). With em they are judged by the cells that are there, and infinite ones are an error. No row "
        "is ever left out of the output.",
        rich_help_panel=DATA,
    ),
]
FamilyName = Annotated[
    str,
    typer.Option(
        "--family",
        "-f",
        metavar="FAMILY",
        help=f"Covariance family: {', '.join(FAMILIES)}.",
        autocompletion=complete(list(FAMILIES)),
        rich_help_panel=MIXTURE,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="INT", help="Of everything that is drawn at random.", rich_help_panel=DRAWS),
]
Dtype = Annotated[
    Literal["float64", "float32"],
    typer.Option(
        "--dtype",
        help="Precision of what is written; float32 takes half the space.",
        rich_help_panel=OUTPUT,
    ),
]
Labels = Annotated[
    bool,
    typer.Option(
        "--labels",
        help="Add the component each row was drawn from, as column true_component.",
        rich_help_panel=DRAWS,
    ),
]
Samples = Annotated[
    int, typer.Option("--samples", "-n", min=1, metavar="N", help="Rows to draw.", rich_help_panel=DRAWS)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the report as JSON on standard output.", rich_help_panel=REPORT),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error, and warnings of libraries.", rich_help_panel=REPORT
    ),
]


@dataclass(frozen=True)
class Common:
    """What every command takes. debug is acted upon in app.main, before options are parsed."""

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only, no notes.", rich_help_panel=REPORT)
    ] = False
    debug: Debug = False


@dataclass(frozen=True)
class Reading:
    """How the input is read; the defaults are those of ReadOptions."""

    input_format: Annotated[
        str | None,
        typer.Option(
            "--input-format",
            metavar="FORMAT",
            help=f"{', '.join(FORMATS)}. Default: by suffix, else by content.",
            autocompletion=complete(FORMATS),
            rich_help_panel=FORMAT,
        ),
    ] = None
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="CHAR", help="Of delimited text, or tab. Default: a comma; in TSV a tab.", rich_help_panel=FORMAT
        ),
    ] = None
    quote: Annotated[
        str, typer.Option(metavar="CHAR", help="Quoting character; empty for none.", rich_help_panel=FORMAT)
    ] = ReadOptions.quote
    decimal: Annotated[
        str, typer.Option(metavar="CHAR", help="Decimal point, . or a comma.", rich_help_panel=FORMAT)
    ] = ReadOptions.decimal
    no_header: Annotated[
        bool,
        typer.Option(
            "--no-header", help="The first line is data; the columns are called x1, x2, …", rich_help_panel=FORMAT
        ),
    ] = not ReadOptions.header
    null_values: Annotated[
        str,
        typer.Option(
            "--null-values",
            metavar="LIST",
            help="Cells that count as missing, comma-separated; empty cells always do.",
            rich_help_panel=FORMAT,
        ),
    ] = ",".join(text for text in DEFAULT_NULL_VALUES if text)
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Text encoding, such as latin-1.", rich_help_panel=FORMAT)
    ] = ReadOptions.encoding

    def options(self) -> ReadOptions:
        """The same for the data layer. Raises UsageError for a value that makes no sense."""
        return ReadOptions(
            format=self.input_format,
            delimiter=self.delimiter,
            quote=self.quote,
            decimal=self.decimal,
            header=not self.no_header,
            null_values=("", *(text for text in self.null_values.split(",") if text)),
            encoding=self.encoding,
        )


@dataclass(frozen=True)
class Memory:
    """What data may take, and where what takes more is kept meanwhile.

    Raises UsageError for a size or a folder that makes no sense.
    """

    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="What data may take on a host, beyond interpreter and libraries, such as 512MB or 8GiB; what takes "
            "more is read again from files. Default: half of what is free.",
            rich_help_panel=MEMORY,
        ),
    ] = None
    cache_dir: Annotated[
        str | None,
        typer.Option(
            "--cache-dir",
            metavar="FOLDER",
            help="Where text and piped data larger than that are kept while the command runs. Default: the system's "
            "temporary folder, or /var/tmp where that one is in memory.",
            rich_help_panel=MEMORY,
        ),
    ] = None

    def __post_init__(self) -> None:
        self._size()
        if self.cache_dir is not None:
            check_folder("--cache-dir", self.cache_dir)

    def scratch(self, processes: int = 1) -> Scratch:
        """The same for the data layer of one of so many processes that share the host."""
        from gmmcli.data import Scratch

        return Scratch(self._size(), self.cache_dir, processes)

    def _size(self) -> int | None:
        return None if self.memory is None else parse_size(self.memory, "--memory")


def check_folder(option: str, path: str) -> None:
    """Raises UsageError where no file can be made: no such folder, no permission."""
    if not os.path.isdir(path):
        raise UsageError(f"{option} {one_line(path)}: there is no such folder: create it first")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {one_line(path)}: no permission to write in it: name another folder")


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter that is a group of options, a dataclass, replaced by the group's fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        types = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name])
            for f in fields(group)
        ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
        command(**values)

    signature = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run
