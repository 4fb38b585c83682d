"""Reader of JSON lines: `JsonReader`, which stores the values of all lines in types that hold for all lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from gmmcli.data.columnar import ColumnarReader
from gmmcli.data.compute import common_type, pc
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.reader import Piece, ahead, recut
from gmmcli.data.scratch import Scratch, TableStore
from gmmcli.errors import InputError, Remedy
from gmmcli.passes.block import rows_of_block
from gmmcli.storage.names import printable

MOST_LEVELS = 100  # pyarrow's parser overflows its stack and ends the process at about 20 000
_CHUNK_BYTES = 1 << 22  # of text at a time
_PARSE_BYTES = 1 << 20  # of text for each thread
_LEAST_LONGEST_BYTES, _LONGEST_SHARE = 1 << 26, 16  # a chunk has at most these bytes, or this part of the free budget

_MARKS = b'"{[}]\n'
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEP = np.zeros(256, np.int64)
_STEP[list(b"{[")], _STEP[list(b"}]")] = 1, -1


class JsonReader(ColumnarReader):
    """One file of JSON lines. Types are pyarrow's, but text that resembles a time stays text.

    The text is parsed in chunks of whole lines. The first reading settles the types over all lines. Its values are
    stored if each chunk has these types and the memory has room for them. Otherwise a second reading stores them.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int, scratch: Scratch) -> None:
        self._source = source
        self._scratch = scratch
        self._longest = max(_LEAST_LONGEST_BYTES, scratch.free // _LONGEST_SHARE)
        self._chunk_bytes = _CHUNK_BYTES
        with reading(source.label, "JSON lines"):
            with source.open(whole=False) as stream:
                start = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
            if start.startswith(b"["):
                raise self._error("a JSON array, not one object a line", "convert it by jq -c '.[]'")
            try:
                schema, self._store = self._stored(block_rows)
            except (pa.ArrowInvalid, UnicodeError):
                raise self._error("not UTF-8 text", "convert it by iconv -f latin1") from None
        super().__init__(source, options, schema, self._store.rows, block_rows)
        self.remote = False  # once its values are stored

    def pieces(self, columns: Sequence[str]) -> Sequence[Piece]:
        """Blocks."""
        return self._blocks_as_pieces(self._store.rows, columns)

    def _read(self, columns: list[str], pieces: range | None = None) -> Iterator[pa.Table]:
        """Stored blocks."""
        blocks = range(-(-self._store.rows // self.block_rows)) if pieces is None else pieces
        return self._store.tables(columns, blocks)

    # ---- types and values

    def _stored(self, most_rows: int) -> tuple[pa.Schema, TableStore]:
        """Schema over all lines, and their values in blocks."""
        while True:
            try:
                schema, wide, tables = self._surveyed()
                break
            except InputError:  # an object over several lines may not end within its chunk
                if self._chunk_bytes >= self._longest:
                    raise
                self._chunk_bytes = min(self._chunk_bytes << 4, self._longest)
        block_rows = rows_of_block(len(schema), most_rows)

        def filled(types: pa.Schema, tables: Iterable[pa.Table]) -> TableStore:
            batches = (batch for table in tables for batch in table.to_batches())
            with TableStore(types, self._scratch) as store:
                for table in recut(batches, types, block_rows):
                    store.add(table)
            return store

        if tables is not None:
            return schema, filled(schema, tables)
        if wide:
            exact = pa.schema([field.with_type(pa.uint64()) if field.name in wide else field for field in schema])
            with suppress(InputError):  # some are fractions or beyond uint64, so the column has floats
                return exact, filled(exact, self._tables(exact))
        return schema, filled(schema, self._tables(schema))

    def _surveyed(self) -> tuple[pa.Schema, set[str], list[pa.Table] | None]:
        """Types over all lines, columns of floats that may fit uint64, and the values.

        The values are None if they must be read again, in other types or for lack of room.
        """
        types: dict[str, pa.DataType] = {}
        bounds: dict[str, list[float]] = {}
        kept: list[pa.Table] | None = []
        taken = rows = 0
        try:
            for table in self._tables(None):
                for name, column in zip(table.column_names, table.columns, strict=True):
                    dtype = _timeless(column.type)
                    try:
                        types[name] = common_type([types.get(name, pa.null()), dtype])
                    except pa.ArrowException:
                        for _ in self._tables(pa.schema([(name, types[name])])):  # its error names the kinds and row
                            continue
                        raise
                    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
                        least, most = pc.min_max(column).as_py().values()
                        bounds.setdefault(name, []).extend([] if least is None else [least, most])
                rows += table.num_rows
                if kept is not None and self._scratch.take(table.nbytes):
                    kept.append(table)
                    taken += table.nbytes
                else:
                    kept = None
        finally:
            self._scratch.give_back(taken)
        if not rows:
            raise self._error("no rows", "give data with rows")
        schema = pa.schema(list(types.items()))
        wide = {name for name, dtype in types.items() if pa.types.is_float64(dtype) and _is_wide(bounds[name])}
        try:
            for table in kept or ():
                table.validate(full=True)
        except pa.ArrowInvalid:  # a list that begins with a null may have a wrong length
            kept = None
        same = not wide and kept is not None and all(table.schema == schema for table in kept)
        return schema, wide, kept if same else None

    # ---- text

    def _tables(self, schema: pa.Schema | None) -> Iterator[pa.Table]:
        """Values of some lines at a time, read ahead of their use, in the types of a schema or in their own."""
        return ahead(self._parsed_chunks(schema))

    def _parsed_chunks(self, schema: pa.Schema | None) -> Iterator[pa.Table]:
        rows = 0
        for chunk in self._chunks():
            if nested_deeper(chunk, MOST_LEVELS):
                raise self._error(f"not JSON lines: objects or lists nested more than {MOST_LEVELS} deep")
            try:
                try:
                    table = _parse(chunk, _PARSE_BYTES, schema)
                except pa.ArrowInvalid:  # a longer line, or an error whose row is counted from the start of its part
                    table = _parse(chunk, len(chunk) + 1, schema)
            except pa.ArrowInvalid as error:
                raise self._explained(str(error), rows) from None
            if schema is not None:  # the first reading validates its values when all types are known
                table.validate(full=True)
            yield table
            rows += table.num_rows

    def _chunks(self) -> Iterator[bytes]:
        """Text cut at ends of lines. No value in JSON contains a line end."""
        rest = b""
        with self._source.open() as stream:
            while block := stream.read(self._chunk_bytes):
                block = rest + block
                end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
                rest = block[end:]
                if len(rest) > self._longest:
                    remedies = Remedy("write one object a line, by jq -c . as it may be"), Remedy("raise", "memory")
                    raise self._error(f"a line of more than {self._longest >> 20} MiB", remedies)
                if end and not block[:end].isspace():
                    yield block[:end]
        if rest and not rest.isspace():
            yield rest

    def _explained(self, text: str, rows: int) -> InputError:
        """Error for the user, made from pyarrow's error. rows: number of rows before the chunk."""
        row = re.search(r"in row (\d+)", text)
        where = f" in row {rows + int(row[1]) + 1}" if row else ""
        changed = re.search(r"Column\(/(.*)\) changed from (\w+) to (\w+)", text, re.DOTALL)
        if changed:
            return self._error(f"{printable(changed[1])} changes from {changed[2]} to {changed[3]}{where}")
        reason = re.sub(r"^JSON parse error: |\.? in row \d+$", "", text)
        return self._error(f"not JSON lines{where}: {printable(reason)}")

    def _error(self, problem: str, remedy: Sequence[Remedy] | str = ()) -> InputError:
        return InputError(problem, subject=self._source.label, remedy=remedy)


def _parse(chunk: bytes, size: int, schema: pa.Schema | None) -> pa.Table:
    read, parse = pajson.ReadOptions(block_size=size), pajson.ParseOptions(explicit_schema=schema)
    return pajson.read_json(pa.BufferReader(chunk), read, parse)


def _is_wide(bounds: Sequence[float]) -> bool:
    """Whether numbers between these bounds are beyond int64 and may be uint64."""
    return min(bounds, default=-1) >= 0 and 2.0**63 <= max(bounds) < 2.0**64


def nested_deeper(lines: bytes, most: int) -> bool:
    """Whether objects and lists in whole lines of JSON are nested more than `most` deep.

    An object that begins a line after the end of another object does not add to the depth. If at most `most` others
    begin, they are only counted. Otherwise the depth is followed outside of text, which ends at the end of a line.
    """
    starts = lines.count(b"{") + lines.count(b"[") - lines.count(b"}\n{") - lines.count(b"}\r\n{")
    return starts > most and _depth(lines) > most


def _depth(lines: bytes) -> int:
    if b"\\" in lines:
        lines = re.sub(rb"\\[^\n]", b"", lines)
    marks = lines.translate(None, _OTHERS).replace(b'""', b"")  # most texts hold no mark
    steps = _STEP[np.frombuffer(re.sub(rb'"[^"\n]*"?', b"", marks), np.uint8)]
    levels = np.concatenate([[0], np.cumsum(steps)])
    return int((levels - np.minimum.accumulate(levels)).max())


# ---- types


def _timeless(dtype: pa.DataType) -> pa.DataType:
    """Type with strings wherever pyarrow took text for a time stamp."""
    if pa.types.is_timestamp(dtype):
        return pa.string()
    if isinstance(dtype, pa.ListType):
        return pa.list_(_timeless(dtype.value_type))
    if isinstance(dtype, pa.StructType):
        return pa.struct([(field.name, _timeless(field.type)) for field in dtype.fields])
    return dtype
