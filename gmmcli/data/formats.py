"""The file formats: their names and suffixes, how to tell them apart, and the options of reading them.

- `FileFormat`: a format with its compression, read off an option by `parse_format`, off a suffix by
  `format_of_path`.
- `sniff` and `sniff_compression` tell a format and a compression by the first bytes of the content.
- `ReadOptions`: what the user may say about an input.

Nothing here imports pyarrow or torch, so that a command line can offer the names without their cost.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass

from gmmcli.errors import UsageError
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


@dataclass(frozen=True)
class FileFormat:
    """A format of FORMATS with its compression: "gzip", "zstd" or None."""

    name: str
    compression: str | None = None


def parse_format(text: str) -> FileFormat:
    """Read what a user gives as a format: a name or suffix, perhaps with compression, as `csv` or `.csv.zst`.

    Raises UsageError that lists the formats when it is none of them.
    """
    name = "." + text.strip().lower().removeprefix(".")
    stem, suffix = os.path.splitext(name)
    compression = COMPRESSIONS.get(suffix) if stem else None
    if compression is not None:
        name = stem
    if name not in SUFFIXES:
        raise UsageError(f"unknown format '{text}': use one of {', '.join(FORMATS)}, with .gz or .zst if compressed")
    return FileFormat(SUFFIXES[name], compression)


def format_of_path(path: str) -> FileFormat | None:
    """The format that a file's suffix tells, or None where the suffix is unknown or absent."""
    stem, suffix = os.path.splitext(name_of(path).lower())
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]
    name = SUFFIXES.get(suffix)
    return None if name is None else FileFormat(name, compression)


def sniff_compression(head: bytes) -> str | None:
    """The compression that the first bytes of a file tell. No text and no format here begins like these."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    return None


def sniff_binary(head: bytes) -> str | None:
    """The binary format that the first (decompressed) bytes tell, or None for what must be text."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"\xff\xff\xff\xff"):
        return "arrows"
    return None


def sniff(head: bytes) -> str:
    """The format that the first (decompressed) bytes tell: a magic number, `{` for JSON lines, else CSV."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return sniff_binary(head) or ("json" if text.startswith(b"{") else "csv")


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about an input; all but `format` matter to delimited text only.

    format: a name as parse_format takes it, which wins over suffix and content; None tells by those.
    delimiter: one character ("tab" and "\\t" are a tabulator); None is a comma, beside a decimal comma a
    semicolon, in TSV a tabulator.
    quote: the quoting character; empty where quotes have no meaning.
    decimal: the decimal point, "." or ",".
    header: False when the first line is data; the columns are then called x1 to xD.
    null_values: cells, as written, that are missing. NaN is among them by default: it counts as missing.
    encoding: the name of a text encoding that Python knows.

    Raises UsageError naming the option when a value makes no sense.
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
            raise UsageError(f"delimiter {self.delimiter!r}: give one character, or tab")
        if len(self.quote) > 1 or self.quote in ("\r", "\n"):
            raise UsageError(f"quote {self.quote!r}: give one character, or none")
        if self.decimal not in (".", ","):
            raise UsageError(f"decimal {self.decimal!r}: give . or ,")
        for name in ("delimiter", "quote"):
            character = getattr(self, name)
            if character and ord(character) > 127:
                raise UsageError(f"{name} {character!r}: give an ASCII character")
        if self.decimal == self.delimiter:
            raise UsageError("decimal and delimiter are both a comma: give another delimiter, as --delimiter ';'")
        if not _is_text_encoding(self.encoding):
            raise UsageError(f"unknown encoding {self.encoding!r}: utf8, latin-1, cp1252 and utf-16 are some")

    def delimiter_of(self, format_name: str) -> str:
        """The delimiter of a file of this delimited format.

        With a decimal comma and no delimiter given it is a semicolon, as spreadsheets of such locales write.
        """
        if self.delimiter is not None:
            return self.delimiter
        if format_name == "tsv":
            return "\t"
        return ";" if self.decimal == "," else ","


def _is_text_encoding(name: str) -> bool:
    """Whether Python decodes bytes to text by this name; rot13, hex and others are codecs of other things."""
    try:
        b"a".decode(name)
    except UnicodeDecodeError:  # half a character, in UTF-16
        return True
    except (LookupError, ValueError):  # a name with a null character is a ValueError
        return False
    return True
