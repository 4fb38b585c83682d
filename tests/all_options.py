"""All options of all commands as the last part of the README, made of the commands themselves.

`python -m tests.all_options` renews it there; test_readme.py fails where it is not what the commands say.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from gmmcli.cli.app import app
from gmmcli.cli.options import MEMORY, REPORT, Common, Memory
from gmmcli.data.formats import FORMAT, ReadOptions

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- all options: made by python -m tests.all_options -->"
END = "<!-- end of all options -->"
WIDTH = 118
OWN_HELP = ("help", "install_completion", "show_completion")  # typer's, in the words of its version
COMMON = [field.name for field in fields(Common)]
READING = [field.name for field in fields(ReadOptions)]
ROOM = [field.name for field in fields(Memory)]


def page() -> str:
    """The text between the markers."""
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands
    parts = [
        wrapped(
            "`gmm COMMAND --help` shows these too. An option takes the value in capitals, or one of those in "
            "brackets; it is a switch where there is neither."
        )
    ]
    for name, command in commands.items():
        parts += [f"### gmm {name}", *described(name, command)]
    reader = next(command for command in commands.values() if takes(command, READING) and takes(command, ROOM))
    shared = [
        (f"### {FORMAT.title}", "Of the commands that read DATA.", chosen(reader, READING)),
        (f"### {MEMORY.title}", "Of the commands that read DATA.", chosen(reader, ROOM)),
        (f"### {REPORT.title}", "Of every command.", chosen(reader, COMMON)),
        ("### gmm", "Without a command.", [p for p in group.params if p.name not in (*OWN_HELP, "debug")]),
    ]
    for heading, of_whom, parameters in shared:
        parts += [heading, of_whom, items(parameters)]
    return "\n\n".join(parts)


def described(name: str, command: Any) -> Iterable[str]:
    """A command: how it is called, what it does, its options by their panels, and examples."""
    own = [p for p in command.params if p.name not in (*COMMON, *READING, *ROOM, *OWN_HELP)]
    arguments = [p for p in own if p.param_type_name == "argument"]
    yield f"`{' '.join(['gmm', name, *map(called, arguments), '[OPTIONS]'])}`"
    yield from (wrapped(escaped(" ".join(text.split()))) for text in command.help.split("\n\n"))
    yield from [items(arguments)] if arguments else []
    options = [p for p in own if p.param_type_name != "argument"]
    for panel in dict.fromkeys(p.rich_help_panel for p in options):
        yield f"**{panel or 'Options'}**"
        yield items([p for p in options if p.rich_help_panel == panel])
    examples = [line.removeprefix("$ ") for line in command.epilog.splitlines() if line.startswith("$ ")]
    yield "\n".join(["```bash", *examples, "```"])


def takes(command: Any, names: Sequence[str]) -> bool:
    """Whether a command has all of these parameters."""
    return set(names) <= {p.name for p in command.params}


def chosen(command: Any, names: Sequence[str]) -> list[Any]:
    """These parameters of a command."""
    return [p for p in command.params if p.name in names]


def called(argument: Any) -> str:
    """An argument as the usage line has it."""
    shown = argument.metavar + ("..." if argument.nargs == -1 else "")
    return shown if argument.required else f"[{shown}]"


def items(parameters: Sequence[Any]) -> str:
    """A list with an item for each parameter: its names, what value it takes, its help and its default."""
    return "\n".join(wrapped(f"{titled(p)}: {escaped(told(p))}", "- ", "  ") for p in parameters)


def titled(parameter: Any) -> str:
    """`-o`, `--output` `FILE`."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    long_first = sorted(parameter.opts, key=len, reverse=True)
    names = ", ".join(f"`{option}`" for option in long_first)
    return names if parameter.is_flag else f"{names} `{value(parameter)}`"


def value(parameter: Any) -> str:
    """The placeholder of an option's value, or the values that there are."""
    return parameter.metavar or f"[{'|'.join(CHOICES[parameter.name])}]"


def choices(annotation: Any) -> list[str]:
    """The words that an annotation allows: of a Literal, wherever in it."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [word for part in get_args(annotation) for word in choices(part)]


# off our own annotations, since what becomes of them differs between versions of typer
CHOICES = {
    name: choices(parameter.annotation)
    for command in app.registered_commands
    for name, parameter in inspect.signature(command.callback or page).parameters.items()
}


def told(parameter: Any) -> str:
    """The help, and the default where the help leaves it to be shown beside it."""
    if parameter.required and parameter.param_type_name != "argument":
        return f"{parameter.help} Required."
    default = f"{parameter.default:g}" if isinstance(parameter.default, float) else parameter.default
    return parameter.help if default in (None, "", False) else f"{parameter.help} Default: `{default}`."


def escaped(text: str) -> str:
    """Text in which names of options, and what Markdown would take for its own, are code."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*|-[a-z]\b|-(?= )|[<>*_|]+)", r"`\1`", text)


def wrapped(text: str, first: str = "", other: str = "") -> str:
    """Lines of at most WIDTH characters; none begins with a default's value, which might read as a list's number."""
    bound = text.replace("Default: ", "Default:\xa0")
    lines = textwrap.wrap(
        bound, WIDTH, initial_indent=first, subsequent_indent=other, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\xa0", " ")


def renewed(readme: str) -> str:
    """The README with the page that is current."""
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"README.md lacks {BEGIN} or {END}"
    return f"{before}{BEGIN}\n\n{page()}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
