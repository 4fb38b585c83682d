"""Readers of typed files: `ColumnarReader`, `ParquetReader` and `ArrowReader` (IPC file and stream)."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.columns import ColumnFacts, ColumnKind, check_unique
from gmmcli.data.compute import kind_of
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.numbers import parse
from gmmcli.data.reader import CELL_BYTES, Piece, Reader, recut
from gmmcli.passes.block import rows_of_block

_IpcReader: TypeAlias = "pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader"
_COLUMN_BYTES = 1 << 18  # read ahead of each column of a Parquet file


class ColumnarReader(Reader):
    """File whose columns have types. A model reads the same cells that pass through.

    Text that a model reads is parsed if each cell is a number. Typed files that were made from delimited text have
    identifiers of this kind.
    """

    def __init__(self, source: Input, options: ReadOptions, schema: pa.Schema, rows: int, most_rows: int) -> None:
        check_unique(source.label, schema.names)
        super().__init__(source, options, schema.names, rows_of_block(len(schema), most_rows))
        self._source = source
        self._schema = schema
        self.has_rows = rows > 0

    def facts(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnFacts]:
        """Kinds by the types of the columns."""
        return {name: ColumnFacts(self._kind(name)) for name in columns}

    def all_numbers(self, name: str) -> bool:
        """Whether the type is one of numbers, or each cell of text a number or missing."""
        if self._kind(name) is not ColumnKind.TEXT:
            return self._kind(name) in (ColumnKind.NUMBER, ColumnKind.EMPTY)
        return all(parse(table.column(name), self._options) is not None for table in self._read([name]))

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Schema of the file."""
        return self._schema

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Columns in the types they have, text parsed."""
        return (self.as_numbers(table, columns) for table in self._read(list(columns), pieces))

    def table_pieces(self) -> list[int]:
        """Pieces of `numbers` with all columns."""
        return [piece.bytes for piece in self.pieces(self.names)]

    def tables(self, typed: bool, used: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """All columns in the types they have."""
        return self._read(list(self.names), pieces)

    @abstractmethod
    def _read(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Named columns, one table for each block, none empty. pieces: indices of the pieces to read; None is all."""

    def _kind(self, name: str) -> ColumnKind:
        return kind_of(self._schema.field(name).type)

    def _schema_of(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)


class ParquetReader(ColumnarReader):
    """One Parquet file, read a row group at a time, a large row group in tables of `block_rows` rows.

    Each reading opens the file, since a process may not hold thousands of open files. Of each column 256 KiB are read
    ahead. By default pyarrow holds a whole row group: 680 MB for 1M rows of 64 numbers, against 180 MB, and 1.0 to
    1.8 s for two groups, against 0.7 s. In a remote file each part of a column would be a request; there pyarrow
    joins the columns of a row group into few requests.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        with reading(source.label, "parquet"), source.open() as stream:
            file = pq.ParquetFile(stream)
            self._metadata = file.metadata
            super().__init__(source, options, file.schema_arrow, file.metadata.num_rows, block_rows)
        self._groups = [self._metadata.row_group(i) for i in range(self._metadata.num_row_groups)]
        self.held = max((group.total_byte_size for group in self._groups), default=0)

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """Row groups, with the compressed bytes of these columns."""
        schema = self._metadata.schema
        # the path of a column's cells is its name, except in nested columns, which hold no numbers
        chosen = [d for d in range(self._metadata.num_columns) if schema.column(d).path in columns]
        return [
            self._piece(group.num_rows, sum(group.column(d).total_compressed_size for d in chosen))
            for group in self._groups
        ]

    def _read(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Rows of row groups; no group is kept."""
        groups = range(len(self._groups)) if pieces is None else pieces
        with reading(self.label, "parquet"), self._source.open() as stream:
            ahead = 0 if self.remote else _COLUMN_BYTES
            file = pq.ParquetFile(stream, metadata=self._metadata, buffer_size=ahead, pre_buffer=self.remote)
            for group in groups:
                batches = file.iter_batches(self.block_rows, row_groups=[group], columns=columns, use_threads=False)
                yield from recut(batches, self._schema_of(columns), self.block_rows)


class ArrowReader(ColumnarReader):
    """One Arrow IPC file (Feather version 2) or stream, a record batch at a time.

    A reading of one column counts the rows of the batches. A local file is mapped for it, so that no cell is read
    unless the batches are compressed.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._format = source.format
        with reading(source.label, "arrow"), _mapped(source) as stream:
            schema = self._open(stream, None).schema
            stream.seek(0)
            self._batch_rows = [batch.num_rows for batch in _batches(self._open(stream, [0]))]
        self._rows = sum(self._batch_rows)
        super().__init__(source, options, schema, self._rows, block_rows)
        row_bytes = max(CELL_BYTES * len(schema), (source.size or 1) // max(1, self._rows))
        self.held = row_bytes * max(self._batch_rows, default=0)

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """Blocks."""
        return self._blocks_as_pieces(self._rows, columns)

    def _read(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Rows of batches; no batch is kept."""
        first, last = 0, self._rows
        if pieces is not None:
            first, last = (min(piece * self.block_rows, last) for piece in (pieces.start, pieces.stop))
        # pyarrow returns the columns in the order of the file
        fields = sorted(self._schema.get_field_index(name) for name in columns)
        with reading(self.label, "arrow"), self._source.open() as stream:
            batches = self._slices(self._open(stream, fields), first, last)
            yield from recut(batches, self._schema_of(columns), self.block_rows)

    def _open(self, stream: pa.NativeFile, fields: list[int] | None) -> _IpcReader:
        open_reader = pa.ipc.open_file if self._format == "arrow" else pa.ipc.open_stream
        return open_reader(stream, options=pa.ipc.IpcReadOptions(included_fields=fields))

    def _slices(self, reader: _IpcReader, first: int, last: int) -> Iterator[pa.RecordBatch]:
        """Rows from `first` to before `last`, as slices of the batches that hold them."""
        starts = [0, *accumulate(self._batch_rows)]
        chosen = slice(bisect_right(starts, first) - 1, bisect_left(starts, last))
        for start, batch in zip(starts[chosen], _batches(reader, chosen), strict=True):
            begin = max(first - start, 0)
            yield batch.slice(begin, last - start - begin)


def _mapped(source: Input) -> pa.NativeFile:
    is_local = source.path is not None and source.content is None and not source.remote
    return pa.memory_map(source.path) if is_local else source.open()


def _batches(reader: _IpcReader, chosen: slice = slice(None)) -> Iterator[pa.RecordBatch]:
    """Record batches. A stream reads the batches before the chosen ones all the same."""
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        return islice(reader, chosen.start, chosen.stop)
    return map(reader.get_batch, range(reader.num_record_batches)[chosen])
