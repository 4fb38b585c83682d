"""Delimited text as its cells are written: `CsvText` reads a file of any size in memory of a constant size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from gmmcli.data.csv_header import Head, bad_encoding
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.errors import InputError
from gmmcli.storage.names import printable

_PARSE_BYTES = 1 << 19  # of text at a time, and
_COLUMN_BYTES = 1 << 13  # for each column, lest the work on a column's few cells be little beside that around it
_LONGEST_PARSE_BYTES = (1 << 31) - 1
_END_BYTES = 1 << 20


class CsvText:
    """One CSV or TSV file as batches of strings, in order.

    longest: bytes that a record may have. Every error is an InputError that names the file, and its row if known.
    """

    def __init__(self, source: Input, options: ReadOptions, head: Head, longest: int) -> None:
        self._source = source
        self._options = options
        self._head = head
        self._delimiter = options.delimiter_of(source.format)
        self._longest = min(max(longest, _PARSE_BYTES), _LONGEST_PARSE_BYTES)

    def written(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Cells as written. One with nothing in it is null, one of two quotes the empty string."""
        return self._batches(columns, [""], False)

    def cells(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Cells as written, but null where they are among the null values, in quotes or not."""
        return self._batches(columns, list(self._options.null_values), True)

    def _batches(self, columns: Sequence[str], nulls: list[str], quoted: bool) -> Iterator[pa.RecordBatch]:
        """Batches of the columns in the order of the file, none without rows."""
        names = self._head.names
        places = [d for d, name in enumerate(names) if name in set(columns)]
        if not places or not self._head.has_rows:
            return
        convert = pacsv.ConvertOptions(
            include_columns=[str(d) for d in places],
            column_types={str(d): pa.string() for d in places},
            strings_can_be_null=True,
            quoted_strings_can_be_null=quoted,
            null_values=nulls,
        )
        schema = pa.schema([(names[d], pa.string()) for d in places])
        size, rows = min(max(_PARSE_BYTES, _COLUMN_BYTES * len(names)), self._longest), 0
        last = None
        while True:
            passed = 0  # rows of this reading; those of an earlier one are not given again
            try:
                for batch in self._parsed(convert, size):
                    passed += batch.num_rows
                    new = batch.slice(max(0, batch.num_rows - (passed - rows)))
                    if new.num_rows:
                        rows = passed
                        last = pa.RecordBatch.from_arrays(new.columns, schema=schema)
                        yield last
                break
            except pa.ArrowInvalid as error:
                if "straddling" not in str(error):
                    raise self._explained(error) from None
                if size == self._longest:
                    raise self._too_long(rows, size) from None
                size = min(size * 16, self._longest)  # a record longer than a block
            except UnicodeError:
                raise self._bad_encoding("") from None
        if last is not None and places[-1] == len(names) - 1:
            self._refuse_open_quote(last.column(last.num_columns - 1), rows)

    def _parsed(self, convert: pacsv.ConvertOptions, size: int) -> Iterator[pa.RecordBatch]:
        read = pacsv.ReadOptions(
            # numbers for names: the true ones may be anything
            column_names=[str(d) for d in range(len(self._head.names))],
            skip_rows=self._head.blank_lines,
            skip_rows_after_names=int(self._options.header),
            encoding=self._options.encoding,
            block_size=size,
            use_threads=False,  # they would read no faster, and not know the row of an error
        )
        parse = pacsv.ParseOptions(
            delimiter=self._delimiter,
            quote_char=self._options.quote or False,
            double_quote=bool(self._options.quote),
            newlines_in_values=bool(self._options.quote),
            ignore_empty_lines=len(self._head.names) > 1,
        )
        with self._source.open() as stream:
            try:
                yield from pacsv.open_csv(stream, read, parse, convert)
            except OSError as error:
                with reading(self._source.label, self._source.format):
                    raise error

    def _explained(self, error: pa.ArrowInvalid) -> InputError:
        """The error for the user."""
        text = " ".join(str(error).splitlines()[:1])
        if "UTF8" in text:
            place = re.search(r"In CSV column #(\d+)", text)
            return self._bad_encoding(f" in column {printable(self._head.names[int(place[1])])}" if place else "")
        ragged = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text)
        label = self._source.label
        if ragged is None:
            return InputError(f"{label}: cannot be read as {self._source.format}: {printable(text)}")
        row = ""
        if ragged[1]:
            row = f" in row {int(ragged[1]) - self._head.blank_lines - int(self._options.header)}"
        first = "the header" if self._options.header else "the first row"
        cells = "1 cell" if ragged[3] == "1" else f"{ragged[3]} cells"
        return InputError(f"{label}: {cells}{row} where {first} has {ragged[2]}: check --delimiter")

    def _too_long(self, rows: int, size: int) -> InputError:
        return InputError(
            f"{self._source.label}: row {rows + 1} has more than {size >> 20} MiB: "
            "if a quote is opened in it and never closed see --quote, else raise --memory"
        )

    def _bad_encoding(self, where: str) -> InputError:
        with self._source.open(whole=False) as stream:
            return bad_encoding(self._source.label, stream.read(2), self._options.encoding, where)

    def _refuse_open_quote(self, column: pa.Array, rows: int) -> None:
        """Refuse a file whose last cell opens a quote that never closes: it has swallowed rows."""
        last = column[-1].as_py() or ""
        if "\n" not in last and "\r" not in last:
            return
        end = b""
        with self._source.open() as stream:
            while chunk := stream.read(_END_BYTES):
                end = (end + chunk)[-_END_BYTES:]
        text = end.decode(self._options.encoding, errors="replace").rstrip("\r\n")
        if not text.endswith(self._options.quote):
            raise InputError(f"{self._source.label}: a quote is opened in row {rows} and never closed: see --quote")
