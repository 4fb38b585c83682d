"""JSON lines in: `JsonReader`, in memory where they fit, else by way of an Arrow file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.json as pajson

from gmmcli.data.ahead import ahead
from gmmcli.data.columnar_readers import ArrowReader, ColumnarReader
from gmmcli.data.compute import pc
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.json_depth import nested_deeper
from gmmcli.data.json_types import Changed, merged, timeless
from gmmcli.data.reader import Piece, pieces_of, recut, slices
from gmmcli.data.scratch import Scratch
from gmmcli.errors import InputError
from gmmcli.passes.block import rows_of_block
from gmmcli.storage.names import printable

MOST_LEVELS = 100  # pyarrow's parser ends the process, by overflow of its stack, at some 20 000
_BLOCK_BYTES = 1 << 22
_LONGEST_BLOCK_BYTES = 1 << 30
_COPIES = 4  # of the text, in memory, are as much as a reading takes at most
_LEAST_LONGEST_BYTES, _LONGEST_SHARE = 1 << 26, 16  # of a line that is read apart: at least, or of what is free


class JsonReader(ColumnarReader):
    """One file of JSON lines; types are pyarrow's, but text that looks like a time stays text.

    Where the memory has no room for its values, they are written to an Arrow file, which is read instead: one reading
    of the text settles the types, over all lines, and another converts it.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int, scratch: Scratch) -> None:
        self._source = source
        self._options = options
        self._most_rows = block_rows
        self._size = 0
        self._longest = max(_LEAST_LONGEST_BYTES, scratch.free // _LONGEST_SHARE)
        self._stored: ArrowReader | None = None
        self._table = pa.table({})
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
                if scratch.take(_COPIES * self._size):
                    self._table = self._sound(self._read())
                    scratch.give_back(_COPIES * self._size - self._table.nbytes)
                    self._settle(source.label, self._table.schema, self._table.num_rows > 0, block_rows)
                else:
                    self._stored = self._converted(scratch)
                    self._settle(source.label, self._stored.schema(False, ()), self._stored.has_rows, block_rows)
                    self.held = self._stored.held
            except (pa.ArrowInvalid, UnicodeError):
                raise InputError(f"{source.label}: not UTF-8 text: convert it by iconv -f latin1") from None

    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """The blocks."""
        if self._stored is not None:
            return self._stored.pieces(columns)
        return pieces_of(self._table.num_rows, self.block_rows, len(columns))

    def tables(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Slices of the table in memory, or of the file."""
        if self._stored is not None:
            return self._stored.tables(columns, pieces)
        return slices(self._table.select(columns), self.block_rows, pieces)

    def _contents(self) -> Iterator[bytes]:
        self._size = 0
        with self._source.open() as stream:
            while block := stream.read(_BLOCK_BYTES):
                self._size += len(block)
                yield block

    # ---- in memory

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

    def _sound(self, table: pa.Table) -> pa.Table:
        """The table, parsed once more where a list that begins with a null was made in a wrong length."""
        try:
            table.validate(full=True)
        except pa.ArrowInvalid:
            table = self._parse(table.schema)
            table.validate(full=True)
        return table

    def _exact(self, column: pa.ChunkedArray, field: pa.Field) -> pa.Field | None:
        """The type that keeps the cells as written, where pyarrow's own choice loses something."""
        if pa.types.is_float64(field.type):
            return pa.field(field.name, pa.uint64()) if _is_wide(_bounds(column)) else None
        kept = timeless(field.type)
        return None if kept == field.type else pa.field(field.name, kept)

    def _parse(self, schema: pa.Schema | None = None) -> pa.Table:
        size = 1 << 20
        while True:
            try:
                with self._source.open() as stream:
                    return _parsed(stream, size, schema)
            except pa.ArrowInvalid as error:
                text = str(error)
                # a line longer than a block, or a row that is counted from the start of its block
                if ("straddling" in text or " row " in text) and size < _LONGEST_BLOCK_BYTES:
                    size = min(size << 4, _LONGEST_BLOCK_BYTES)
                    continue
                raise self._explain(text) from None

    def _explain(self, text: str, rows: int = 0) -> InputError:
        """The error for the user. rows: before those that were parsed."""
        label = self._source.label
        if text.startswith("Empty"):
            return InputError(f"{label}: no rows: give data with rows")
        row = re.search(r"in row (\d+)", text)
        where = f" in row {rows + int(row[1]) + 1}" if row else ""
        changed = re.search(r"Column\(/(.*)\) changed from (\w+) to (\w+)", text, re.DOTALL)
        if changed:
            return InputError(f"{label}: {printable(changed[1])} changes from {changed[2]} to {changed[3]}{where}")
        reason = re.sub(r"^JSON parse error: |\.? in row \d+$", "", text)
        return InputError(f"{label}: not JSON lines{where}: {printable(reason)}")

    # ---- larger than memory

    def _converted(self, scratch: Scratch) -> ArrowReader:
        """The values in an Arrow file."""
        schema, wide = self._settled()
        exact = pa.schema([field.with_type(pa.uint64()) if field.name in wide else field for field in schema])
        for types in (exact, schema):
            file = scratch.file()
            try:
                with pa.ipc.new_file(file.sink(), types) as writer:
                    batches = (batch for table in self._tables(types) for batch in table.to_batches())
                    for table in recut(batches, types, rows_of_block(len(types), self._most_rows)):
                        writer.write_table(table.combine_chunks())
                break
            except InputError:  # as in _read
                if not wide:
                    raise
                wide = set()
        return ArrowReader(Input(self._source.label, "arrow", content=file), self._options, self._most_rows)

    def _settled(self) -> tuple[pa.Schema, set[str]]:
        """The types over all lines, and the columns of floats that uint64 may hold as they are written."""
        types: dict[str, pa.DataType] = {}
        bounds: dict[str, list[float]] = {}
        rows = 0
        for table in self._tables(None):
            for name, column in zip(table.column_names, table.columns, strict=True):
                dtype = timeless(column.type)
                try:
                    types[name] = merged(types.get(name, pa.null()), dtype)
                except Changed as change:
                    row = rows + pc.indices_nonzero(pc.is_valid(column))[0].as_py() + 1
                    what = f"{printable(name)} changes from {change.before} to {change.after}"
                    raise InputError(f"{self._source.label}: {what} in row {row}") from None
                if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
                    bounds.setdefault(name, []).extend(bound for bound in _bounds(column) if bound is not None)
                    bounds[name] = [f(bounds[name]) for f in (min, max) if bounds[name]]
            rows += table.num_rows
        wide = {name for name, dtype in types.items() if pa.types.is_float64(dtype) and _is_wide(bounds[name])}
        return pa.schema(list(types.items())), wide

    def _tables(self, schema: pa.Schema | None) -> Iterator[pa.Table]:
        """The values of some lines at a time, read ahead of their use, in the types of a schema or in their own."""
        return ahead(self._parsed_chunks(schema))

    def _parsed_chunks(self, schema: pa.Schema | None) -> Iterator[pa.Table]:
        rows = 0
        for chunk in self._chunks():
            try:
                table = _parsed(pa.BufferReader(chunk), len(chunk) + 1, schema)
            except pa.ArrowInvalid as error:
                raise self._explain(str(error), rows) from None
            if schema is not None:  # before, lists that begin with a null may be of a wrong length
                table.validate(full=True)
            yield table
            rows += table.num_rows

    def _chunks(self) -> Iterator[bytes]:
        """The text cut at ends of lines, which in JSON no value has in it."""
        rest = b""
        for block in self._contents():
            block = rest + block
            end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
            rest = block[end:]
            if len(rest) > self._longest:
                raise InputError(
                    f"{self._source.label}: a line of more than {self._longest >> 20} MiB: "
                    "write one object a line, by jq -c . as it may be, or raise --memory"
                )
            if end and not block[:end].isspace():
                yield block[:end]
        if rest and not rest.isspace():
            yield rest


def _parsed(stream: pa.NativeFile, size: int, schema: pa.Schema | None) -> pa.Table:
    return pajson.read_json(stream, pajson.ReadOptions(block_size=size), pajson.ParseOptions(explicit_schema=schema))


def _bounds(column: pa.ChunkedArray) -> list[float | None]:
    """The least and the largest number, None without any."""
    return list(pc.min_max(column).as_py().values())


def _is_wide(bounds: Sequence[float | None]) -> bool:
    """Whether numbers between these are beyond int64 and may be uint64."""
    least, most = [*bounds, None, None][:2]
    return least is not None and most is not None and least >= 0 and 2.0**63 <= most < 2.0**64
