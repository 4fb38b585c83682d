"""`header`: the names of a file's columns, from its beginning or its schema alone, however large it is."""

from __future__ import annotations

import json

import pyarrow as pa

from gmmcli.data.csv_text import read_head
from gmmcli.data.formats import DELIMITED, TEXT, ReadOptions, format_of_path
from gmmcli.data.inputs import STDIN, Input, input_of
from gmmcli.storage.folders import find_files
from gmmcli.storage.names import is_address

_BEGINNING = 1 << 20  # bytes


def header(argument: str, options: ReadOptions | None = None) -> tuple[str, ...]:
    """The columns of the first file that a file, pattern or folder stands for.

    Empty where more than the beginning of a file would have to be read: remote files, pipes, standard input,
    compressed files of a binary format, patterns through all folders. Of JSON lines only the first is read. Raises
    InputError as a Source does, and any error of a reader of a damaged file.
    """
    if argument == STDIN or "**" in argument or is_address(argument):
        return ()
    options = options or ReadOptions()
    first = find_files(argument, format_of_path)[0]
    by_suffix = format_of_path(first.location.path)
    is_binary = by_suffix is not None and by_suffix.compression and by_suffix.name not in TEXT
    if first.location.info().kind != "file" or is_binary:
        return ()
    names = _names(input_of(first, options), options)
    return (*names, *(name for name, _ in first.keys if name not in names))


def _names(source: Input, options: ReadOptions) -> tuple[str, ...]:
    with source.open() as stream:
        if source.format == "parquet":
            import pyarrow.parquet as pq

            return tuple(pq.read_schema(stream).names)
        if source.format not in TEXT:
            opened = pa.ipc.open_file(stream) if source.format == "arrow" else pa.ipc.open_stream(stream)
            return tuple(opened.schema.names)
        start = stream.read(_BEGINNING)
    if source.format not in DELIMITED:
        record = json.loads(start.removeprefix(b"\xef\xbb\xbf").lstrip().splitlines()[0])
        return tuple(record) if isinstance(record, dict) else ()
    beginning = Input(source.label, source.format, content=pa.py_buffer(start))
    return read_head(beginning, options, options.delimiter_of(source.format)).names
