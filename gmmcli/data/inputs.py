"""Inputs: the contents that the names given by a user stand for, each of which can be opened any number of times.

- `Input`: one file or stream of a known format, which opens decompressed from its start. Only it opens data.
- `expand`: the inputs of a list of files, patterns, folders, addresses and `-`. `input_of`: the input of one file.
- `reading`: a context that turns any error of a reader into one InputError that names the input.
"""

from __future__ import annotations

import os
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
from gmmcli.data.reader import AT_A_TIME, each
from gmmcli.data.scratch import Scratch, ScratchFile, hold
from gmmcli.errors import InputError, Remedy, UsageError
from gmmcli.storage.filesystem import Info
from gmmcli.storage.folders import Found, Keys, find_files
from gmmcli.storage.names import is_address, name_of, printable

if TYPE_CHECKING:
    from gmmcli.storage.filesystem import Location

STDIN = "-"
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Input:
    """One file or stream.

    label: its name for messages. format: one of FORMATS. location: of the file, None if `content` holds its bytes: a
    pipe can be read only once, and a compressed Parquet file not be sought in. compression: of the content.
    partition: keys and values in the names of its folders. path: its name as a file, credentials hidden; None for
    standard input. info: of a local file when its format was found, to notice that it has changed since.
    """

    label: str
    format: str
    location: Location | None = None
    content: pa.Buffer | ScratchFile | None = None
    compression: str | None = None
    partition: Keys = ()
    path: str | None = None
    info: Info | None = None

    @property
    def remote(self) -> bool:
        """Whether each reading is a transfer."""
        return self.location is not None and self.location.is_remote

    @property
    def size(self) -> int | None:
        """Bytes of the decompressed content of a remote file, where they are known."""
        return self.location.size if self.location is not None and self.compression is None else None

    @property
    def stored_bytes(self) -> int:
        """Bytes of the content as it is stored; 1 for a remote file whose size is not known."""
        if self.content is not None:
            return self.content.size
        return (self.info and self.info.size) or (self.location and self.location.size) or 1

    def open(self, whole: bool = True) -> pa.NativeFile:
        """The decompressed content from its start; seekable unless it is text that is remote or compressed.

        whole: whether text is to be read to its end, for which a remote file is read in large parts.
        Raises InputError for a local file that has changed since its format was found.
        """
        now = self.location.info() if self.location is not None and self.info is not None else None
        if now != self.info and now != Info("absent"):  # to open a file that is gone says so
            raise InputError("it has changed while it was read", subject=self.label, remedy="start again")
        return self._opened(self.compression, seekable=self.format not in TEXT, to_end=whole)

    def _opened(self, compression: str | None, *, seekable: bool = False, to_end: bool = False) -> pa.NativeFile:
        if self.location is not None:
            raw = self.location.open(seekable, to_end)
        else:
            raw = self.content.open() if isinstance(self.content, ScratchFile) else pa.BufferReader(self.content)
        return raw if compression is None else pa.CompressedInputStream(raw, compression)


def expand(
    paths: Sequence[str], options: ReadOptions, stdin: BinaryIO | None = None, scratch: Scratch | None = None
) -> list[Input]:
    """The inputs that the arguments stand for, in their order; files of patterns and folders are sorted.

    No argument is standard input. scratch: for the content of pipes, and of compressed files that cannot be read
    without it. Raises InputError as `find_files` does; a file is data if its suffix is that of a format.
    """
    # To wait silently until someone types a table helps nobody.
    if not paths and stdin is None and sys.stdin.isatty():
        raise UsageError("no data", remedy="name a file, or pipe data in")
    paths = paths or [STDIN]
    if list(paths).count(STDIN) > 1:
        raise UsageError("- (standard input) is given twice", remedy="it can be read only once")
    scratch = scratch or Scratch()
    inputs = []
    for argument in paths:
        if argument == STDIN:
            content = hold(stdin or sys.stdin.buffer, scratch)
            inputs.append(_described(Input("stdin", "", content=content), options, scratch))
        else:
            most = AT_A_TIME if is_address(argument) else 1
            inputs += each(lambda one: input_of(one, options, scratch), find_files(argument, format_of_path), most)
    return inputs


@contextmanager
def reading(label: str, what: str) -> Iterator[None]:
    """Turns an error of pyarrow or of decoding into the InputError `label: cannot be read as what: …`.

    An OSError with an errno says itself what is wrong, on one line too. An error on the way to a remote file is a
    GmmError where no server answers.
    """
    try:
        yield
    except (pa.ArrowException, UnicodeError, EOFError, OSError, OverflowError) as error:
        if isinstance(error, OSError) and "://" in label:
            from gmmcli.storage.remote_errors import explained

            if (known := explained(label, error)) is not None:
                raise known from error
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(os.strerror(error.errno), subject=label) from error
        reason = " ".join(printable(line) for line in (str(error) or type(error).__name__).splitlines()[:1])
        raise InputError(f"cannot be read as {what}: {reason}", subject=label) from error


def input_of(found: Found, options: ReadOptions, scratch: Scratch | None = None) -> Input:
    """The input of a file. The content of a pipe or device, which gives its bytes only once, is held."""
    scratch = scratch or Scratch()
    location, keys = found
    with reading(location.label, "a file"):
        info = None if location.is_remote else location.info()
        raw = Input(location.label, "", location, None, None, keys, name_of(location.name), info)
        if info is not None and info.kind == "stream":
            with location.read() as stream:
                raw = replace(raw, location=None, content=hold(stream, scratch), info=None)
        return _described(raw, options, scratch)


def _described(raw: Input, options: ReadOptions, scratch: Scratch) -> Input:
    """The input with its format, by the option, else the suffix, else the first bytes, and with its compression."""
    with raw._opened(None) as stream:
        head = stream.read(_HEAD_BYTES)
    compression = sniff_compression(head)
    if compression is not None:
        with reading(raw.label, compression), raw._opened(compression) as stream:
            head = stream.read(_HEAD_BYTES)
    if not head:
        raise InputError("the file is empty", subject=raw.label, remedy="give one with a header and rows")
    given = parse_format(options.input_format) if options.input_format else format_of_path(raw.path or "")
    format, binary = given.name if given else sniff(head), sniff_binary(head)
    if format in TEXT and binary is not None:
        remedy = Remedy("use", "input_format", binary)
        raise InputError(f"holds {binary}, not {format}", subject=raw.label, remedy=remedy)
    if format in ("arrow", "arrows") and binary in ("arrow", "arrows"):
        format = binary  # the suffixes of the two are often mixed up, their first bytes are not
    if compression is not None and format not in TEXT:
        with reading(raw.label, compression), raw._opened(compression, to_end=True) as stream:
            return replace(raw, format=format, location=None, content=hold(stream, scratch), info=None)
    return replace(raw, format=format, compression=compression)
