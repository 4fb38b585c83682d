"""Rows out: a `Sink` writes tables to a file, whole or not at all, or to standard output.

`output_format` chooses the format of a target.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from gmmcli.data.formats import DELIMITED, FORMATS, FileFormat, format_of_path, parse_format
from gmmcli.data.writers import Encoded, csv_header, csv_lines, json_lines, make_writer, stored_schema
from gmmcli.errors import InputError, Remedy, UsageError
from gmmcli.storage.files import STDOUT, DirectFile, PendingFile, begin, check_writable, is_direct
from gmmcli.storage.names import printable, suffix_of


def output_format(target: str | None, name: str | None = None) -> FileFormat:
    """Format of a target: the one named, else by suffix, else CSV for standard output, a pipe or a device.

    Raises UsageError that lists the formats if none of these applies.
    """
    if name is not None:
        chosen = parse_format(name)
        outer = format_of_path("x.csv" + suffix_of(target)) if target else None
        return FileFormat(chosen.name, chosen.compression or (outer and outer.compression))
    by_suffix = format_of_path(target) if target is not None else None
    if by_suffix is not None or is_direct(target):
        return by_suffix or FileFormat("csv")
    remedy = Remedy("give", "output_format", purpose=f"as one of {', '.join(FORMATS)}")
    raise UsageError("no format by this suffix", subject=printable(target or ""), remedy=remedy)


class Sink:
    """Tables written one after the other, in the schema of the first. To be used in a `with` statement.

    target: a path, or None or `-` for standard output. format: its name; None is the format by the suffix. delimiter,
    decimal: of delimited text; by default a comma, or in TSV a tabulator, and a point.

    A file appears when the block ends without an error: see PendingFile. Pipes, devices and standard output are
    written directly, and may have received a part when an error occurs. typed: whether the format stores types, so
    that text needs its types first.

    Raises UsageError if the target cannot be written or its format is not known; it is opened by the first table. A
    closed pipe raises BrokenPipeError. Any other OSError has the path in it.
    """

    def __init__(
        self, target: str | None, format: str | None = None, delimiter: str | None = None, decimal: str = "."
    ) -> None:
        if target is not None:
            check_writable(target, "out.csv")
        self._target, self._decimal = target, decimal
        self._format = output_format(target, format)
        self._delimiter = delimiter or ("\t" if self._format.name == "tsv" else ",")
        self._schema = pa.schema([])
        self._output: PendingFile | DirectFile | None = None
        self._stream: pa.NativeFile | None = None
        self._writer: Any = None  # see make_writer
        self.typed = self._format.name not in DELIMITED
        self.rows_written = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abort()
            return
        try:
            with self._naming_output():
                if self._stream is None:
                    self._open(self._schema)
                self._close()
                if self._output is not None:
                    self._output.commit()
        except BaseException:
            self._abort()
            raise

    def encode(self, table: pa.Table) -> Encoded:
        """Rows made ready for `write`, which is most of the work for text. Any thread may call it.

        Raises InputError for cells that the format cannot hold.
        """
        with self._naming_output():
            if self._format.name == "json":
                return Encoded(table, json_lines(table))
            return Encoded(table, None if self.typed else csv_lines(table, self._delimiter, self._decimal))

    def write(self, piece: pa.Table | Encoded) -> None:
        """Write the rows of a table, encoded or not. Raises InputError for cells that the format cannot hold."""
        table = piece.table if isinstance(piece, Encoded) else piece
        with self._naming_output():
            stream = self._stream or self._open(table.schema)
            if not table.schema.equals(self._schema, check_metadata=False):
                piece = table = table.cast(self._schema)
            encoded = piece if isinstance(piece, Encoded) else self.encode(piece)
            if self._writer is not None:
                self._writer.write_table(encoded.table)
            else:
                stream.write(encoded.lines)
                stream.flush()
        self.rows_written += table.num_rows

    @contextlib.contextmanager
    def _naming_output(self) -> Iterator[None]:
        """Turn errors of writers into an OSError or an InputError that names the output."""
        name = "standard output" if self._target in STDOUT else printable(self._target or "")
        try:
            yield
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.filename is not None or error.errno is None:
                raise
            raise type(error)(error.errno, os.strerror(error.errno), name) from None
        except (pa.ArrowException, ValueError) as error:
            reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise InputError(f"cannot be written as {self._format.name}: {reason}", subject=name) from error

    def _open(self, schema: pa.Schema) -> pa.NativeFile:
        self._output = output = begin(self._target, durable=False)  # gigabytes of rows would wait for the disk
        if isinstance(output, PendingFile):
            # A stream of Python would copy every write and hold the lock that the encoding threads need.
            stream = pa.OSFile(output.temporary, mode="wb")
        else:
            stream = pa.PythonFile(output, mode="w")
        if self._format.compression is not None:
            stream = pa.CompressedOutputStream(stream, self._format.compression)
        self._stream, self._schema = stream, stored_schema(self._format.name, schema)
        self._writer = make_writer(self._format.name, stream, self._schema)
        if self._format.name in DELIMITED and len(schema):
            stream.write(csv_header(schema.names, self._delimiter))
        return stream

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._stream is not None:
            self._stream.close()

    def _abort(self) -> None:
        if self._output is not None:
            self._output.abort()
        # A released writer ends its file: here it does so without effect, since the output is given up.
        with contextlib.suppress(Exception):
            self._close()
        self._writer = self._stream = None
