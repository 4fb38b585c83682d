"""The head of a delimited file: the names of its columns, which pyarrow's readers want to be told."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

from gmmcli.data.formats import ReadOptions
from gmmcli.data.inputs import Input, reading
from gmmcli.errors import InputError
from gmmcli.storage.names import listing

_FIRST_BYTES = 1 << 16


@dataclass(frozen=True)
class Head:
    """names: of the columns. blank_lines: before the first record. has_rows: whether a row follows it.

    row_characters: of the first row, to tell what many of them take; 0 without one.
    """

    names: tuple[str, ...]
    blank_lines: int
    has_rows: bool
    row_characters: int


def read_head(source: Input, options: ReadOptions, delimiter: str) -> Head:
    """Read as much of the file as its first two records need.

    Raises InputError for text that does not decode and for names given twice.
    """
    size = _FIRST_BYTES
    while True:
        with reading(source.label, source.format), source.open(whole=False) as stream:
            data = stream.read(size)
        complete = len(data) < size
        text = _decode(source, data, options.encoding, complete)
        head = _parse(source.label, text, options, delimiter, complete)
        if head is not None:
            if any("\udc80" <= character <= "\udcff" for name in head.names for character in name):
                raise bad_encoding(source.label, data, options.encoding)
            refuse_duplicates(source.label, head.names)
            return head
        if complete:
            raise InputError(f"{source.label}: no rows, nor a header: give a table that has both")
        size *= 16


def bad_encoding(label: str, head: bytes, encoding: str, where: str = "") -> InputError:
    """The error for text that does not decode, with the encoding to try."""
    remedy = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
    name = "UTF-8" if encoding.lower().replace("-", "").replace("_", "") == "utf8" else encoding
    return InputError(f"{label}: not {name} text{where}: try --encoding {remedy}")


def _decode(source: Input, data: bytes, encoding: str, complete: bool) -> str:
    # what does not decode below the header is told by the reader, which knows the column
    decoder: Callable[[bytes, bool], str] = codecs.getincrementaldecoder(encoding)("surrogateescape").decode
    try:
        return decoder(data, complete).removeprefix("\ufeff")
    except UnicodeError:
        raise bad_encoding(source.label, data, encoding) from None


def _parse(label: str, text: str, options: ReadOptions, delimiter: str, complete: bool) -> Head | None:
    """The head, or None while the text ends before a second record shows that the first is whole."""
    quoting = csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE
    # newline="" keeps line ends inside quoted names as they are
    records = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quotechar=options.quote or None, quoting=quoting
    )
    first: list[str] = []
    row: list[str] = []
    blank_lines = 0
    follows = False
    try:
        for record in records:
            if not first:
                first = record
                blank_lines += not record
            elif record or len(first) == 1:
                row, follows = record, True
                break
    except csv.Error:  # a cell longer than the csv module takes; pyarrow will read it
        if not first:
            limit = csv.field_size_limit()
            raise InputError(f"{label}: the header has a name of more than {limit} characters") from None
        row, follows = [text], True
    if not first or not (follows or complete):
        return None
    if options.header:
        return Head(tuple(first), blank_lines, follows, sum(map(len, row)) + len(row))
    names = tuple(f"x{d}" for d in range(1, len(first) + 1))
    return Head(names, blank_lines, True, sum(map(len, first)) + len(first))


def refuse_duplicates(label: str, names: tuple[str, ...] | list[str]) -> None:
    """Raise InputError naming the names that several columns have."""
    seen: set[str] = set()
    twice = list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))
    if not twice:
        return
    remedy = "rename them"
    if all(_is_number(name) for name in names):
        remedy += ", or use --no-header if the first line is data"
    raise InputError(f"{label}: several columns are called {listing(twice)}: {remedy}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
