"""Inputs: from what the user names (files, globs, folders, `-`) to contents that can be opened repeatedly.

- `Input`: one file or stream, its format told, that opens decompressed from its start.
- `expand`: the inputs that a list of arguments stands for; `files_of`, `input_of`: its steps for a file.
- `reading`: turns whatever a reader raises into one InputError that names the input.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

import pyarrow as pa

from gmmcli.data.formats import (
    TEXT,
    ReadOptions,
    format_of_path,
    parse_format,
    sniff,
    sniff_binary,
    sniff_compression,
)
from gmmcli.data.partitions import Partition, files_below, is_partitioned, partition_of
from gmmcli.data.scratch import Scratch, ScratchFile, hold
from gmmcli.errors import InputError, UsageError
from gmmcli.names import printable

STDIN = "-"
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Input:
    """One file or stream.

    label: its name for messages. format: one of FORMATS. path: where it lies, or None when `content` holds it
    (a pipe cannot be read twice, a compressed Parquet file not be sought in). compression: of the content. partition:
    columns that the names of its folders tell.
    """

    label: str
    format: str
    path: str | None = None
    content: pa.Buffer | ScratchFile | None = None
    compression: str | None = None
    partition: Partition = ()

    def open(self) -> pa.NativeFile:
        """The decompressed content from its start; seekable where it is not compressed."""
        return _open(self.path, self.content, self.compression)


def expand(
    paths: Sequence[str], options: ReadOptions, stdin: BinaryIO | None = None, scratch: Scratch | None = None
) -> list[Input]:
    """The inputs that the arguments stand for, in their order; globs and folders sorted; none is stdin.

    scratch: room for the content of pipes, and of compressed files that cannot be read without it.

    A folder stands for the files in it, not below it, whose suffix is known and whose name has no leading
    dot; one that has folders called `key=value` for those below it too. Raises InputError naming what is missing,
    empty or a folder without data files.
    """
    if not paths:
        # waiting without a word for someone to type a table helps nobody
        if stdin is None and sys.stdin is not None and sys.stdin.isatty():
            raise UsageError("no data: name a file, or pipe data in")
        paths = [STDIN]
    if list(paths).count(STDIN) > 1:
        raise UsageError("- (standard input) is given twice: it can be read only once")
    scratch = scratch or Scratch()
    inputs = []
    for argument in paths:
        if argument == STDIN:
            inputs.append(_read_stdin(options, stdin, scratch))
        else:
            for path in files_of(argument):
                inputs.append(replace(input_of(path, options, scratch), partition=partition_of(argument, path)))
    return inputs


@contextmanager
def reading(label: str, what: str) -> Iterator[None]:
    """Turn an error of pyarrow or of decoding into the InputError `label: cannot be read as what: …`.

    An OSError with an errno says itself what is wrong; it stays one line too.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeError, EOFError, OSError, OverflowError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(printable(line) for line in (text or type(error).__name__).splitlines()[:1])
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{label}: {reason}") from error
        raise InputError(f"{label}: cannot be read as {what}: {reason}") from error


def _open(path: str | None, content: pa.Buffer | ScratchFile | None, compression: str | None) -> pa.NativeFile:
    if content is not None:
        raw = content.open() if isinstance(content, ScratchFile) else pa.BufferReader(content)
    else:
        assert path is not None
        raw = pa.OSFile(path)
    return raw if compression is None else pa.CompressedInputStream(raw, compression)


def files_of(argument: str) -> list[str]:
    """The paths that an argument other than `-` stands for, as `expand` has it."""
    label = printable(argument)
    if os.path.isdir(argument):
        if is_partitioned(argument):
            found = files_below(argument)
        else:
            names = sorted(name for name in os.listdir(argument) if not name.startswith("."))
            found = [os.path.join(argument, name) for name in names if format_of_path(name)]
            found = [path for path in found if not os.path.isdir(path)]
        if not found:
            raise InputError(f"{label}: no data files in this folder: name the files, whatever their suffix")
        return found
    if os.path.exists(argument):
        return [argument]
    if glob.has_magic(argument):
        found = sorted(path for path in glob.glob(argument, recursive=True) if not os.path.isdir(path))
        if found:
            return found
        raise InputError(f"{label}: no file matches: check the pattern and the folder")
    raise InputError(f"{label}: no such file: check the name and the folder")


def _read_stdin(options: ReadOptions, stdin: BinaryIO | None, scratch: Scratch) -> Input:
    stream = stdin if stdin is not None else sys.stdin.buffer
    return _describe_input("stdin", None, hold(stream, scratch), options, scratch)


def input_of(path: str, options: ReadOptions, scratch: Scratch | None = None) -> Input:
    """The file at a path, its format told; the content too of what gives its bytes but once."""
    scratch = scratch or Scratch()
    label = printable(path)
    with reading(label, "a file"):
        if stat.S_ISREG(os.stat(path).st_mode):
            return _describe_input(label, path, None, options, scratch)
        with open(path, "rb") as stream:  # a pipe or a device gives its bytes once
            return _describe_input(label, path, hold(stream, scratch), options, scratch)


def _describe_input(
    label: str, path: str | None, content: pa.Buffer | ScratchFile | None, options: ReadOptions, scratch: Scratch
) -> Input:
    """Tell format and compression: the option wins, then the suffix, then the first bytes."""
    place = path if content is None else None
    with _open(place, content, None) as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise InputError(f"{label}: the file is empty: give one with a header and rows")
    compression = sniff_compression(head)
    if compression is not None:
        with reading(label, compression), _open(place, content, compression) as stream:
            head = stream.read(_HEAD_BYTES)
        if not head:
            raise InputError(f"{label}: the file is empty: give one with a header and rows")
    told = parse_format(options.format) if options.format else format_of_path(path) if path else None
    name = told.name if told else sniff(head)
    binary = sniff_binary(head)
    if name in TEXT and binary is not None:
        raise InputError(f"{label}: holds {binary}, not {name}: use --input-format {binary}")
    if name in ("arrow", "arrows") and binary in ("arrow", "arrows"):
        name = binary  # the suffixes of the two are mixed up everywhere, their first bytes are not
    if compression is not None and name not in TEXT:
        with reading(label, compression), _open(place, content, compression) as stream:
            return Input(label, name, None, hold(stream, scratch))
    return Input(label, name, place, content, compression)
