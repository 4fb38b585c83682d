"""Typed files in: `ParquetReader`, `ArrowReader` (IPC file and stream) and `JsonReader` (JSON lines)."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.json as pajson
import pyarrow.parquet as pq

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import pc
from gmmcli.data.csv_header import refuse_duplicates
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.json_depth import nested_deeper
from gmmcli.data.numbers import all_numbers, kind_of, parse
from gmmcli.data.reader import Pair, Reader, recut
from gmmcli.errors import InputError
from gmmcli.names import printable

MOST_LEVELS = 100  # of JSON: pyarrow's parser ends the process, by overflow of its stack, at some 20 000
_BLOCK_BYTES = 1 << 22


class ColumnarReader(Reader):
    """A file whose columns have types: what passes through and what a model reads are the same cells.

    But text that a model reads, when all of it is numbers, is parsed: so identifiers come out of typed files that
    were made of delimited text.
    """

    _schema: pa.Schema
    _options: ReadOptions

    def kinds(self, columns: Sequence[str]) -> dict[str, ColumnKind]:
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

    def numbers(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The columns in the types they have, text parsed."""
        return (self._parsed(table, columns) for table in self.tables(list(columns)))

    def pairs(self, columns: Sequence[str], typed: bool) -> Iterator[Pair]:
        """The whole tables, and the columns of them."""
        for table in self.tables(list(self.names)):
            yield table, self._parsed(table, columns)

    def _parsed(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        cells = [table.column(name) for name in columns]
        cells = [parse(c, self._options) if kind_of(c.type) is ColumnKind.TEXT else c for c in cells]
        return pa.Table.from_arrays(cells, names=list(columns))

    @abstractmethod
    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """The named columns, one table for each block, none empty."""

    def _settle(self, label: str, schema: pa.Schema, has_rows: bool) -> None:
        self.label = label
        self.names = tuple(schema.names)
        refuse_duplicates(label, self.names)
        self._schema = schema
        self.has_rows = has_rows


class ParquetReader(ColumnarReader):
    """One Parquet file, a row group at a time, a large row group in pieces of `block_rows` rows.

    The file is opened for each reading, so that thousands of files need no thousands of handles.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        self._block_rows = block_rows
        with reading(source.label, "parquet"), source.open() as stream:
            file = pq.ParquetFile(stream)
            self._metadata = file.metadata
            self._settle(source.label, file.schema_arrow, file.metadata.num_rows > 0)
        if source.remote:
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            self.held = max((group.total_byte_size for group in groups), default=0)

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Row group by row group, none of it kept."""
        schema = pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)
        with reading(self.label, "parquet"), self._source.open() as stream:
            # the columns of a row group in few requests at a time, not one after the other
            file = pq.ParquetFile(stream, metadata=self._metadata, pre_buffer=self._source.remote)
            for group in range(self._metadata.num_row_groups):
                batches = file.iter_batches(self._block_rows, row_groups=[group], columns=columns)
                # a column called "a.b" may bring another's parts along
                yield from recut((b.select(schema.names) for b in batches), schema, self._block_rows)


