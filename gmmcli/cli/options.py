"""The options that commands share, each declared once, and the way from a declaration to Typer.

- Typed aliases such as `Output`, for the parameters of a command; `Common`, `Memory` and `Writing`: groups of options
  that a command takes as one parameter. `Fitting`, `Choosing`, `ReadOptions`: groups that the library declares.
- `flatten`: a command for Typer. `worded`: the text of a declaration with flags.
- `parse_size`: bytes from a text such as 8GB.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from gmmcli.choosing.options import GridOptions
from gmmcli.cli.completion import complete, complete_list
from gmmcli.cli.console import as_flag
from gmmcli.data.formats import COMPRESSIONS, FORMATS
from gmmcli.data.formats import ReadOptions as ReadOptions
from gmmcli.declared import Declared, Panel, declarations, unpack
from gmmcli.errors import Option, UsageError
from gmmcli.fitting.options import FitOptions
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.data.scratch import Scratch

DATA = Panel("Data")
DRAWS = Panel("Drawing")
MEMORY = Panel("Memory")
MIXTURE = Panel("Mixture")
OUTPUT = Panel("Output")
REPORT = Panel("Reporting")
MISSING_CHOICES = Literal["error", "drop", "em"]
UNITS = ("", "k", "m", "g", "t")  # powers of 1000, or of 1024 before "ib"
_formats = [*FORMATS, *(f"{name}{suffix}" for name in ("csv", "tsv", "json") for suffix in COMPRESSIONS)]

Fitting = Annotated[dict[str, Any], FitOptions]  # given values, and defaults other than None
Choosing = Annotated[dict[str, Any], GridOptions]
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
Output = Annotated[str | None, OUTPUT("-o FILE", "Where to write, a file or an address. Default: standard output.")]
OutputFormat = Annotated[
    str | None,
    OUTPUT(
        "FORMAT",
        f"{', '.join(FORMATS)}, with .gz or .zst to compress. Default: by the suffix of --output, else csv; "
        "of a folder, parquet.",
        suggestions=_formats,
    ),
]
Prefix = Annotated[str, OUTPUT("TEXT", "Put before the names of the columns added. Default: nothing.")]
MissingCells = Annotated[
    MISSING_CHOICES,
    DATA(
        "",
        "Rows with a missing, NaN or infinite cell: an error that counts them, or empty cells in what is "
        "added (drop). With em they are judged by the cells that are there, and infinite ones are an error. No row "
        "is ever left out of the output.",
    ),
]
Seed = Annotated[int, DRAWS("INT", "Of everything that is drawn at random.")]
Dtype = Annotated[
    Literal["float64", "float32"], OUTPUT("", "Precision of what is written; float32 takes half the space.")
]
Labels = Annotated[bool, DRAWS("", "Add the component each row was drawn from, as column true_component.")]
Samples = Annotated[int, DRAWS("-n N", "Rows to draw.", least=1)]
Json = Annotated[bool, REPORT("", "Print the report as JSON on standard output.")]


@dataclass(frozen=True)
class Writing:
    """The output of rows that pass through a command, and the names of the columns that it adds."""

    output: str | None = OUTPUT.field(
        None,
        "-o FILE",
        "Where to write, a file or an address; the only file of DATA is replaced when all rows are written. "
        "With / at its end a new folder, of a file for each process of torchrun's. Default: standard output.",
    )
    output_format: OutputFormat = None
    prefix: Prefix = ""


@dataclass(frozen=True)
class Debugging:
    """An option of every command and of `gmm` itself. app.main acts on it, before options are parsed."""

    debug: bool = REPORT.field(False, "", "Show the traceback of an error, and warnings of libraries.", rank=1)


@dataclass(frozen=True)
class Common(Debugging):
    """Options of every command."""

    quiet: bool = REPORT.field(False, "-q", "Print errors only, no notes.")


@dataclass(frozen=True)
class Memory:
    """Memory for data, and the folder for data that takes more.

    Raises UsageError for a size or a folder that makes no sense.
    """

    memory: str | None = MEMORY.field(
        None,
        "SIZE",
        "What data may take on a host, beyond interpreter and libraries, such as 512MB or 8GiB; what takes "
        "more is read again from files. Default: half of what is free.",
    )
    cache_dir: str | None = MEMORY.field(
        None,
        "FOLDER",
        "Where text and piped data larger than that are kept while the command runs. Default: the system's "
        "temporary folder, or /var/tmp where that one is in memory.",
    )

    def __post_init__(self) -> None:
        self._size()
        folder, given = self.cache_dir, Option("cache_dir", one_line(self.cache_dir or ""))
        if folder is not None and not os.path.isdir(folder):
            raise UsageError("there is no such folder", subject=given, remedy="create it first")
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError("no permission to write in it", subject=given, remedy="name another folder")

    def scratch(self, processes: int = 1) -> Scratch:
        """The memory and the folder for one of `processes` processes on this host."""
        from gmmcli.data.scratch import Scratch

        return Scratch(self._size(), self.cache_dir, processes)

    def _size(self) -> int | None:
        return None if self.memory is None else parse_size(self.memory, "memory")


def parse_size(text: str, option: str) -> int:
    """Bytes of a size in any case: `512MB` and `512M` are 512 · 1000², `2GiB` is 2 · 1024³, a number alone is bytes.

    Raises UsageError naming the option for any other text, and for less than one byte.
    """
    given = Option(option, text)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?(?:([kmgt]?)b?|([kmgt])ib)", text.strip().lower())
    if match is None:
        raise UsageError("not a size", subject=given, remedy="give a number with MB, GB, MiB or GiB, such as 8GB")
    unit = 1024 ** UNITS.index(match[3]) if match[3] else 1000 ** UNITS.index(match[2])
    size = int(float(match[1]) * unit)
    if size < 1:
        raise UsageError("give at least one byte", subject=given)
    return size


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """The command for Typer, with groups of options replaced by their fields.

    A group is a parameter that is a dataclass, or a dictionary annotated with one, as `Fitting`: it gets the values
    that are not None or False. Declarations are in annotations, or in defaults that `Panel.field` has made.
    """
    parameters, groups = [], dict[str, tuple[type, bool]]()
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        group = next((one for one in (hint, *get_args(hint)) if is_dataclass(one)), None)
        if isinstance(group, type):
            groups[parameter.name] = group, group is hint
            parameters += _fields(group)
        else:
            parameters.append(_parameter(parameter.name, hint, parameter.default))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, (group, whole) in groups.items():
            own = {option.name: values.pop(option.name) for option in _fields(group)}
            given = {option: value for option, value in own.items() if value is not None and value is not False}
            values[name] = group(**own) if whole else given
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


@functools.cache
def _fields(group: type) -> list[inspect.Parameter]:
    """The declared fields of a group in the order of the help."""
    declared = declarations(group)
    panels = list(dict.fromkeys(declaration.panel for _, declaration in declared.values()))
    ordered = sorted(declared, key=lambda name: (panels.index(declared[name][1].panel), declared[name][1].rank))
    ranges = group not in (FitOptions, GridOptions)
    return [_parameter(name, Annotated[declared[name]], getattr(group, name), ranges) for name in ordered]


def _parameter(name: str, hint: Any, default: Any, ranges: bool = True) -> inspect.Parameter:
    """A parameter of a command for Typer. ranges: whether the help shows the range of a number."""
    kind, declaration = unpack(hint)
    if isinstance(default, Field):
        declaration, default = default.metadata["declared"], default.default
    if declaration is not None:
        default = None if declaration.several or declaration.open else default
        hint = Annotated[_typer_option(name, kind, declaration, ranges)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _typer_option(name: str, kind: Any, declaration: Declared, ranges: bool) -> tuple[Any, Any]:
    """The type of a declared option, and Typer's description of it."""
    words = declaration.usage.split()
    suggestions, parser = declaration.suggestions, None
    if not callable(suggestions):
        suggestions = (complete_list if declaration.several else complete)(suggestions) if suggestions else None
    if declaration.several:
        kind = str  # the command parses the list
    elif declaration.choices or kind in (int, float) or get_origin(kind) is Literal:
        parser = functools.partial(declaration.parse, name, kind)
        kind = Literal[tuple(declaration.choices)] if declaration.choices else kind  # type: ignore[valid-type]
    return kind, typer.Option(
        *(as_flag(Option(name)), *(word for word in words if word.startswith("-"))),
        metavar=next((word for word in words if not word.startswith("-")), None),
        help=worded(declaration.help),
        rich_help_panel=worded(declaration.panel),
        autocompletion=suggestions,
        parser=parser,
        min=declaration.least if ranges else None,
        max=declaration.most if ranges else None,
    )


def worded(text: str) -> str:
    """A declaration's text with the flag of each option that it names."""
    return re.sub(r"<(\w+)>", lambda match: as_flag(Option(match[1])), text)
