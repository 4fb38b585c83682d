"""File formats: names, suffixes, first bytes, and the options of reading.

- `FileFormat`: a format with its compression, from an option (`parse_format`) or a suffix (`format_of_path`).
- `sniff`, `sniff_binary`, `sniff_compression`: format and compression by the first bytes of the content.
- `ReadOptions`: what the user may say about an input.

Nothing here imports pyarrow or torch, so that a command line can offer the names without their cost.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass

from gmmcli.errors import Option, Remedy, UsageError
from gmmcli.storage.addresses import name_of

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrows",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))  # arrow is the IPC file, arrows the IPC stream
DELIMITED = ("csv", "tsv")
TEXT = ("csv", "tsv", "json")

DEFAULT_NULL_VALUES = ("", "NA", "NaN", "nan", "null", "NULL", "None", "N/A", "n/a", "#N/A")

# No text begins like these.
_COMPRESSED_BYTES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BINARY_BYTES = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrows"}


@dataclass(frozen=True)
class FileFormat:
    """A format of FORMATS with its compression: "gzip", "zstd" or None."""

    name: str
    compression: str | None = None


def parse_format(text: str) -> FileFormat:
    """Format that a user names: a name or suffix, perhaps with compression, such as `csv` or `.csv.zst`.

    Raises UsageError that lists the formats if it is none of them.
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
    return _by_first_bytes(head, _COMPRESSED_BYTES)


def sniff_binary(head: bytes) -> str | None:
    """Binary format by the first (decompressed) bytes, None for text."""
    return _by_first_bytes(head, _BINARY_BYTES)


def sniff(head: bytes) -> str:
    """Format by the first (decompressed) bytes: a magic number, `{` for JSON lines, else CSV."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return sniff_binary(head) or ("json" if text.startswith(b"{") else "csv")


def _by_first_bytes(head: bytes, names: dict[bytes, str]) -> str | None:
    return next((name for start, name in names.items() if head.startswith(start)), None)


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading an input; all except `format` matter to delimited text only.

    format: a name as parse_format takes it, which wins over suffix and content; None uses those.
    delimiter: one character ("tab" and "\\t" are a tabulator); None is a comma, with a decimal comma a
    semicolon, in TSV a tabulator.
    quote: the quoting character; empty if quotes have no meaning.
    decimal: the decimal point, "." or ",".
    header: False if the first line is data; the columns are then called x1 to xD.
    null_values: cells, as written, that are missing. NaN is one of them by default.
    encoding: the name of a text encoding that Python knows.

    Raises UsageError naming the option if a value makes no sense.
    """

    format: str | None = None
    delimiter: str | None = None
    quote: str = '"'
    decimal: str = "."
    header: bool = True
    null_values: tuple[str, ...] = DEFAULT_NULL_VALUES
    encoding: str = "utf8"

    def __post_init__(self) -> None:
        if self.format is not None:
            parse_format(self.format)
        if self.delimiter is not None and self.delimiter.lower() in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in "\r\n"):
            raise _refusal("delimiter", self.delimiter, "give one character, or tab")
        if len(self.quote) > 1 or self.quote in ("\r", "\n"):
            raise _refusal("quote", self.quote, "give one character, or none")
        if self.decimal not in (".", ","):
            raise _refusal("decimal", self.decimal, "give . or ,")
        for name in ("delimiter", "quote"):
            character = getattr(self, name)
            if character and ord(character) > 127:
                raise _refusal(name, character, "give an ASCII character")
        if self.decimal == self.delimiter:
            remedy = Remedy("give another delimiter, as", "delimiter", "';'")
            raise UsageError("decimal and delimiter are both a comma", remedy=remedy)
        if not _is_text_encoding(self.encoding):
            raise UsageError(
                f"unknown encoding {self.encoding!r}", remedy="use one such as utf8, latin-1, cp1252 or utf-16"
            )

    def delimiter_of(self, format_name: str) -> str:
        """Delimiter of a file of this delimited format.

        With a decimal comma and no delimiter given it is a semicolon, as spreadsheets of such locales write.
        """
        if self.delimiter is not None:
            return self.delimiter
        if format_name == "tsv":
            return "\t"
        return ";" if self.decimal == "," else ","


def _refusal(option: str, value: str, remedy: str) -> UsageError:
    return UsageError(f"{value!r} makes no sense", subject=Option(option), remedy=remedy)


def _is_text_encoding(name: str) -> bool:
    """Whether Python decodes bytes to text by this name; rot13, hex and others are codecs of other things."""
    try:
        b"a".decode(name)
    except UnicodeDecodeError:  # half a character, in UTF-16
        return True
    except (LookupError, ValueError):  # a name with a null character is a ValueError
        return False
    return True
