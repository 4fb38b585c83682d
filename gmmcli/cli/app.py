"""`gmm`: the commands together, and the table of their errors.

- `app`: the Typer application.
- `main`: runs it and returns the exit code; nothing else in the package ends the process.
- `explain`: the table from errors to messages and exit codes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from gmmcli import __version__
from gmmcli.cli import assign, console, fit, generate, impute, plot, sample, score, show
from gmmcli.cli.options import Debugging, flatten
from gmmcli.cli.processes import group_of
from gmmcli.errors import GmmError, UsageError
from gmmcli.passes.distributed import together
from gmmcli.storage.names import listing, masked

INTERRUPTED = 130
TERMINATED = 143
CLOSED_PIPE = 141
SHARED = ("fit", "score", "assign")  # commands that several processes run together
DEBUG_HINT = "run with --debug for the traceback"

app = typer.Typer(
    name="gmm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="Help on a command and its options: gmm COMMAND --help",
)


def _version(wanted: bool) -> None:
    if wanted:
        console.write(f"gmm {__version__}")
        raise typer.Exit


def gmm(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
    debugging: Debugging,
) -> None:
    """Fits Gaussian mixtures to data files, and scores, labels, samples and draws pictures with them.

    Reads and writes CSV, TSV, JSON lines, Parquet and Arrow, from files or through pipes.
    """
    if group_of(context).size > 1 and context.invoked_subcommand not in SHARED:
        problem = f"gmm {context.invoked_subcommand} is work for one process"
        raise UsageError(problem, remedy=f"under torchrun only {listing(SHARED)} run")


app.callback()(flatten(gmm))
for module in (generate, fit, score, assign, impute, sample, show, plot):
    command = getattr(module, module.__name__.rpartition(".")[2])
    app.command(epilog="Examples:\n\n" + module.EXAMPLES)(flatten(command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `gmm` with these arguments, or the process's own, and returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments  # an error may come before the options are parsed
    with _streams(), _terminable(), warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        try:
            with together(lambda error: explain(error)[1]) as group:
                command = typer.main.get_command(app)
                code = command.main(arguments, prog_name="gmm", standalone_mode=False, obj=group)
                code = code if isinstance(code, int) else 0
            console.flush()  # the rest of the buffer may meet a closed pipe or a full disk
        except BaseException as error:
            code, message = explain(error)
            if debug and code not in (CLOSED_PIPE, INTERRUPTED):
                sys.stderr.write(masked("".join(traceback.format_exception(error))))
            if message:
                console.error(message)
        if code == CLOSED_PIPE:
            console.discard(sys.stdout)  # else the interpreter flushes into the closed pipe at exit
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an error. The message is empty if help was printed, or if the reader has gone."""
    match error:
        case SystemExit():  # typer and rich exit on a closed pipe, with a code of theirs
            if isinstance(error.__context__, BrokenPipeError):
                return CLOSED_PIPE, ""
            return error.code if isinstance(error.code, int) else int(error.code is not None), ""
        case GmmError():
            return error.exit_code, error.worded(console.as_flag)
        case BrokenPipeError():
            return CLOSED_PIPE, ""
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED, ""
        case OSError():
            file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            return 1, file + (error.strerror or str(error) or type(error).__name__)
        case MemoryError():
            return 1, "not enough memory"
        case RuntimeError() if "torch" in sys.modules and isinstance(error, sys.modules["torch"].OutOfMemoryError):
            # A device's memory. Where the CPU's does not suffice, torch raises a plain RuntimeError without a code,
            # which is reported as unexpected, with torch's own words.
            return 1, f"not enough memory: {' '.join(str(error).splitlines()[:1])}"
    usage = getattr(error, "format_message", None)  # click's errors; where click lives depends on typer's version
    if usage is not None:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "gmm"
        said = str(usage()).rstrip(".")
        return 2, f"{said}: see {where} --help" if said else ""  # empty if help was printed instead
    return 1, f"unexpected {type(error).__name__}: {error}: {DEBUG_HINT}"


@contextmanager
def _terminable():
    """Lets a SIGTERM unwind the command as Ctrl-C does: half-written files go. A second one ends it at once."""
    aside = threading.current_thread() is not threading.main_thread()
    if aside or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _streams():
    """Replaces streams that were closed before the start: no input, and a write to stdout is an OSError."""
    given = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull) as empty, open(os.devnull, "w") as void:
        closed = open(empty.fileno(), "w", closefd=False)  # noqa: SIM115  # a flush fails, as the file is read only
        sys.stdin, sys.stdout, sys.stderr = given[0] or empty, given[1] or closed, given[2] or void
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = given
