"""Delimited text as strings: `read_head` for the names of columns, `CsvText` for all cells, batch by batch."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv

from gmmcli.data.columns import check_unique
from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.errors import InputError, Remedy
from gmmcli.storage.names import printable

_FIRST_BYTES = 1 << 16
_PARSE_BYTES = 1 << 19  # bytes of text at a time, at least
_COLUMN_BYTES = 1 << 13  # bytes of text for each column, so that the work on cells outweighs the overhead of a column
_LONGEST_PARSE_BYTES = (1 << 31) - 1
_END_BYTES = 1 << 20


@dataclass(frozen=True)
class Head:
    """Beginning of a delimited file.

    names: names of the columns. blank_lines: number of blank lines before the first record. has_rows: whether the
    file has a row. row_characters: length of the first row, an estimate for the others; 0 without a row.
    """

    names: tuple[str, ...]
    blank_lines: int
    has_rows: bool
    row_characters: int


def read_head(source: Input, options: ReadOptions) -> Head:
    """Head of a file, read no further than its first two records need.

    Raises InputError for text that does not decode and for names given twice.
    """
    size = _FIRST_BYTES
    while True:
        with reading(source.label, source.format), source.open(whole=False) as stream:
            data = stream.read(size)
        complete = len(data) < size
        decoder = codecs.getincrementaldecoder(options.encoding)("surrogateescape")
        try:  # only the header must decode here: for other cells the error of CsvText names the column
            text = decoder.decode(data, complete).removeprefix("\ufeff")
            head = _parse_head(source, text, options, complete)
            for name in head.names if head is not None else ():
                name.encode()  # fails for a byte that surrogateescape has let pass
        except UnicodeError:
            raise _bad_encoding(source, options.encoding) from None
        if head is not None:
            check_unique(source.label, head.names)
            return head
        if complete:
            raise InputError("no rows, nor a header", subject=source.label, remedy="give a table that has both")
        size *= 16


def _parse_head(source: Input, text: str, options: ReadOptions, complete: bool) -> Head | None:
    """Head, or None if more text is needed: only a second record shows that the first is whole."""
    quoting = csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE
    lines = io.StringIO(text, newline="")  # keeps line ends inside quoted names
    delimiter = options.delimiter_of(source.format)
    records = csv.reader(lines, delimiter=delimiter, quotechar=options.quote or None, quoting=quoting)
    found: list[list[str]] = []
    blank_lines = 0
    try:
        for record in records:
            if record or (found and len(found[0]) == 1):  # in a file of one column a blank line is a row
                found.append(record)
            blank_lines += not found
            if len(found) == 2:
                break
    except csv.Error:  # the csv module refuses a long cell, which pyarrow reads
        if not found:
            problem = f"the header has a name of more than {csv.field_size_limit()} characters"
            raise InputError(problem, subject=source.label) from None
        found.append([text])
    if not found or not (len(found) == 2 or complete):
        return None
    names, rows = found[0], found[1:]
    if options.no_header:
        names, rows = [f"x{d}" for d in range(1, len(names) + 1)], [names]
    characters = sum(map(len, rows[0])) + len(rows[0]) if rows else 0
    return Head(tuple(names), blank_lines, bool(rows), characters)


def _bad_encoding(source: Input, encoding: str, where: str = "") -> InputError:
    """Error for text that does not decode. It names an encoding to try."""
    with source.open(whole=False) as stream:
        head = stream.read(2)
    other = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
    name = "UTF-8" if encoding.lower().replace("-", "").replace("_", "") == "utf8" else encoding
    return InputError(f"not {name} text{where}", subject=source.label, remedy=Remedy("try", "encoding", other))


class CsvText:
    """One CSV or TSV file as batches of strings, in order.

    longest: most bytes of a record. Every error is an InputError that names the file, and the row if known.
    """

    def __init__(self, source: Input, options: ReadOptions, head: Head, longest: int) -> None:
        self._source = source
        self._options = options
        self._head = head
        self._longest = min(max(longest, _PARSE_BYTES), _LONGEST_PARSE_BYTES)

    def batches(self, columns: Sequence[str], as_written: bool) -> Iterator[pa.RecordBatch]:
        """Cells of the columns as written, in the order of the file; no batch is empty.

        as_written: True makes only an empty unquoted cell null, and `""` the empty string. False makes all null
        values null, quoted or not.
        """
        names = self._head.names
        chosen = [d for d, name in enumerate(names) if name in set(columns)]
        if not chosen or not self._head.has_rows:
            return
        convert = pacsv.ConvertOptions(
            include_columns=[str(d) for d in chosen],
            column_types={str(d): pa.string() for d in chosen},
            strings_can_be_null=True,
            quoted_strings_can_be_null=not as_written,
            null_values=[""] if as_written else list(self._options.missing_texts),
        )
        schema = pa.schema([(names[d], pa.string()) for d in chosen])
        size, rows = min(max(_PARSE_BYTES, _COLUMN_BYTES * len(names)), self._longest), 0
        last = None
        while True:
            passed = 0  # rows of this reading; rows of an earlier one are not returned again
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
                text = str(error)
                if "straddling" not in text:
                    raise self._explained(text) from None
                if size == self._longest:
                    problem = f"row {rows + 1} has more than {size >> 20} MiB"
                    see_quote = Remedy("see", "quote", purpose="if a quote in it never closes")
                    remedies = see_quote, Remedy("raise", "memory")
                    raise InputError(problem, subject=self._source.label, remedy=remedies) from None
                size = min(size * 16, self._longest)  # a record longer than a block
            except UnicodeError:
                raise _bad_encoding(self._source, self._options.encoding) from None
        if last is not None and chosen[-1] == len(names) - 1:
            self._refuse_open_quote(last.column(last.num_columns - 1), rows)

    def _parsed(self, convert: pacsv.ConvertOptions, size: int) -> Iterator[pa.RecordBatch]:
        read = pacsv.ReadOptions(
            # indices as names, since the true names may be anything
            column_names=[str(d) for d in range(len(self._head.names))],
            skip_rows=self._head.blank_lines,
            skip_rows_after_names=int(not self._options.no_header),
            encoding=self._options.encoding,
            block_size=size,
            use_threads=False,  # threads read no faster, and errors would lack the row
        )
        parse = pacsv.ParseOptions(
            delimiter=self._options.delimiter_of(self._source.format),
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

    def _explained(self, text: str) -> InputError:
        """Error for the user, made from pyarrow's error."""
        text = " ".join(text.splitlines()[:1])
        if "UTF8" in text:
            column = re.search(r"In CSV column #(\d+)", text)
            where = f" in column {printable(self._head.names[int(column[1])])}" if column else ""
            return _bad_encoding(self._source, self._options.encoding, where)
        ragged = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text)
        label = self._source.label
        if ragged is None:
            return InputError(f"cannot be read as {self._source.format}: {printable(text)}", subject=label)
        row = ""
        if ragged[1]:
            row = f" in row {int(ragged[1]) - self._head.blank_lines - int(not self._options.no_header)}"
        first = "the first row" if self._options.no_header else "the header"
        cells = "1 cell" if ragged[3] == "1" else f"{ragged[3]} cells"
        problem = f"{cells}{row} where {first} has {ragged[2]}"
        return InputError(problem, subject=label, remedy=Remedy("check", "delimiter"))

    def _refuse_open_quote(self, column: pa.Array, rows: int) -> None:
        """Refuse a file whose last cell opens a quote that never closes, since that cell has swallowed rows."""
        last = column[-1].as_py() or ""
        if "\n" not in last and "\r" not in last:
            return
        end = b""
        with self._source.open() as stream:
            while chunk := stream.read(_END_BYTES):
                end = (end + chunk)[-_END_BYTES:]
        text = end.decode(self._options.encoding, errors="replace").rstrip("\r\n")
        if not text.endswith(self._options.quote):
            problem = f"a quote is opened in row {rows} and never closed"
            raise InputError(problem, subject=self._source.label, remedy=Remedy("see", "quote"))
