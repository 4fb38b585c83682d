"""Rows out: a `Sink` writes tables to a file, whole or not at all, or to standard output.

- `open_sink`: a Sink for a target, once it is known that it can be written.
- `output_format`: the format of a target.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pyarrow as pa

from gmmcli.data.formats import DELIMITED, FORMATS, FileFormat, format_of_path, parse_format
from gmmcli.data.writers import Encoded, Writer, make_encoder, make_writer
from gmmcli.errors import InputError, Remedy, UsageError
from gmmcli.storage.files import STDOUT, DirectFile, PendingFile, begin, check_writable, is_direct
from gmmcli.storage.names import printable, suffix_of


def output_format(target: str | None, name: str | None = None) -> FileFormat:
    """The format of a target: the one named, else by suffix, else CSV for standard output, a pipe or a device.

    Raises UsageError that lists the formats where none of these applies.
    """
    by_suffix = format_of_path(target) if target is not None else None
    if name is not None:
        chosen = parse_format(name)
        outer = format_of_path("x.csv" + suffix_of(target)) if target else None
        return FileFormat(chosen.name, chosen.compression or (outer and outer.compression))
    if by_suffix is not None or is_direct(target):
        return by_suffix or FileFormat("csv")
    remedy = Remedy("give", "output_format", purpose=f"as one of {', '.join(FORMATS)}")
    raise UsageError("no format by this suffix", subject=printable(target or ""), remedy=remedy)


def open_sink(
    target: str | None,
    format: str | None = None,
    *,
    schema: pa.Schema | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
) -> Sink:
    """A sink for a path, or for standard output if the target is None or `-`.

    schema: of an output to which no table is written; by default it has no columns. delimiter, decimal: of delimited
    text; by default a comma, or in TSV a tabulator, and a point.
    Raises UsageError where the target cannot be written or its format is not known. Nothing is opened yet.
    """
    if target is not None:
        check_writable(target, "out.csv")
    chosen = output_format(target, format)
    return Sink(target, chosen, schema, delimiter or ("\t" if chosen.name == "tsv" else ","), decimal)


class Sink:
    """Tables written one after the other, in the schema of the first. To be used in a `with` statement.

    A file appears when the block ends without an error: see PendingFile. Pipes, devices and standard output are
    written directly, so that they may have received a part when an error occurs. typed: whether the format stores
    types, so that text should be given its types first. A closed pipe raises BrokenPipeError. Any other OSError has
    the path in it.
    """

    def __init__(
        self, target: str | None, format: FileFormat, schema: pa.Schema | None, delimiter: str, decimal: str
    ) -> None:
        self._target, self._format, self._schema, self._delimiter = target, format, schema, delimiter
        self._encoder = make_encoder(format.name, delimiter, decimal)
        self._output: PendingFile | DirectFile | None = None
        self._writer: Writer | None = None
        self.typed = format.name not in DELIMITED
        self.rows_written = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abort()
            return
        try:
            with self._naming_output():
                writer = self._writer or self._open(self._schema if self._schema is not None else pa.schema([]))
                writer.close()
                if self._output is not None:
                    self._output.commit()
        except BaseException:
            self._abort()
            raise

    def encode(self, table: pa.Table) -> Encoded:
        """The rows made ready for `write`, which is most of the work for text. Any thread may call it.

        Raises InputError for cells that the format cannot hold.
        """
        with self._naming_output():
            return self._encoder(table)

    def write(self, piece: pa.Table | Encoded) -> None:
        """Writes the rows of a table, encoded or not. Raises InputError for cells that the format cannot hold."""
        table = piece.table if isinstance(piece, Encoded) else piece
        with self._naming_output():
            writer = self._writer or self._open(table.schema)
            if self._schema is not None and not table.schema.equals(self._schema, check_metadata=False):
                piece = table = table.cast(self._schema)
            writer.write(piece if isinstance(piece, Encoded) else self._encoder(piece))
        self.rows_written += table.num_rows

    @contextlib.contextmanager
    def _naming_output(self) -> Iterator[None]:
        """Turns errors of writers into an OSError or an InputError that names the output."""
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

    def _open(self, schema: pa.Schema) -> Writer:
        self._schema = schema
        self._output = output = begin(self._target, durable=False)  # gigabytes of rows would wait for the disk
        if isinstance(output, PendingFile):
            # a stream of Python's would copy every write, and take turns with the threads that make the content
            stream = pa.OSFile(output.temporary, mode="wb")
        else:
            stream = pa.PythonFile(output, mode="w")
        if self._format.compression is not None:
            stream = pa.CompressedOutputStream(stream, self._format.compression)
        self._writer = make_writer(self._format.name, stream, schema, self._delimiter)
        return self._writer

    def _abort(self) -> None:
        if self._output is not None:
            self._output.abort()
        if self._writer is not None:
            # writers end their files when they are released: let that happen now, into nothing
            with contextlib.suppress(Exception):
                self._writer.close()
        self._writer = None
