"""Completion in the shell: choices, and columns of the file on the command line.

- `complete`, `complete_list`: complete one of given words, and a list of them.
- `column`, `column_list`: complete a column of the data, or of the model if no data is named, and a list of them.
- `model_column_list`: completes a list of the model's columns.

A shell waits for the answer: torch is not imported, and only the beginning or the schema of a file is read. If
anything fails, nothing is offered. Names with characters that a shell interprets are not offered, since the shell
puts them on the command line unquoted.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

import typer

_PLAIN = re.compile(r"\w[\w.+@%/-]*")
_MOST_BYTES = 1 << 26  # of a model's metadata


def complete(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion callback that offers the choices that begin with the typed text."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def complete_list(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion callback that completes the last item of a comma-separated list by a choice not in it yet."""
    return lambda incomplete: _list_begun(choices, incomplete)


def column(ctx: typer.Context, incomplete: str) -> list[str]:
    """Columns of the data that begin with the typed text."""
    return _begun(_data_columns(ctx), incomplete)


def column_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """The typed list, its last item completed by a column of the data that is not in it yet."""
    return _list_begun(_data_columns(ctx), incomplete)


def model_column_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """The typed list, its last item completed by a column of the model that is not in it yet."""
    return _list_begun(_model_columns(ctx), incomplete)


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)]


def _list_begun(names: Iterable[str], incomplete: str) -> list[str]:
    *given, last = incomplete.split(",")
    return [",".join([*given, name]) for name in _begun(names, last) if name not in given]


def _data_columns(ctx: typer.Context) -> tuple[str, ...]:
    files = _files(ctx)[int(_takes_model(ctx)) :]
    if not files:
        return _model_columns(ctx)
    try:
        from gmmcli.data.formats import ReadOptions
        from gmmcli.data.inputs import header

        given = {field.name: ctx.params.get(field.name) for field in fields(ReadOptions)}
        reading = ReadOptions(**{name: value for name, value in given.items() if value is not None})
        return header(os.path.expanduser(files[0]), reading)
    except Exception:
        return ()


def _model_columns(ctx: typer.Context) -> tuple[str, ...]:
    """Columns of the model, from the plain JSON of its file."""
    path = os.path.expanduser((_files(ctx) or [""])[0])
    if not os.path.isfile(path) or not _takes_model(ctx):  # to open a pipe would wait for its writer
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(m for m in archive.infolist() if m.filename.endswith("/metadata.json"))
            if member.file_size > _MOST_BYTES:
                return ()
            metadata = json.loads(archive.read(member))
        names = metadata["columns"] or [f"x{d + 1}" for d in range(metadata["dims"])]
        return tuple(name for name in names if isinstance(name, str))
    except Exception:
        return ()


def _takes_model(ctx: typer.Context) -> bool:
    return any(parameter.name == "model" for parameter in ctx.command.params)


def _files(ctx: typer.Context) -> list[str]:
    """The arguments on the command line, the model's before the data's.

    They are in ctx.args as long as the last option still lacks its value.
    """
    model, data = ctx.params.get("model"), ctx.params.get("data")
    return [*([model] if model else []), *(data or ()), *ctx.args]