class ArrowReader(ColumnarReader):
    """One Arrow IPC file (Feather version 2) or stream, a record batch at a time."""

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        self._block_rows = block_rows
        with reading(source.label, "arrow"), source.open() as stream:
            reader = self._open(stream, None)
            batch = next((b for b in _batches(reader) if b.num_rows), None)
            self._settle(source.label, reader.schema, batch is not None)
        if source.remote:
            self.held = 0 if batch is None else batch.nbytes

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Batch by batch, none of them kept."""
        schema = pa.schema([self._schema.field(name) for name in columns], self._schema.metadata)
        # in the order of the file, which is the order of the reader's answer
        fields = sorted(self._schema.get_field_index(name) for name in columns)
        with reading(self.label, "arrow"), self._source.open() as stream:
            reader = self._open(stream, fields)
            yield from recut((b.select(schema.names) for b in _batches(reader)), schema, self._block_rows)

    def _open(
        self, stream: pa.NativeFile, fields: list[int] | None
    ) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        if self._source.format == "arrow":
            return pa.ipc.open_file(stream, options=options)
        return pa.ipc.open_stream(stream, options=options)


class JsonReader(ColumnarReader):
    """One file of JSON lines, read whole; types are pyarrow's, but text that looks like a time stays text."""

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        self._block_rows = block_rows
        with reading(source.label, "JSON lines"):
            with source.open(whole=False) as stream:
                start = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
            if start.startswith(b"["):
                raise InputError(f"{source.label}: a JSON array, not one object a line: convert it by jq -c '.[]'")
            if nested_deeper(self._contents, MOST_LEVELS):
                raise InputError(
                    f"{source.label}: not JSON lines: objects or lists nested more than {MOST_LEVELS} deep"
                )
            try:
                self._table = self._read()
                self._table.validate(full=True)
                self._settle(source.label, self._table.schema, self._table.num_rows > 0)
                self.held = 0 if source.remote else None
            except (pa.ArrowInvalid, UnicodeError):
                raise InputError(f"{source.label}: not UTF-8 text: convert it by iconv -f latin1") from None

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Slices of the table in memory."""
        table = self._table.select(columns)
        for first in range(0, self._table.num_rows, self._block_rows):
            yield table.slice(first, self._block_rows)

    def _contents(self) -> Iterator[bytes]:
        with self._source.open() as stream:
            while block := stream.read(_BLOCK_BYTES):
                yield block

    def _read(self) -> pa.Table:
        table = self._parse()
        exact = [self._exact(column, field) for column, field in zip(table.columns, table.schema, strict=True)]
        if any(field is not None for field in exact):
            schema = pa.schema([field for field in exact if field is not None])
            try:
                return self._parse(schema).select(table.column_names)
            except InputError:  # a column with integers beyond uint64 or with fractions: floats after all
                times = [f for f in schema if not pa.types.is_uint64(f.type)]
                return self._parse(pa.schema(times)).select(table.column_names)
        return table

    def _exact(self, column: pa.ChunkedArray, field: pa.Field) -> pa.Field | None:
        """The type that keeps the cells as written, where pyarrow's own choice loses something."""
        if pa.types.is_float64(field.type):
            bounds = pc.min_max(column).as_py()
            wide = bounds["min"] is not None and bounds["min"] >= 0 and 2.0**63 <= bounds["max"] < 2.0**64
            return pa.field(field.name, pa.uint64()) if wide else None
        timeless = _without_times(field.type)
        return None if timeless == field.type else pa.field(field.name, timeless)

    def _parse(self, schema: pa.Schema | None = None) -> pa.Table:
        parse = pajson.ParseOptions(explicit_schema=schema)
        size = 1 << 20
        while True:
            try:
                with self._source.open() as stream:
                    return pajson.read_json(stream, pajson.ReadOptions(block_size=size), parse)
            except pa.ArrowInvalid as error:
                text = str(error)
                # a line longer than a block, or a row that is counted from the start of its block
                if ("straddling" in text or " row " in text) and size < (1 << 30):
                    size = min(size << 4, 1 << 30)
                    continue
                raise self._explain(text) from None

    def _explain(self, text: str) -> InputError:
        label = self._source.label
        if text.startswith("Empty"):
            return InputError(f"{label}: no rows: give data with rows")
        row = re.search(r"in row (\d+)", text)
        where = f" in row {int(row[1]) + 1}" if row else ""
        changed = re.search(r"Column\(/(.*)\) changed from (\w+) to (\w+)", text, re.DOTALL)
        if changed:
            return InputError(f"{label}: {printable(changed[1])} changes from {changed[2]} to {changed[3]}{where}")
        reason = re.sub(r"^JSON parse error: |\.? in row \d+$", "", text)
        return InputError(f"{label}: not JSON lines{where}: {printable(reason)}")


def _batches(
    reader: pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader,
) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def _without_times(dtype: pa.DataType) -> pa.DataType:
    """The type with strings wherever pyarrow took text for a time stamp."""
    if pa.types.is_timestamp(dtype):
        return pa.string()
    if isinstance(dtype, pa.ListType):
        return pa.list_(_without_times(dtype.value_type))
    if isinstance(dtype, pa.StructType):
        return pa.struct([(field.name, _without_times(field.type)) for field in cast("list[pa.Field]", list(dtype))])
    return dtype
