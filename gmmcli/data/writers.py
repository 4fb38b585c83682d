"""Formats of output: tables as delimited text and JSON lines, and writers of Parquet and Arrow to an open stream.

- `make_writer`: the writer of a binary format, `stored_schema`: the schema that it stores.
- `csv_header`, `csv_lines`, `json_lines`: tables as text. pyarrow's CSV writer is not used, since it quotes every
  text or none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.columns import ColumnKind
from gmmcli.data.compute import as_json, cell, kind_of, null, pc, strings, text, type_of_values
from gmmcli.data.formats import TEXT
from gmmcli.passes.block import BLOCK_ROWS

ROW_GROUP_ROWS = 8 * BLOCK_ROWS  # larger groups are read no faster and take more memory of a writer
ROW_GROUP_BYTES = 1 << 26  # about; a writer holds two groups
SAMPLE_ROWS = 1 << 12
CODEC = "snappy"
LEAST_GAIN = 0.9  # of the size: a column that compresses to more is stored uncompressed
_CONTROL = r"[\x00-\x1f]"


class Encoded(NamedTuple):
    """A table, and its lines in a format of text."""

    table: pa.Table
    lines: pa.Buffer | None = None


def make_writer(format: str, stream: Any, schema: pa.Schema) -> Any:
    """Writer of a binary format, with methods write_table and close; None for a format of text.

    It leaves the stream open.
    """
    if format == "parquet":
        return _ParquetWriter(stream, schema)
    if format in TEXT:
        return None
    return (pa.ipc.new_file if format == "arrow" else pa.ipc.new_stream)(stream, schema)


def stored_schema(format: str, schema: pa.Schema) -> pa.Schema:
    """Schema as a format stores it: an IPC file allows a column one dictionary, so plain values replace them."""
    if format != "arrow":
        return schema
    return pa.schema([field.with_type(type_of_values(field.type)) for field in schema], schema.metadata)


class _ParquetWriter:
    """Writer of Parquet with row groups of one size: some full blocks of a reader, or less.

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

    def write_table(self, table: pa.Table, /) -> None:
        self._held = pa.concat_tables([self._held, table])
        if not self._group_rows and self._held.num_rows:
            self._group_rows = _group_rows(table)
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

    def _flush(self, rows: int) -> None:
        """Start to write so many of the rows as a row group."""
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


def _group_rows(table: pa.Table) -> int:
    """Rows of a row group, chosen by the bytes of the table's rows."""
    rows = max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * table.num_rows // max(1, table.nbytes)))
    return rows - rows % BLOCK_ROWS if rows > BLOCK_ROWS else rows


def _encodings(head: pa.Table) -> tuple[Any, Any]:
    """Columns that get a dictionary of their values, and the codec of each column, by the first rows.

    A dictionary that is built and then given up takes ten times as long as plain cells. The digits of measured
    numbers seldom compress, and every reading would decompress them for nothing. In a table with nested columns,
    whose parts have no names here, all columns get both.
    """
    if any(pa.types.is_nested(field.type) for field in head.schema):
        return True, CODEC
    columns = dict(zip(head.column_names, head.columns, strict=True))
    dictionaries = [name for name, column in columns.items() if _repeats(column)]
    return dictionaries, {name: CODEC if _shrinks(column) else "none" for name, column in columns.items()}


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether values repeat: 2 times on average, floating-point numbers 16 times."""
    try:
        least = 16 if pa.types.is_floating(column.type) else 2
        return least * pc.count_distinct(column).as_py() <= len(column)
    except pa.ArrowNotImplementedError:  # for dictionaries, which are encoded so already, and for rare types
        return True


def _shrinks(column: pa.ChunkedArray) -> bool:
    cells = column.combine_chunks()
    if not pa.types.is_floating(cells.type) or cells.buffers()[1] is None:
        return True
    width = cells.type.bit_width // 8
    plain = cells.buffers()[1].slice(cells.offset * width, len(cells) * width)
    return len(pa.compress(plain, codec=CODEC, asbytes=True)) < LEAST_GAIN * plain.size


# ---- text


def csv_header(names: Sequence[str], delimiter: str) -> bytes:
    """First line: the names, quoted like cells."""
    row = pa.table([cell(name) for name in names], names=[str(d) for d in range(len(names))])
    return csv_lines(row, delimiter, ".").to_pybytes()


def csv_lines(table: pa.Table, delimiter: str, decimal: str) -> pa.Buffer:
    """Rows as delimited text, one line each.

    A cell is quoted only if it holds a delimiter, a quote or a line end, or is the empty string: an unquoted empty
    cell is null. In a table of one column null is quoted too, since other programs skip blank lines.
    """
    special = f'{delimiter}"\r\n'
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = strings(column, name, decimal)
        quoted = pc.equal(cells, text(""))
        if _holds_any(cells, special):
            quoted = pc.or_(quoted, pc.match_substring_regex(cells, f"[{re.escape(special)}]"))
        if pc.any(quoted).as_py():
            inner = pc.replace_substring(cells, '"', '""')
            cells = pc.if_else(quoted, _glue('"', inner, '"'), cells)
        columns.append(pc.fill_null(cells, text('""')) if table.num_columns == 1 else cells)
    return _join(columns, delimiter, table.num_rows)


def json_lines(table: pa.Table) -> pa.Buffer:
    """Rows as JSON objects, one line each; NaN and infinite numbers, which JSON lacks, are null."""
    pieces: list[pa.Array | str] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        opening = "," if pieces else "{"
        pieces += [f"{opening}{json.dumps(name, ensure_ascii=False)}:", _json_tokens(column, name)]
    pieces.append("}")
    return _join([_glue(*pieces)], "", table.num_rows)


def _holds_any(cells: pa.Array, characters: str) -> bool:
    """Whether some cell holds one of the ASCII characters. All bytes are tested, which is quicker than each cell."""
    _, offsets, values = cells.buffers()
    if not len(cells) or values is None:
        return False
    first, last = np.frombuffer(offsets, np.int64)[[cells.offset, cells.offset + len(cells)]]
    content = np.frombuffer(values, np.uint8)[first:last]
    return any(bool((content == ord(character)).any()) for character in characters)


def _json_tokens(column: pa.ChunkedArray, name: str) -> pa.Array:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, null(column.type))
    cells = strings(column, name)
    if kind_of(column.type) not in (ColumnKind.NUMBER, ColumnKind.BOOLEAN, ColumnKind.NESTED):
        if pc.any(pc.match_substring_regex(cells, _CONTROL)).as_py():
            cells = as_json(cells)
        else:
            cells = pc.replace_substring(pc.replace_substring(cells, "\\", "\\\\"), '"', '\\"')
            cells = _glue('"', cells, '"')
    return pc.fill_null(cells, text("null"))


def _join(columns: Sequence[pa.Array], delimiter: str, rows: int) -> pa.Buffer:
    """Cells of each row joined and ended by a line feed, as one buffer."""
    if not rows:
        return pa.py_buffer(b"")
    line = pc.binary_join_element_wise(*columns, text(delimiter), null_handling="replace", null_replacement="")
    # the values of a string array lie one behind the other: with its line ends that is the text itself
    return _glue(line, "\n").buffers()[2]


def _glue(*parts: pa.Array | str) -> pa.Array:
    """Parts of each row as one text, null if a part is null."""
    typed = [text(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*typed, text(""))
