"""Writers of tables to an open stream, one for each kind of format: text, Parquet, Arrow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.compute import pc
from gmmcli.data.formats import TEXT
from gmmcli.data.text_lines import csv_header, csv_lines, json_lines
from gmmcli.passes.block import BLOCK_ROWS

ROW_GROUP_ROWS = 8 * BLOCK_ROWS  # read about as fast as larger ones, of which a writer holds more
ROW_GROUP_BYTES = 1 << 26  # about, of a group, of which a writer holds two
SAMPLE_ROWS = 1 << 12
CODEC = "snappy"
LEAST_GAIN = 0.9  # of its size, what a column must become for compression to be worth its time


class Encoded(NamedTuple):
    """A table, and for a format of text its lines."""

    table: pa.Table
    lines: pa.Buffer | None = None


Encoder = Callable[[pa.Table], Encoded]


def make_encoder(name: str, delimiter: str, decimal: str) -> Encoder:
    """Function that encodes tables for the writer of a format of FORMATS; several threads may call it at a time."""
    if name == "json":
        return lambda table: Encoded(table, json_lines(table))
    if name in TEXT:
        return lambda table: Encoded(table, csv_lines(table, delimiter, decimal))
    return Encoded


def make_writer(name: str, stream: Any, schema: pa.Schema, delimiter: str) -> Writer:
    """Writer of a format of FORMATS; the delimiter is for the header of delimited text."""
    if name == "parquet":
        return _ParquetWriter(stream, schema)
    if name in ("arrow", "arrows"):
        return _ArrowWriter(stream, schema, name)
    return _TextWriter(stream, schema, name, delimiter)


class _TextWriter:
    def __init__(self, stream: Any, schema: pa.Schema, name: str, delimiter: str) -> None:
        self._stream = stream
        if name != "json" and len(schema):
            stream.write(csv_header(schema.names, delimiter))

    def write(self, piece: Encoded) -> None:
        self._stream.write(piece.lines)
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class _ArrowWriter:
    """An IPC file allows a column one dictionary, tables have one each: there the values are written out."""

    def __init__(self, stream: Any, schema: pa.Schema, name: str) -> None:
        self._stream = stream
        self._schema = schema
        if name == "arrow":
            for i, field in enumerate(schema):
                if isinstance(field.type, pa.DictionaryType):
                    self._schema = self._schema.set(i, field.with_type(field.type.value_type))
        self._writer = (pa.ipc.new_file if name == "arrow" else pa.ipc.new_stream)(stream, self._schema)

    def write(self, piece: Encoded) -> None:
        self._writer.write_table(piece.table.cast(self._schema))

    def close(self) -> None:
        self._writer.close()
        self._stream.close()


class _ParquetWriter:
    """Cuts the rows into row groups of one size, which is that of some full blocks of a reader or less.

    A row group is encoded and written on a thread of its own while the next is gathered.
    """

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        self._stream = stream
        self._schema = schema
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gmm-parquet")
        self._writing: Future[None] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._held = pa.Table.from_batches([], schema)
        self._group_rows = 0

    def write(self, piece: Encoded) -> None:
        self._held = pa.concat_tables([self._held, piece.table])
        if not self._group_rows and self._held.num_rows:
            self._group_rows = _group_rows(piece.table)
        while self._held.num_rows >= self._group_rows > 0:
            self._flush(self._group_rows)

    def close(self) -> None:
        try:
            if self._held.num_rows or self._writing is None:
                self._flush(self._held.num_rows)
            self._wait()
        finally:
            self._thread.shutdown()
            if self._writer is not None:
                self._writer.close()
        self._stream.close()

    def _flush(self, rows: int) -> None:
        """Have so many of the rows written as a row group."""
        group, self._held = self._held.slice(0, rows), self._held.slice(rows)
        self._wait()
        self._writing = self._thread.submit(self._write_group, group)

    def _wait(self) -> None:
        """Wait for the row group that is being written; raises its error."""
        if self._writing is not None:
            self._writing.result()

    def _write_group(self, table: pa.Table) -> None:
        if self._writer is None:
            dictionaries, codecs = _encodings(table.slice(0, SAMPLE_ROWS))
            encodings = {"use_dictionary": dictionaries, "compression": codecs}
            self._writer = pq.ParquetWriter(self._stream, self._schema, **encodings)
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)


Writer = _TextWriter | _ArrowWriter | _ParquetWriter  # write(piece), then close()


def _group_rows(table: pa.Table) -> int:
    """Rows of a group, by the size of the rows of a table."""
    rows = max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * table.num_rows // max(1, table.nbytes)))
    return rows - rows % BLOCK_ROWS if rows > BLOCK_ROWS else rows


def _encodings(head: pa.Table) -> tuple[Any, Any]:
    """Columns that get a dictionary of their values, and the codec of each column, by the first rows.

    To build a dictionary and then give it up takes ten times as long as writing the cells as they are. The digits of
    measured numbers seldom become smaller by compression, and then every reading would copy them for nothing. In a
    table with nested columns, whose parts have no names here, all columns get both.
    """
    if any(pa.types.is_nested(field.type) for field in head.schema):
        return True, CODEC
    columns = dict(zip(head.column_names, head.columns, strict=True))
    dictionaries = [name for name, column in columns.items() if _repeats(column)]
    return dictionaries, {name: CODEC if _shrinks(column) else "none" for name, column in columns.items()}


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether the cells repeat, measures much so."""
    try:
        least = 16 if pa.types.is_floating(column.type) else 2
        return least * pc.count_distinct(column).as_py() <= len(column)
    except pa.ArrowNotImplementedError:  # of dictionaries, which it suits, and of rare types
        return True


def _shrinks(column: pa.ChunkedArray) -> bool:
    cells = pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)
    if not pa.types.is_floating(cells.type) or cells.buffers()[1] is None:
        return True
    width = cells.type.bit_width // 8
    plain = cells.buffers()[1].slice(cells.offset * width, len(cells) * width)
    return len(pa.compress(plain, codec=CODEC, asbytes=True)) < LEAST_GAIN * plain.size
