"""Delimited text in: `CsvReader` reads CSV and TSV, as numbers for a model and as strings to pass through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from gmmcli.data.cells import kind_of
from gmmcli.data.columns import ColumnKind, printable
from gmmcli.data.compute import pc
from gmmcli.data.csv_header import bad_encoding, read_head
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.reader import Pair, Reader
from gmmcli.data.settle import not_numbers
from gmmcli.errors import InputError

_PARSE_BYTES = 1 << 20
_LONGEST_PARSE_BYTES = (1 << 31) - 1
_SAMPLE_ROWS = 1000


class CsvReader(Reader):
    """One CSV or TSV file.

    Numbers are pyarrow's own inference over the whole file (its streaming reader settles on the first block
    and fails on a late `1.5`), parsed once and kept. What passes through is parsed again, every cell as a
    string.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int) -> None:
        self._source = source
        self._options = options
        self._block_rows = block_rows
        self._delimiter = options.delimiter_of(source.format)
        self._head = read_head(source, options, self._delimiter)
        self._typed: dict[str, pa.ChunkedArray | None] = {}  # None for a column that holds no numbers
        self._kinds: dict[str, ColumnKind] = {}
        self._details: dict[str, str] = {}
        self.label = source.label
        self.names = self._head.names
        self.has_rows = self._head.has_rows
        self.schema = pa.schema([(name, pa.string()) for name in self.names])

    def kinds(self, columns: Sequence[str]) -> dict[str, ColumnKind]:
        """What pyarrow infers from all cells of the columns."""
        self._load(columns)
        return {name: self._kinds[name] for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """How many cells of a column of numbers are text, and the first of them."""
        self._load(columns)
        return {name: self._details[name] for name in columns if name in self._details}

    def numbers(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Slices of the parsed columns."""
        self._load(columns)
        kept = [self._typed[name] for name in columns]
        table = pa.Table.from_arrays([column for column in kept if column is not None], names=list(columns))
        for first in range(0, table.num_rows, self._block_rows):
            yield table.slice(first, self._block_rows)

    def pairs(self, columns: Sequence[str]) -> Iterator[Pair]:
        """Slices of the strings, and the same rows of the parsed columns."""
        self._load(columns)
        numbers = self.numbers(columns)
        strings = self.strings()
        for first in range(0, strings.num_rows, self._block_rows):
            piece = strings.slice(first, self._block_rows)
            yield piece, next(numbers) if columns else piece.select([])

    def strings(self) -> pa.Table:
        """All cells as written. A cell with nothing in it is null, one of two quotes the empty string."""
        convert = pacsv.ConvertOptions(
            column_types={str(d): pa.string() for d in range(len(self.names))},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        )
        return self._read(convert).rename_columns(list(self.names))

    def _load(self, columns: Sequence[str]) -> None:
        """Parse those of the columns that are not parsed yet, and note what each is."""
        wanted = [d for d, name in enumerate(self.names) if name in set(columns) and name not in self._kinds]
        if not wanted:
            return
        convert = pacsv.ConvertOptions(
            include_columns=[str(d) for d in wanted],
            null_values=list(self._options.null_values),
            decimal_point=self._options.decimal,
        )
        table = self._read(convert)
        if wanted[-1] == len(self.names) - 1:
            self._refuse_open_quote(table.column(table.num_columns - 1))
        self.has_rows = table.num_rows > 0
        for d, column in zip(wanted, table.columns, strict=True):
            name = self.names[d]
            kind = kind_of(column.type)
            if kind is ColumnKind.BINARY:  # what pyarrow makes of text that is not UTF-8
                raise self._bad_encoding(f" in column {printable(name)}")
            if kind is ColumnKind.TEXT and (detail := self._stray_text(column)):
                self._details[name] = detail
            self._kinds[name] = kind
            self._typed[name] = column if kind in (ColumnKind.NUMBER, ColumnKind.EMPTY) else None

    def _read(self, convert: pacsv.ConvertOptions) -> pa.Table:
        size = _PARSE_BYTES
        while True:
            try:
                return self._parse(convert, size)
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and size < _LONGEST_PARSE_BYTES:  # a record longer than a block
                    size = min(size * 16, _LONGEST_PARSE_BYTES)
                    continue
                raise self._explain(error, convert, size) from None
            except UnicodeError:
                raise self._bad_encoding("") from None

    def _parse(self, convert: pacsv.ConvertOptions, size: int, threads: bool = True) -> pa.Table:
        read = pacsv.ReadOptions(
            # numbers for names: the true ones may be anything
            column_names=[str(d) for d in range(len(self.names))],
            skip_rows=self._head.blank_lines,
            skip_rows_after_names=int(self._options.header),
            encoding=self._options.encoding,
            block_size=size,
            use_threads=threads,
        )
        parse = pacsv.ParseOptions(
            delimiter=self._delimiter,
            quote_char=self._options.quote or False,
            double_quote=bool(self._options.quote),
            newlines_in_values=bool(self._options.quote),
            ignore_empty_lines=len(self.names) > 1,
        )
        with self._source.open() as stream:
            try:
                return pacsv.read_csv(stream, read, parse, convert)
            except OSError as error:
                with reading(self.label, self._source.format):
                    raise error

    def _explain(self, error: pa.ArrowInvalid, convert: pacsv.ConvertOptions, size: int) -> InputError:
        """The error for the user; the file is parsed once more by one thread, which knows the row."""
        if "UTF8" in str(error):
            return self._bad_encoding("")
        try:
            self._parse(convert, size, threads=False)
        except pa.ArrowInvalid as exact:
            error = exact
        text = " ".join(str(error).splitlines()[:1])
        ragged = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text)
        if ragged is None:
            return InputError(f"{self.label}: cannot be read as {self._source.format}: {printable(text)}")
        row = ""
        if ragged[1]:
            row = f" in row {int(ragged[1]) - self._head.blank_lines - int(self._options.header)}"
        first = "the header" if self._options.header else "the first row"
        cells = "1 cell" if ragged[3] == "1" else f"{ragged[3]} cells"
        return InputError(f"{self.label}: {cells}{row} where {first} has {ragged[2]}: check --delimiter")

    def _bad_encoding(self, where: str) -> InputError:
        with self._source.open() as stream:
            return bad_encoding(self.label, stream.read(2), self._options.encoding, where)

    def _refuse_open_quote(self, column: pa.ChunkedArray) -> None:
        """Refuse a file whose last cell opens a quote that never closes: it has swallowed rows."""
        if not pa.types.is_string(column.type) or not len(column):
            return
        last = column[-1].as_py() or ""
        if "\n" not in last and "\r" not in last:
            return
        end = b""
        with self._source.open() as stream:
            while chunk := stream.read(_PARSE_BYTES):
                end = (end + chunk)[-_PARSE_BYTES:]
        text = end.decode(self._options.encoding, errors="replace").rstrip("\r\n")
        if not text.endswith(self._options.quote):
            raise InputError(f"{self.label}: a quote is opened in row {len(column)} and never closed: see --quote")

    def _stray_text(self, column: pa.ChunkedArray) -> str:
        """Why a column of text is none of numbers, when it is mostly numbers; else empty."""
        sample = column.slice(0, _SAMPLE_ROWS)
        options = self._options
        if 2 * pc.sum(not_numbers(sample, options)).as_py() >= len(sample):
            return ""
        strays = not_numbers(column, options)
        count = pc.sum(strays).as_py()
        if count == 0:
            return ""
        row = pc.index(strays, True).as_py()
        verb = "cell is not a number" if count == 1 else "cells are not numbers"
        return f"{count} {verb}, the first '{printable(column[row].as_py())}' in row {row + 1}"
