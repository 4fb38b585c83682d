"""Typed files in: `ColumnarReader`, and `ParquetReader` and `ArrowReader` (IPC file and stream), which are such."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.columns import ColumnKind
from gmmcli.data.csv_header import refuse_duplicates
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.ipc_headers import batch_sizes
from gmmcli.data.numbers import all_numbers, kind_of, parse
from gmmcli.data.reader import CELL_BYTES, Pair, Piece, Reader, pieces_of, recut
from gmmcli.passes.block import rows_of_block

_COLUMN_BYTES = 1 << 18  # read ahead of each column of a Parquet file


class ColumnarReader(Reader):
    """A file whose columns have types: what passes through and what a model reads are the same cells.

    But text that a model reads, when all of it is numbers, is parsed: so identifiers come out of typed files that
    were made of delimited text.
    """

    _schema: pa.Schema
    _options: ReadOptions

    def kinds(self, columns: Sequence[str], keep: bool = True) -> dict[str, ColumnKind]:
        """What the types of the columns say."""
        return {name: kind_of(self._schema.field(name).type) for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """Nothing: the types say it all."""
        return {}

    def all_numbers(self, name: str) -> bool:
        """What the type says; of text, whether every cell is a number."""
        kind = self.kinds([name])[name]
        if kind is not ColumnKind.TEXT:
            return kind in (ColumnKind.NUMBER, ColumnKind.EMPTY)
        return all(all_numbers(table.column(name), self._options) for table in self.tables([name]))

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """That of the file."""
        return self._schema

    def numbers(self, columns: Sequence[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """The columns in the types they have, text parsed."""
        tables, text = self.tables(list(columns), pieces), self._text(columns)
        return (self._parsed(table, columns, text) for table in tables) if text else tables

    def pair_pieces(self) -> list[int]:
        """Those of `numbers`, with all columns."""
        return [piece.bytes for piece in self.pieces(self.names)]

    def pairs(self, columns: Sequence[str], typed: bool, pieces: range | None = None) -> Iterator[Pair]:
        """The whole tables, and the columns of them."""
        text = self._text(columns)
        for table in self.tables(list(self.names), pieces):
            yield table, self._parsed(table, columns, text)

    def _parsed(self, table: pa.Table, columns: Sequence[str], text: set[str]) -> pa.Table:
        cells = [parse(table.column(name), self._options) if name in text else table.column(name) for name in columns]
        return pa.Table.from_arrays(cells, names=list(columns))

    def _text(self, columns: Sequence[str]) -> set[str]:
        return {name for name, kind in self.kinds(columns).items() if kind is ColumnKind.TEXT}

    @abstractmethod
    def tables(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """The named columns, of these of the `pieces` or of all, one table for each block, none empty."""

    def _settle(self, label: str, schema: pa.Schema, has_rows: bool, most_rows: int) -> None:
        self.label = label
        self.names = tuple(schema.names)
        self.block_rows = rows_of_block(len(self.names), most_rows)
        refuse_duplicates(label, self.names)
        self._schema = schema
        self.has_rows = has_rows


class ParquetReader(ColumnarReader):
    """One Parquet file, a row group at a time, a large row group in pieces of `block_rows` rows.

    The file is opened for each reading, so that thousands of files need no thousands of handles. Columns are read a
    little ahead of their use: pyarrow would hold all of a row group, 680 MB of 1M rows of 64 numbers, where 256 KiB
    of each column and what is decoded are 180 MB, in less time (0.7 s of two groups, against 1.0 to 1.8). But of a
    remote file, where each of these would be a request, all of a row group's columns are asked for in few requests.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        with reading(source.label, "parquet"), source.open() as stream:
            file = pq.ParquetFile(stream)
            self._metadata = file.metadata
            self._settle(source.label, file.schema_arrow, file.metadata.num_rows > 0, block_rows)
        groups = map(self._metadata.row_group, range(self._metadata.num_row_groups))
        self.held = max((group.total_byte_size for group in groups), default=0)
        self.remote = source.remote

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """The row groups, with the bytes of these columns as they are compressed."""
        schema = self._metadata.schema
        # by the paths of their cells, which are the names of columns but where these are nested, so no numbers
        places = [d for d in range(self._metadata.num_columns) if schema.column(d).path in columns]
        groups = map(self._metadata.row_group, range(self._metadata.num_row_groups))
        return [Piece(g.num_rows, sum(g.column(d).total_compressed_size for d in places)) for g in groups]

    def tables(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Row group by row group, none of it kept."""
        schema = pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)
        groups = range(self._metadata.num_row_groups) if pieces is None else pieces
        if not groups:
            return
        with reading(self.label, "parquet"), self._source.open() as stream:
            ahead = 0 if self.remote else _COLUMN_BYTES
            file = pq.ParquetFile(stream, metadata=self._metadata, buffer_size=ahead, pre_buffer=self.remote)
            for group in groups:
                batches = file.iter_batches(self.block_rows, row_groups=[group], columns=columns, use_threads=False)
                yield from recut(batches, schema, self.block_rows)


class ArrowReader(ColumnarReader):
    """One Arrow IPC file (Feather version 2) or stream, a record batch at a time."""

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        with reading(source.label, "arrow"), source.open() as stream:
            schema = self._open(stream, None).schema
            sizes = batch_sizes(stream)
            self._batch_rows = [size.rows for size in sizes]
            self._settle(source.label, schema, any(self._batch_rows), block_rows)
        self.held = max((max(size.bytes, CELL_BYTES * size.rows * len(schema)) for size in sizes), default=0)
        self.remote = source.remote

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        """The blocks."""
        return pieces_of(sum(self._batch_rows), self.block_rows, len(columns))

    def tables(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Batch by batch, none of them kept."""
        schema = pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)
        # in the order of the file, which is the order of the reader's answer
        fields = sorted(self._schema.get_field_index(name) for name in columns)
        last = sum(self._batch_rows)
        first = 0
        if pieces is not None:
            first, last = (min(piece * self.block_rows, last) for piece in (pieces.start, pieces.stop))
        if first == last:
            return
        with reading(self.label, "arrow"), self._source.open() as stream:
            batches = self._batches(self._open(stream, fields), first, last)
            yield from recut(batches, schema, self.block_rows)

    def _open(
        self, stream: pa.NativeFile, fields: list[int] | None
    ) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        if self._source.format == "arrow":
            return pa.ipc.open_file(stream, options=options)
        return pa.ipc.open_stream(stream, options=options)

    def _batches(
        self, reader: pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader, first: int, last: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows from `first` to before `last`; the batches before them are passed over, but in a stream read."""
        start = 0
        for place, rows in enumerate(self._batch_rows):
            begin, end = max(first - start, 0), min(last - start, rows)
            if isinstance(reader, pa.ipc.RecordBatchStreamReader):
                batch = reader.read_next_batch()
                yield batch.slice(begin, max(end - begin, 0))
            elif begin < end:
                yield reader.get_batch(place).slice(begin, end - begin)
            start += rows
            if start >= last:
                break
