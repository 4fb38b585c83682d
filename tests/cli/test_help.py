"""Help: complete, quick, and its examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from gmmcli.choosing.options import GridOptions
from gmmcli.cli.app import app
from gmmcli.declared import declarations
from gmmcli.fitting.options import FitOptions
from tests.cli.conftest import ENVIRONMENT, gmm, ok, processor_seconds

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands
UNTOLD = {"log_every"}  # nothing happens without it, as its name says
HEAVY = {"torch", "pandas", "pyarrow", "matplotlib", "numpy"}


def examples(command: Any) -> list[str]:
    return [line.removeprefix("$ ") for line in command.epilog.splitlines() if line.startswith("$ ")]


EXAMPLES = [
    pytest.param(line, id=f"{name} {i}") for name in COMMANDS for i, line in enumerate(examples(COMMANDS[name]))
]


def test_the_commands() -> None:
    assert list(COMMANDS) == ["generate", "fit", "score", "assign", "impute", "sample", "show", "plot"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_examples_and_every_parameter_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert 2 <= len(examples(command)) <= 3
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.opts} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_with_a_value_tells_its_default(name: str) -> None:
    """Shown beside the help, or in its words where it is not a plain value."""
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument" or parameter.is_flag or parameter.name in UNTOLD:
            continue
        shown = parameter.required or parameter.default not in (None, "")
        assert shown != ("Default: " in parameter.help), f"{name} {parameter.opts[0]}: {parameter.help}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_panel_of_its_own_kind(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert parameter.param_type_name == "argument" or parameter.rich_help_panel, f"{name} {parameter.opts[0]}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_in_examples_on_the_sample_data(name: str) -> None:
    given = examples(COMMANDS[name])
    last = ok(name, "--help").out.partition("Examples:")[2]
    assert "".join(last.split()) == "".join(f"$ {line}" for line in given).replace(" ", "")
    assert name == "generate" or all(re.search("faithful|penguins", line) for line in given)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_fits_80_columns(name: str) -> None:
    shown = ok(name, "--help").out
    for parameter in COMMANDS[name].params:
        for option in parameter.opts:
            assert option in shown or parameter.param_type_name == "argument"
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_of_the_help_run(line: str, here: Path) -> None:
    data = b""
    for stage in line.split(" | "):
        words = shlex.split(stage)
        if words[0] == "gmm":
            outcome = ok(*words[1:], stdin=data)
            data = outcome.stdout
        else:
            data = subprocess.run(words, input=data, capture_output=True, check=True).stdout
    assert data or "-o" in line


def test_a_name_alone_shows_help() -> None:
    outcome = gmm()
    assert outcome.code == 2
    assert "Usage" in outcome.out
    assert not outcome.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["--version"], ["fit", "--family", "x", "-o", "y"]]
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from gmmcli.cli.app import main; main(sys.argv[1:]); "
        f"print(sorted(set(sys.modules) & {HEAVY!r}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_is_quick() -> None:
    assert min(processor_seconds("--help") for _ in range(3)) < 0.3


def test_version() -> None:
    assert re.fullmatch(r"gmm \d+\.\d+\.\d+\n", ok("--version").out)


@pytest.mark.parametrize("options", [FitOptions, GridOptions])
def test_the_options_of_the_library_are_those_of_the_command(options: type) -> None:
    """With its defaults, shown beside the help or told in its words."""
    parameters = {parameter.name: parameter for parameter in COMMANDS["fit"].params}
    declared = declarations(options)
    assert len(declared) > 1
    for name, (_, declaration) in declared.items():
        default, own = getattr(options, name), parameters[name].default
        if declaration.several or declaration.open:
            assert own is None
            assert f"Default: {default}" in declaration.help
        else:
            assert own == default


def test_the_library_words_options_without_flags() -> None:
    for options in (FitOptions, GridOptions):
        for _, declaration in declarations(options).values():
            assert "--" not in declaration.help + declaration.panel + declaration.usage
