"""Rows out: `open_sink` writes tables to a file, whole or not at all, or to standard output.

- `check_target`: whether a target can be written, before any work is done.
- `output_format`: the format of a target.
- `Sink`: takes tables one by one; commits when its `with` block ends well, aborts when it does not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pyarrow as pa

from gmmcli.data.formats import DELIMITED, FORMATS, FileFormat, format_of_path, parse_format
from gmmcli.data.output import Output
from gmmcli.data.writers import Encoded, Writer, make_encoder, make_writer
from gmmcli.errors import InputError, UsageError
from gmmcli.storage.addresses import suffix_of
from gmmcli.storage.files import STDOUT, check_place, is_direct
from gmmcli.storage.names import printable


def output_format(target: str | None, name: str | None = None) -> FileFormat:
    """The format a target is written in: by name, else by suffix, else (standard output, pipe, device) CSV.

    Raises UsageError that lists the formats when none of them tells.
    """
    told = format_of_path(target) if target is not None else None
    if name is not None:
        chosen = parse_format(name)
        compression = chosen.compression or (_compression_of(target) if target else None)
        return FileFormat(chosen.name, compression)
    if told is not None:
        return told
    if is_direct(target):
        return FileFormat("csv")
    formats = ", ".join(FORMATS)
    raise UsageError(f"{printable(target or '')}: no format by this suffix: give --output-format, one of {formats}")


def check_target(target: str | None) -> None:
    """Raise UsageError where no file can be written: a folder, no such folder, no permission."""
    if target is not None:
        check_place(target, "out.csv")


def open_sink(
    target: str | None,
    format: str | None = None,
    *,
    schema: pa.Schema | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
) -> Sink:
    """A sink for a path, or for standard output when the target is None or `-`.

    schema: what an output without any table has: a header line, or typed columns; else it is empty.
    delimiter, decimal: of delimited text; by default a comma (in TSV a tabulator) and a point.
    Raises UsageError where the target cannot be or its format is not known; nothing is opened yet.
    """
    check_target(target)
    return Sink(target, output_format(target, format), schema, delimiter, decimal)


class Sink:
    """Tables written one after the other; the first fixes the schema. To be used in a `with` statement.

    A file is written under a temporary name beside its own and renamed when the block ends well, else
    removed; a remote one is written on this machine and uploaded. Pipes, devices and standard output are
    written directly, so they may have got a part when an error comes. typed: whether the format keeps types,
    so that text should be given its types first. A closed pipe raises BrokenPipeError; any other OSError has
    the path in it.
    """

    def __init__(
        self,
        target: str | None,
        format: FileFormat,
        schema: pa.Schema | None,
        delimiter: str | None,
        decimal: str,
    ) -> None:
        self._target = target
        self._format = format
        self._schema = schema
        self._delimiter = delimiter or ("\t" if format.name == "tsv" else ",")
        self._encoder = make_encoder(format.name, self._delimiter, decimal)
        self._output: Output | None = None
        self._writer: Writer | None = None
        self.typed = format.name not in DELIMITED
        self.rows_written = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._commit()
        else:
            self._abort()

    def encode(self, table: pa.Table) -> Encoded:
        """The rows made ready for `write`, which for text is most of the work; may be called from any thread.

        Raises InputError for cells that the format cannot hold.
        """
        with self._refusing():
            return self._encoder(table)

    def write(self, piece: pa.Table | Encoded) -> None:
        """Write the rows of a table, encoded or not. Raises InputError for cells that the format cannot hold."""
        table = piece.table if isinstance(piece, Encoded) else piece
        with self._refusing():
            writer = self._writer or self._open(table.schema)
            if self._schema is not None and not table.schema.equals(self._schema, check_metadata=False):
                piece = table = table.cast(self._schema)
            writer.write(piece if isinstance(piece, Encoded) else self._encoder(piece))
        self.rows_written += table.num_rows

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turns what the writers raise into an OSError or an InputError that names the output."""
        try:
            yield
        except OSError as error:
            raise self._named(error) from None
        except (pa.ArrowException, ValueError) as error:
            reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise InputError(f"{self._name()}: cannot be written as {self._format.name}: {reason}") from error

    def _open(self, schema: pa.Schema) -> Writer:
        self._schema = schema
        self._output = Output(self._target)
        stream = self._output.stream(self._format.compression)
        self._writer = make_writer(self._format.name, stream, schema, self._delimiter)
        return self._writer

    def _commit(self) -> None:
        try:
            writer = self._writer or self._open(self._schema if self._schema is not None else pa.schema([]))
            writer.close()
            if self._output is not None:
                self._output.commit()
        except BaseException as error:
            self._abort()
            if isinstance(error, OSError):
                raise self._named(error) from None
            raise

    def _abort(self) -> None:
        if self._output is None:
            return
        self._output.abort()
        if self._writer is not None:
            # writers end their files when they are let go of: let that happen now, into nothing
            with contextlib.suppress(Exception):
                self._writer.close()
        self._writer = None

    def _name(self) -> str:
        return "standard output" if self._target in STDOUT else printable(self._target or "")

    def _named(self, error: OSError) -> OSError:
        if isinstance(error, BrokenPipeError) or error.filename is not None or error.errno is None:
            return error
        return type(error)(error.errno, os.strerror(error.errno), self._name())


def _compression_of(target: str) -> str | None:
    told = format_of_path("x.csv" + suffix_of(target))
    return told.compression if told else None
