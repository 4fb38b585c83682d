"""Names of files as text: addresses such as `s3://bucket/data.parquet`, their parts, and names in messages.

- `is_address`: whether a name is an address. `name_of`, `options_of`: its two parts.
- `suffix_of`, `beside`, `inside`, `folder_of`: names derived from a name; they take local paths too.
- `masked`: a text with the credentials of all addresses hidden.
- `one_line`, `printable`, `listing`: a text, a name and several names of columns or files, fit for a message.

A scheme has two letters at least, since one letter is a drive. Options follow a question mark, an enclosing archive
or cache follows two colons: `zip://a.csv::s3://bucket/a.zip` is one address. No function here opens a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"
_ADDRESS = re.compile(rf"(?:{_SCHEME}::)*{_SCHEME}://")
_WITHIN = rf"::(?={_SCHEME}://)"
_OPTIONS = re.compile(rf"\?(?=[A-Za-z_][\w.-]*=)|{_WITHIN}")  # any other question mark belongs to a pattern
_WEB_OPTIONS = re.compile(rf"\?|{_WITHIN}")  # HTTP has no patterns

# `user:secret@`. A secret may hold signs that should have been escaped: then all up to the last @ is hidden, unless
# digits and a slash follow the colon, which are a port.
_USER = re.compile(rf"({_SCHEME})://([^\s/?#]*|[^\s/?#:@\[]*:(?!:|\d+[/?#])\S*)@")
_NAMES_A_USER = ("abfs", "abfss", "hdfs", "viewfs", "sftp", "ssh", "smb", "ftp")  # or a container: not secret
_PLAIN = r"(?i:allow_bucket_(?:creation|deletion)|endpoint_override|project_id|region|retry_limit_seconds|scheme)"
_VALUE = re.compile(rf"([?&](?!{_PLAIN}=)[\w.%-]+=)[^\s&'\"]+")
_HIDDEN = "***"

_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 120
_SHOWN_AT_END = 80  # some of these are the end: a path ends in the file's name


def is_address(name: str) -> bool:
    """Whether the name begins with a scheme and `://`."""
    return "://" in name and _ADDRESS.match(name) is not None


def name_of(name: str) -> str:
    """The name without the options and the enclosing archive of an address; a local path unchanged."""
    return _parted(name)[0]


def options_of(name: str) -> str:
    """The options and the enclosing archive of an address, with the signs before them."""
    return _parted(name)[1]


def suffix_of(name: str) -> str:
    """The suffix in small letters, with its point; options are no part of it."""
    return os.path.splitext(name_of(name))[1].lower()


def beside(name: str, ending: str) -> str:
    """The name with an ending, inserted before the options of an address."""
    plain, options = _parted(name)
    return plain + ending + options


def inside(folder: str, name: str) -> str:
    """The name of a file or folder in a folder."""
    plain, options = _parted(folder)
    return os.path.join(plain, name) + options


def folder_of(name: str) -> str:
    """The name of the folder that a file or folder is in."""
    plain, options = _parted(name)
    return f"{plain.rstrip('/').rpartition('/')[0]}/{options}" if is_address(name) else os.path.dirname(plain)


def masked(text: str) -> str:
    """The text with `***` in place of credentials in addresses: before an `@`, and in all but well-known options.

    The name of a user or container alone is kept where the scheme has no secrets there.

    >>> masked("s3://AKIA:secret@bucket/a.csv?region=eu-west-1&token=secret")
    's3://***@bucket/a.csv?region=eu-west-1&token=***'
    """
    return _VALUE.sub(rf"\1{_HIDDEN}", _USER.sub(_without_user, text)) if "://" in text else text


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, control characters escaped, credentials hidden. longest: most characters, or None."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in masked(text)
    )
    return shown if longest is None or len(shown) <= longest else shown[: longest - 1] + "…"


def printable(name: str) -> str:
    """The name with control characters escaped, cut in its middle if long, quoted where its ends are unclear."""
    shown = one_line(name)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[: _SHOWN_CHARACTERS - _SHOWN_AT_END - 1] + "…" + shown[-_SHOWN_AT_END:]
    return f"'{shown}'" if shown != shown.strip() or not shown or "," in shown else shown


def listing(names: Collection[str]) -> str:
    """The names joined by commas: the first 20, and the number of the others."""
    shown = [printable(name) for name in list(names)[:_SHOWN_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _parted(name: str) -> tuple[str, str]:
    if not is_address(name):
        return name, ""
    pattern = _WEB_OPTIONS if "http" in name.partition("://")[0] else _OPTIONS
    found = pattern.search(name, name.index("://"))
    end = found.start() if found else len(name)
    return name[:end], name[end:]


def _without_user(found: re.Match[str]) -> str:
    scheme, user = found.groups()
    if ":" not in user and scheme.lower() in _NAMES_A_USER:
        return found[0]
    return f"{scheme}://{_HIDDEN}@"
