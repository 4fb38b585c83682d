"""`header`: the names of a file's columns by a look at its beginning or its schema, however large it is."""

from __future__ import annotations

import json
import os

import pyarrow as pa

from gmmcli.data.csv_text import read_head
from gmmcli.data.formats import DELIMITED, TEXT, ReadOptions, format_of_path
from gmmcli.data.inputs import Input, files_of, input_of
from gmmcli.data.partitions import partition_of
from gmmcli.storage.addresses import is_address

_LOOK_BYTES = 1 << 20


def header(argument: str, options: ReadOptions | None = None) -> tuple[str, ...]:
    """The columns of the first file that an argument (a file, glob or folder) stands for.

    Empty where telling them takes more than a look: remote files, pipes, standard input, compressed files of a binary
    format, globs through all folders. Of JSON lines the first alone is read. Raises InputError as a Source does, and
    whatever a damaged file makes of its reader.
    """
    if argument == "-" or "**" in argument or is_address(argument):
        return ()
    options = options or ReadOptions()
    path = str(files_of(argument)[0])
    told = format_of_path(path)
    if not os.path.isfile(path) or (told is not None and told.compression and told.name not in TEXT):
        return ()
    names = _names(input_of(path, options), options)
    return (*names, *(name for name, _ in partition_of(argument, path) if name not in names))


def _names(source: Input, options: ReadOptions) -> tuple[str, ...]:
    with source.open() as stream:
        if source.format == "parquet":
            import pyarrow.parquet as pq

            return tuple(pq.read_schema(stream).names)
        if source.format not in TEXT:
            opened = pa.ipc.open_file(stream) if source.format == "arrow" else pa.ipc.open_stream(stream)
            return tuple(opened.schema.names)
        start = stream.read(_LOOK_BYTES)
    if source.format not in DELIMITED:
        record = json.loads(start.removeprefix(b"\xef\xbb\xbf").lstrip().splitlines()[0])
        return tuple(record) if isinstance(record, dict) else ()
    beginning = Input(source.label, source.format, content=pa.py_buffer(start))
    return read_head(beginning, options, options.delimiter_of(source.format)).names
