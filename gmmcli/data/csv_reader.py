"""Delimited text in: `CsvReader` reads CSV and TSV, as numbers for a model and as strings to pass through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.csv as pacsv

from gmmcli.data.columns import ColumnKind
from gmmcli.data.csv_header import bad_encoding, read_head
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.data.numbers import (
    TextFacts,
    convert,
    kind_of,
    looks_whole,
    needs_text,
    number_facts,
    numbers_of,
    parsed_facts,
    stray_cells,
    text_facts,
)
from gmmcli.data.reader import Pair, Reader
from gmmcli.data.settled_types import SettledTypes
from gmmcli.errors import InputError
from gmmcli.names import printable

_PARSE_BYTES = 1 << 20
_LONGEST_PARSE_BYTES = (1 << 31) - 1
_SAMPLE_ROWS = 1000


class CsvReader(Reader):
    """One CSV or TSV file.

    Numbers are pyarrow's own inference over the whole file (its streaming reader settles on the first block
    and fails on a late `1.5`), parsed once and kept. What passes through as it was written is parsed again, every
    cell as a string, and so is a column of which the numbers do not tell whether it is an identifier.
    """

    def __init__(self, source: Input, options: ReadOptions, block_rows: int, settled: SettledTypes) -> None:
        self._source = source
        self._options = options
        self._block_rows = block_rows
        self._settled = settled
        self._delimiter = options.delimiter_of(source.format)
        self._head = read_head(source, options, self._delimiter)
        self._typed: dict[str, pa.ChunkedArray | None] = {}  # None for a column with other cells
        self._kinds: dict[str, ColumnKind] = {}
        self._facts: dict[str, TextFacts] = {}
        self._quotes: bool | None = None  # whether there may be any; None while nobody has looked
        self._details: dict[str, str] = {}
        self.label = source.label
        self.names = self._head.names
        self.has_rows = self._head.has_rows
        self.held = 0 if source.remote else None
        settled.add(self._all_facts)

    def kinds(self, columns: Sequence[str]) -> dict[str, ColumnKind]:
        """What pyarrow infers from all cells of the columns, but text for identifiers."""
        self._load(columns)
        return {name: self._kinds[name] for name in columns}

    def details(self, columns: Sequence[str]) -> dict[str, str]:
        """How many cells of a column of numbers are text, and the first of them; what makes it an identifier."""
        self._load(columns)
        return {name: self._details[name] for name in columns if name in self._details}

    def all_numbers(self, name: str) -> bool:
        """Whether pyarrow could parse it, and it is not in hexadecimal."""
        self._load([name])
        return self._typed[name] is not None

    def schema(self, typed: bool, used: Sequence[str]) -> pa.Schema:
        """Strings, or the types settled over all text files of the source."""
        if typed:
            return self._settled.schema(self.names, used)
        return pa.schema([(name, pa.string()) for name in self.names])

    def numbers(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Slices of the parsed columns."""
        self._load(columns)
        kept = [self._typed[name] for name in columns]
        table = pa.Table.from_arrays([column for column in kept if column is not None], names=list(columns))
        for first in range(0, table.num_rows, self._block_rows):
            yield table.slice(first, self._block_rows)

    def pairs(self, columns: Sequence[str], typed: bool) -> Iterator[Pair]:
        """Slices of the strings in their types, and the same rows of the parsed columns."""
        schema = self.schema(typed, columns)
        numbers = self.numbers(columns)
        ready = {field.name: self._typed[field.name] for field in schema if typed and self._is(field)}
        strings = self._strings([name for name in self.names if name not in ready])
        parts = [ready[name] if name in ready else strings.column(name) for name in self.names]
        table = pa.Table.from_arrays(parts, names=list(self.names))
        for first in range(0, table.num_rows, self._block_rows):
            piece = table.slice(first, self._block_rows)
            cells = [
                cells if field.name in ready else convert(cells, field.type, self._options)
                for cells, field in zip(piece.columns, schema, strict=True)
            ]
            yield pa.Table.from_arrays(cells, schema=schema), next(numbers) if columns else piece.select([])

    def _is(self, field: pa.Field) -> bool:
        """Whether the column, as parsed, has the type of the field."""
        typed = self._typed[field.name]
        return typed is not None and typed.type == field.type

    def _all_facts(self, columns: Sequence[str]) -> dict[str, TextFacts]:
        """What holds for the cells of the columns."""
        self._load(columns)
        strings = self._strings([name for name in columns if name not in self._facts])
        for name, cells in zip(strings.column_names, strings.columns, strict=True):
            self._facts[name] = text_facts(cells, self._options)
        return self._facts

    def _strings(self, columns: Sequence[str]) -> pa.Table:
        """The cells as written. A cell with nothing in it is null, one of two quotes the empty string."""
        if not columns:
            return pa.Table.from_arrays([], names=[])
        places = [d for d, name in enumerate(self.names) if name in set(columns)]
        options = pacsv.ConvertOptions(
            include_columns=[str(d) for d in places],
            column_types={str(d): pa.string() for d in places},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        )
        return self._read(options).rename_columns([self.names[d] for d in places])

    def _load(self, columns: Sequence[str], guess: bool = True) -> None:
        """Parse those of the columns that are not parsed yet, and note what each is.

        guess: read columns whose first cell is a whole number as text, which shows identifiers; any numbers are
        made of it here, so that the file need not be parsed a second time.
        """
        wanted = [d for d, name in enumerate(self.names) if name in set(columns) and name not in self._kinds]
        if not wanted:
            return
        first = dict(enumerate(self._head.first_row))
        guess = guess and self._options.decimal == "."  # as numbers_of reads them
        as_text = [d for d in wanted if guess and looks_whole(first.get(d, ""))]
        options = pacsv.ConvertOptions(
            include_columns=[str(d) for d in wanted],
            column_types={str(d): pa.string() for d in as_text},
            strings_can_be_null=True,
            null_values=list(self._options.null_values),
            decimal_point=self._options.decimal,
        )
        try:
            table = self._read(options)
        except InputError:
            if as_text:  # without a guess the error is exact
                self._load(columns, guess=False)
            raise
        if wanted[-1] == len(self.names) - 1:
            self._refuse_open_quote(table.column(table.num_columns - 1))
        self.has_rows = table.num_rows > 0
        unclear, misjudged = [], []
        for d, column in zip(wanted, table.columns, strict=True):
            name = self.names[d]
            if d not in as_text:
                self._note(name, column)
                if self._kinds[name] is ColumnKind.NUMBER and needs_text(column):
                    unclear.append(name)
            elif (numbers := numbers_of(column)) is not None:
                self._note(name, numbers)
                self._look_for_identifiers(name, column)
            else:
                misjudged.append(name)
        del table
        strings = self._strings(unclear)
        for name in unclear:
            self._look_for_identifiers(name, strings.column(name))
        self._load(misjudged, guess=False)

    def _note(self, name: str, column: pa.ChunkedArray) -> None:
        """Takes in a column as parsed."""
        kind = kind_of(column.type)
        if kind is ColumnKind.BINARY:  # what pyarrow makes of text that is not UTF-8
            raise self._bad_encoding(f" in column {printable(name)}")
        if kind is ColumnKind.TEXT and (detail := stray_cells(column, self._options, _SAMPLE_ROWS)):
            self._details[name] = detail
        usable = kind in (ColumnKind.NUMBER, ColumnKind.EMPTY)
        self._kinds[name] = kind
        self._typed[name] = column if usable else None
        if usable:
            self._facts[name] = parsed_facts(column)

    def _look_for_identifiers(self, name: str, column: pa.ChunkedArray) -> None:
        """Settles what a parsed column of numbers is by its text."""
        typed = self._typed[name]
        assert typed is not None
        facts = self._facts[name] = number_facts(column, typed, self._options)
        if facts.kind not in (ColumnKind.NUMBER, ColumnKind.EMPTY):
            self._kinds[name] = ColumnKind.TEXT
            self._details[name] = facts.detail
        if not facts.numbers:  # hexadecimal, which pyarrow reads and nobody else
            self._typed[name] = None
            self._details[name] = stray_cells(column, self._options, _SAMPLE_ROWS) or "numbers in hexadecimal"

    def _read(self, cells: pacsv.ConvertOptions) -> pa.Table:
        size = _PARSE_BYTES
        while True:
            try:
                return self._parse(cells, size)
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and size < _LONGEST_PARSE_BYTES:  # a record longer than a block
                    size = min(size * 16, _LONGEST_PARSE_BYTES)
                    continue
                raise self._explain(error, cells, size) from None
            except UnicodeError:
                raise self._bad_encoding("") from None

    def _parse(self, cells: pacsv.ConvertOptions, size: int, threads: bool = True) -> pa.Table:
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
            newlines_in_values=self._may_quote(),  # without them rows are found in less time, and side by side
            ignore_empty_lines=len(self.names) > 1,
        )
        with self._source.open() as stream:
            try:
                return pacsv.read_csv(stream, read, parse, cells)
            except OSError as error:
                with reading(self.label, self._source.format):
                    raise error
            finally:
                pa.default_memory_pool().release_unused()  # while it parses pyarrow holds the text of all rows

    def _may_quote(self) -> bool:
        """Whether a cell may be quoted; told by a look at all bytes, where that is cheap and sure."""
        if self._quotes is None:
            quote = self._options.quote.encode("ascii")
            self._quotes = bool(quote)
            plain = self._options.quote.encode(self._options.encoding) == quote
            if quote and plain and self._source.compression is None and not self._source.remote:
                with self._source.open() as stream:
                    self._quotes = any(quote in chunk for chunk in iter(lambda: stream.read(_PARSE_BYTES), b""))
        return self._quotes

    def _explain(self, error: pa.ArrowInvalid, cells: pacsv.ConvertOptions, size: int) -> InputError:
        """The error for the user; the file is parsed once more by one thread, which knows the row."""
        if "UTF8" in str(error):
            return self._bad_encoding("")
        try:
            self._parse(cells, size, threads=False)
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
        with self._source.open(whole=False) as stream:
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
