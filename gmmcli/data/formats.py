"""File formats: names, suffixes, first bytes, and the options of reading.

- `FileFormat`: a format with its compression, from an option (`parse_format`) or a suffix (`format_of_path`).
- `sniff`, `sniff_compression`: format and compression by the first bytes of the content.
- `ReadOptions`: options of reading an input, each described by its help text.

Nothing here imports pyarrow or torch, so that a command line can offer the names without their cost.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass
from functools import cached_property

from gmmcli.declared import Panel
from gmmcli.errors import Option, Remedy, UsageError
from gmmcli.storage.names import name_of

_SUFFIXES = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "json": (".json", ".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "arrows": (".arrows",),
}
SUFFIXES = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = tuple(_SUFFIXES)  # arrow is the IPC file, arrows the IPC stream
DELIMITED = ("csv", "tsv")
TEXT = ("csv", "tsv", "json")

TABS = ("tab", "\\t")  # names of a tabulator
FORMAT = Panel("Input format")

# No text begins with these bytes.
_COMPRESSED_BYTES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BINARY_BYTES = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrows"}


@dataclass(frozen=True)
class FileFormat:
    """A format of FORMATS with its compression: "gzip", "zstd" or None."""

    name: str
    compression: str | None = None


def parse_format(text: str) -> FileFormat:
    """Format by its name or suffix, perhaps with compression, such as `csv` or `.csv.zst`.

    Raises UsageError that lists the formats if the name is unknown.
    """
    stem, suffix = os.path.splitext("." + text.strip().lower().removeprefix("."))
    compression = COMPRESSIONS.get(suffix) if stem else None
    name = SUFFIXES.get(stem + suffix if compression is None else stem)
    if name is None:
        known = f"use one of {', '.join(FORMATS)}, with .gz or .zst if compressed"
        raise UsageError(f"unknown format '{text}'", remedy=known)
    return FileFormat(name, compression)


def format_of_path(path: str) -> FileFormat | None:
    """Format by the suffix of a file, None if that is unknown or absent."""
    stem, suffix = os.path.splitext(name_of(path).lower())
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]
    name = SUFFIXES.get(suffix)
    return None if name is None else FileFormat(name, compression)


def sniff_compression(head: bytes) -> str | None:
    """Compression by the first bytes of a file."""
    return next((name for start, name in _COMPRESSED_BYTES.items() if head.startswith(start)), None)


def sniff(head: bytes) -> str:
    """Format by the first (decompressed) bytes: a magic number, `{` for JSON lines, else CSV."""
    is_json = head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    text = "json" if is_json else "csv"
    return next((name for start, name in _BINARY_BYTES.items() if head.startswith(start)), text)


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading an input; all except `input_format` matter to delimited text only.

    input_format: a name as parse_format takes it, which wins over suffix and content. delimiter: one character; "tab"
    and "\\t" are a tabulator. Its default is a semicolon where the decimal point is a comma.

    Raises UsageError naming the option if a value makes no sense.
    """

    input_format: str | None = FORMAT.field(
        None, "FORMAT", f"{', '.join(FORMATS)}. Default: by suffix, else by content.", suggestions=FORMATS
    )
    delimiter: str | None = FORMAT.field(None, "CHAR", "Of delimited text, or tab. Default: a comma; in TSV a tab.")
    quote: str = FORMAT.field('"', "CHAR", "Quoting character; empty for none.")
    decimal: str = FORMAT.field(".", "CHAR", "Decimal point, . or a comma.")
    no_header: bool = FORMAT.field(False, "", "The first line is data; the columns are called x1, x2, …")
    null_values: str = FORMAT.field(
        "NA,NaN,nan,null,NULL,None,N/A,n/a,#N/A",
        "LIST",
        "Cells that count as missing, comma-separated; empty cells always do.",
    )
    encoding: str = FORMAT.field("utf8", "NAME", "Text encoding, such as latin-1.")

    def __post_init__(self) -> None:
        if self.input_format is not None:
            parse_format(self.input_format)
        single = self.delimiter is None or self.delimiter.lower() in TABS or _is_character(self.delimiter)
        sound = {
            "delimiter": (single, "one ASCII character, or tab"),
            "quote": (not self.quote or _is_character(self.quote), "one ASCII character, or none"),
            "decimal": (self.decimal in (".", ","), ". or ,"),
            "encoding": (_is_text_encoding(self.encoding), "one such as utf8, latin-1, cp1252 or utf-16"),
        }
        for name, (is_sound, examples) in sound.items():
            if not is_sound:
                problem = f"{getattr(self, name)!r} makes no sense"
                raise UsageError(problem, subject=Option(name), remedy=f"give {examples}")
        if self.decimal == self.delimiter:
            remedy = Remedy("give another delimiter, as", "delimiter", "';'")
            raise UsageError("decimal and delimiter are both a comma", remedy=remedy)

    @cached_property
    def missing_texts(self) -> tuple[str, ...]:
        """Texts of cells that count as missing, the empty text included."""
        return ("", *(text for text in self.null_values.split(",") if text))

    def delimiter_of(self, format_name: str) -> str:
        """Delimiter of a file of this delimited format.

        The default for a decimal comma is a semicolon, which spreadsheets write in locales with such a comma.
        """
        if self.delimiter is not None:
            return "\t" if self.delimiter.lower() in TABS else self.delimiter
        if format_name == "tsv":
            return "\t"
        return ";" if self.decimal == "," else ","


def _is_character(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text not in "\r\n"


def _is_text_encoding(name: str) -> bool:
    """Whether Python decodes bytes to text by this name; rot13, hex and others are codecs for other data."""
    try:
        "".encode(name)
    except (LookupError, ValueError):  # a name with a null character is a ValueError
        return False
    return True
