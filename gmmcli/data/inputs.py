"""Inputs: files, folders, patterns, addresses and standard input. Each can be opened any number of times.

- `Input`: one file or stream of a known format. It opens decompressed, from its start. Nothing else opens data.
- `expand`: the inputs of a list of arguments. `header`: the columns of one argument, read quickly.
- `reading`: a context that turns any error of a reader into one InputError that names the input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from gmmcli.data.formats import DELIMITED, TEXT, ReadOptions, format_of_path, parse_format, sniff, sniff_compression
from gmmcli.data.reader import AT_A_TIME, each
from gmmcli.data.scratch import Scratch, ScratchFile, hold
from gmmcli.errors import InputError, Remedy, UsageError
from gmmcli.storage.filesystem import Info
from gmmcli.storage.folders import Found, Keys, find_files
from gmmcli.storage.names import is_address, name_of, printable

if TYPE_CHECKING:
    from gmmcli.storage.filesystem import Location

STDIN = "-"
_HEAD_BYTES = 4096  # that show the format
_LINE_BYTES = 1 << 20  # that may hold the first of JSON lines


@dataclass(frozen=True)
class Input:
    """One file or stream.

    label: its name for messages. format: one of FORMATS. location: of the file, or None if `content` holds its bytes,
    since a pipe can be read only once and a compressed Parquet file cannot be sought in. compression: of the content.
    keys: keys and values in the names of its folders. path: its name as a file, credentials hidden; None for standard
    input. info: of a local file when its format was found, to notice a later change.
    """

    label: str
    format: str
    location: Location | None = None
    content: pa.Buffer | ScratchFile | None = None
    compression: str | None = None
    keys: Keys = ()
    path: str | None = None
    info: Info | None = None

    @property
    def remote(self) -> bool:
        """Whether each reading is a transfer from a store."""
        return self.location is not None and self.location.is_remote

    @property
    def size(self) -> int | None:
        """Bytes of the content as it is stored; None for a remote file of unknown size."""
        known = self.location if self.info is None else self.info
        return self.content.size if self.content is not None else known and known.size

    def open(self, whole: bool = True) -> pa.NativeFile:
        """Decompressed content from its start; seekable unless it is text that is remote or compressed.

        whole: whether text is read to its end; then a remote file is read in large parts.
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


def expand(paths: Sequence[str], options: ReadOptions, stdin: BinaryIO | None, scratch: Scratch) -> list[Input]:
    """Inputs that the arguments stand for, in their order; files of patterns and folders are sorted.

    No argument is standard input. scratch: for the content of pipes, and of compressed files that cannot be read
    without it. A file of a folder is data if its suffix is that of a format. Raises InputError as `find_files` does.
    """
    # Nobody types a table: a command that waits for the terminal seems to hang.
    if not paths and stdin is None and sys.stdin.isatty():
        raise UsageError("no data", remedy="name a file, or pipe data in")
    paths = paths or [STDIN]
    if list(paths).count(STDIN) > 1:
        raise UsageError("- (standard input) is given twice", remedy="it can be read only once")
    inputs = []
    for argument in paths:
        if argument == STDIN:
            content = hold(stdin or sys.stdin.buffer, scratch)
            inputs.append(_described(Input("stdin", "", content=content), options, scratch))
        else:
            most = AT_A_TIME if is_address(argument) else 1
            inputs += each(lambda one: _input_of(one, options, scratch), find_files(argument, format_of_path), most)
    return inputs


@contextmanager
def reading(label: str, what: str) -> Iterator[None]:
    """Turn an error of pyarrow or of decoding into the InputError `label: cannot be read as what: …`.

    An OSError with an errno is worded by its errno. A remote file whose server does not answer is a GmmError.
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


def header(argument: str, options: ReadOptions | None = None) -> tuple[str, ...]:
    """Columns of the first file that a file, pattern or folder stands for.

    The result is empty for inputs that would need more than the beginning of a file: remote files, pipes, standard
    input, compressed files of a binary format, and patterns through all folders. Of JSON lines only the first is
    read. Raises InputError as a Source does, and any error of a reader of a damaged file.
    """
    if argument == STDIN or "**" in argument or is_address(argument):
        return ()
    options = options or ReadOptions()
    first = find_files(argument, format_of_path)[0]
    by_suffix = format_of_path(first.location.path)
    is_packed = by_suffix is not None and by_suffix.compression and by_suffix.name not in TEXT
    if first.location.info().kind != "file" or is_packed:
        return ()
    names = _own_columns(_input_of(first, options, Scratch()), options)
    return (*names, *(name for name, _ in first.keys if name not in names))


def _own_columns(source: Input, options: ReadOptions) -> tuple[str, ...]:
    """Columns in the file itself, without the columns of its folders."""
    if source.format in DELIMITED:
        from gmmcli.data.csv_text import read_head

        return read_head(source, options).names
    with source.open() as stream:
        if source.format == "parquet":
            import pyarrow.parquet as pq

            return tuple(pq.read_schema(stream).names)
        if source.format != "json":
            opened = pa.ipc.open_file(stream) if source.format == "arrow" else pa.ipc.open_stream(stream)
            return tuple(opened.schema.names)
        start = stream.read(_LINE_BYTES)
    record = json.loads(start.removeprefix(b"\xef\xbb\xbf").lstrip().splitlines()[0])
    return tuple(record) if isinstance(record, dict) else ()


def _input_of(file: Found, options: ReadOptions, scratch: Scratch) -> Input:
    """Input of a file. The content of a pipe or device, which gives its bytes only once, is held."""
    location, keys = file
    with reading(location.label, "a file"):
        info = None if location.is_remote else location.info()
        raw = Input(location.label, "", location, None, None, keys, name_of(location.name), info)
        if info is not None and info.kind == "stream":
            with location.read() as stream:
                raw = replace(raw, location=None, content=hold(stream, scratch), info=None)
        return _described(raw, options, scratch)


def _described(raw: Input, options: ReadOptions, scratch: Scratch) -> Input:
    """Input with its format, by the option, else the suffix, else the first bytes, and with its compression."""
    with raw._opened(None) as stream:
        head = stream.read(_HEAD_BYTES)
    compression = sniff_compression(head)
    if compression is not None:
        with reading(raw.label, compression), raw._opened(compression) as stream:
            head = stream.read(_HEAD_BYTES)
    if not head:
        raise InputError("the file is empty", subject=raw.label, remedy="give one with a header and rows")
    given = parse_format(options.input_format) if options.input_format else format_of_path(raw.path or "")
    by_content = sniff(head)
    format = given.name if given else by_content
    if format in TEXT and by_content not in TEXT:
        remedy = Remedy("use", "input_format", by_content)
        raise InputError(f"holds {by_content}, not {format}", subject=raw.label, remedy=remedy)
    if format in ("arrow", "arrows") and by_content in ("arrow", "arrows"):
        format = by_content  # suffixes of Arrow files and streams are often mixed up, first bytes are not
    if compression is not None and format not in TEXT:
        with reading(raw.label, compression), raw._opened(compression, to_end=True) as stream:
            return replace(raw, format=format, location=None, content=hold(stream, scratch), info=None)
    return replace(raw, format=format, compression=compression)
