"""Writers of tables to an open stream, one for each kind of format: text, Parquet, Arrow."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from gmmcli.data.text_lines import csv_header, csv_lines, json_lines

ROW_GROUP_ROWS = 1 << 17


class Writer(Protocol):
    """What writes tables of one schema to a stream."""

    def write(self, table: pa.Table) -> None:
        """Write the rows, now or at the latest in close."""
        ...

    def close(self) -> None:
        """Write what is still to be written, then close the stream."""
        ...


class _TextWriter:
    def __init__(self, stream: Any, schema: pa.Schema, name: str, delimiter: str, decimal: str) -> None:
        self._stream = stream
        self._name = name
        self._delimiter = delimiter
        self._decimal = decimal
        if name != "json" and len(schema):
            stream.write(csv_header(schema.names, delimiter))

    def write(self, table: pa.Table) -> None:
        lines = json_lines(table) if self._name == "json" else csv_lines(table, self._delimiter, self._decimal)
        self._stream.write(lines)
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class _ParquetWriter:
    """Gathers tables into row groups of a useful size."""

    def __init__(self, stream: Any, schema: pa.Schema) -> None:
        self._stream = stream
        self._writer = pq.ParquetWriter(stream, schema)
        self._held: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._held.append(table)
        self._rows += table.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()
        self._stream.close()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=self._rows)
        self._held, self._rows = [], 0


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

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table.cast(self._schema))

    def close(self) -> None:
        self._writer.close()
        self._stream.close()


def make_writer(name: str, stream: Any, schema: pa.Schema, delimiter: str, decimal: str) -> Writer:
    """The writer of a format of FORMATS; delimiter and decimal point matter to delimited text."""
    if name == "parquet":
        return _ParquetWriter(stream, schema)
    if name in ("arrow", "arrows"):
        return _ArrowWriter(stream, schema, name)
    return _TextWriter(stream, schema, name, delimiter, decimal)
