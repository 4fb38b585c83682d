"""Inputs: from what the user names (files, globs, folders, `-`, addresses) to contents that can be opened repeatedly.

- `Input`: one file or stream, its format told, that opens decompressed from its start: the one way to its bytes.
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
from typing import TYPE_CHECKING, BinaryIO

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
from gmmcli.data.side_by_side import AT_A_TIME, each
from gmmcli.errors import InputError, UsageError
from gmmcli.storage.addresses import is_address, masked, name_of
from gmmcli.storage.names import printable

if TYPE_CHECKING:  # imported when it comes to it: local files need not wait for it
    from gmmcli.storage.remote import Remote

STDIN = "-"
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Input:
    """One file or stream.

    label: its name for messages. format: one of FORMATS. place: where it lies, or None when `content` holds it
    (a pipe cannot be read twice, a compressed Parquet file not be sought in). compression: of the content. partition:
    columns that the names of its folders tell. path: its name as a file, credentials hidden; None for standard input.
    stamp: of a file of this machine, what tells whether it is still the same.
    """

    label: str
    format: str
    place: str | Remote | None = None
    content: pa.Buffer | ScratchFile | None = None
    compression: str | None = None
    partition: Partition = ()
    path: str | None = None
    stamp: tuple[int, ...] = ()

    @property
    def remote(self) -> bool:
        """Whether each reading of it is a transfer."""
        return not (self.place is None or isinstance(self.place, str))

    @property
    def size(self) -> int | None:
        """The bytes of what `open` gives, of a remote file where they are known."""
        if self.place is None or isinstance(self.place, str) or self.compression is not None:
            return None
        return self.place.size

    @property
    def stored_bytes(self) -> int:
        """Those of the content as it lies there, 1 of a remote file whose size is not told."""
        if self.content is not None:
            return self.content.size
        if isinstance(self.place, str):
            return os.stat(self.place).st_size
        return (self.place and self.place.size) or 1

    def open(self, whole: bool = True) -> pa.NativeFile:
        """The decompressed content from its start; seekable but for text that is remote or compressed.

        whole: whether text is to be read to its end, which a remote file is then asked for in large pieces.
        Raises InputError for a file of this machine that is another than at first: what is known of it is not so now.
        """
        if self.stamp and isinstance(self.place, str) and _stamp(self.place) != self.stamp:
            raise InputError(f"{self.label}: it has changed while it was read: start again")
        return _open(self.place, self.content, self.compression, seek=self.format not in TEXT, whole=whole)


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
            inputs += _read_files(argument, options, scratch)
    return inputs


@contextmanager
def reading(label: str, what: str) -> Iterator[None]:
    """Turn an error of pyarrow or of decoding into the InputError `label: cannot be read as what: …`.

    An OSError with an errno says itself what is wrong; it stays one line too. One between here and a remote file is
    told as such, as a GmmError where nothing answers.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeError, EOFError, OSError, OverflowError) as error:
        if isinstance(error, OSError) and "://" in label:
            from gmmcli.storage.remote import told

            if (known := told(label, error)) is not None:
                raise known from error
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(printable(line) for line in (text or type(error).__name__).splitlines()[:1])
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{label}: {reason}") from error
        raise InputError(f"{label}: cannot be read as {what}: {reason}") from error


def _stamp(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _open(
    place: str | Remote | None,
    content: pa.Buffer | ScratchFile | None,
    compression: str | None,
    *,
    seek: bool = False,
    whole: bool = False,
) -> pa.NativeFile:
    """seek: whether it is to be read at any place. whole: whether to its end."""
    if content is not None:
        raw = content.open() if isinstance(content, ScratchFile) else pa.BufferReader(content)
    elif isinstance(place, str):
        raw = pa.OSFile(place)
    else:
        assert place is not None
        raw = place.open() if seek else place.stream(whole)
    return raw if compression is None else pa.CompressedInputStream(raw, compression)


def _read_files(argument: str, options: ReadOptions, scratch: Scratch) -> list[Input]:
    files = files_of(argument)
    most = AT_A_TIME if is_address(argument) else 1
    inputs = each(lambda place: input_of(place, options, scratch), files, most)
    folder = name_of(masked(argument))
    paths = [place if isinstance(place, str) else name_of(place.address) for place in files]
    return [
        replace(one, partition=partition_of(folder, path), path=path) for one, path in zip(inputs, paths, strict=True)
    ]


def files_of(argument: str) -> list[str] | list[Remote]:
    """The files that an argument other than `-` stands for, as `expand` has it."""
    if is_address(argument):
        from gmmcli.data.remote_files import files_at

        return files_at(argument)
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
    return _describe_input("stdin", "", None, hold(stream, scratch), options, scratch)


def input_of(place: str | Remote, options: ReadOptions, scratch: Scratch | None = None) -> Input:
    """A file, its format told; the content too of what gives its bytes but once."""
    scratch = scratch or Scratch()
    if not isinstance(place, str):
        with reading(place.label, "a file"):
            return _describe_input(place.label, place.path, place, None, options, scratch)
    label = printable(place)
    with reading(label, "a file"):
        if stat.S_ISREG(os.stat(place).st_mode):
            return _describe_input(label, place, place, None, options, scratch)
        with open(place, "rb") as stream:  # a pipe or a device gives its bytes once
            return _describe_input(label, place, None, hold(stream, scratch), options, scratch)


def _describe_input(
    label: str,
    name: str,
    place: str | Remote | None,
    content: pa.Buffer | ScratchFile | None,
    options: ReadOptions,
    scratch: Scratch,
) -> Input:
    """Tell format and compression: the option wins, then the suffix of the name, then the first bytes."""
    stamp = _stamp(place) if isinstance(place, str) and content is None else ()
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
    told = parse_format(options.format) if options.format else format_of_path(name)
    format = told.name if told else sniff(head)
    binary = sniff_binary(head)
    if format in TEXT and binary is not None:
        raise InputError(f"{label}: holds {binary}, not {format}: use --input-format {binary}")
    if format in ("arrow", "arrows") and binary in ("arrow", "arrows"):
        format = binary  # the suffixes of the two are mixed up everywhere, their first bytes are not
    if compression is not None and format not in TEXT:
        with reading(label, compression), _open(place, content, compression, whole=True) as stream:
            return Input(label, format, None, hold(stream, scratch))
    return Input(label, format, place, content, compression, stamp=stamp)
