"""Addresses of remote files, such as `s3://bucket/data.parquet`, as text: nothing here opens one.

- `is_address`: whether a name is an address. `name_of`: what it names, without `options_of` it.
- `suffix_of`, `beside`, `inside`: as for a local path, which they take too.
- `masked`: any text with the credentials of the addresses in it hidden.

A scheme has two letters at least, since one letter is a drive. Options come after a question mark, and what a file is
within after two colons: `zip://a.csv::s3://bucket/a.zip` is one address.
"""

from __future__ import annotations

import os
import re

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"
_ADDRESS = re.compile(rf"(?:{_SCHEME}::)*{_SCHEME}://")
_WITHIN = rf"::(?={_SCHEME}://)"
_OPTIONS = re.compile(rf"\?(?=[A-Za-z_][\w.-]*=)|{_WITHIN}")  # any other question mark belongs to a pattern
_WEB_OPTIONS = re.compile(rf"\?|{_WITHIN}")  # but over HTTP, which has no patterns

# `user:secret@`; or, where a secret with a slash in it was not escaped, all to the last @: no bucket has a port.
_USER = re.compile(rf"({_SCHEME})://(?:([^\s/?#]*)@|([^\s/?#:@\[]*):(?!:)(\S*@))")
_PORT = re.compile(r"\d+(?:[/?#]|$)")
_BUCKETS = ("s3", "s3a", "s3n", "gs", "gcs")
_NAMES_A_USER = ("abfs", "abfss", "hdfs", "viewfs", "sftp", "ssh", "smb", "ftp")  # or a container: no secret
_VALUE = re.compile(r"([?&])([\w.%-]+)=[^\s&'\"]+")
_PLAIN_OPTIONS = (
    "allow_bucket_creation",
    "allow_bucket_deletion",
    "endpoint_override",
    "project_id",
    "region",
    "retry_limit_seconds",
    "scheme",
)
_HIDDEN = "***"


def is_address(name: str) -> bool:
    """Whether the name begins with a scheme and `://`."""
    return "://" in name and _ADDRESS.match(name) is not None


def name_of(name: str) -> str:
    """The name without an address's options and what it is within; a local path as it is."""
    return _parted(name)[0]


def options_of(name: str) -> str:
    """What `name_of` leaves out, with the signs before it."""
    return _parted(name)[1]


def suffix_of(name: str) -> str:
    """The suffix of what is named, in small letters and with its point."""
    return os.path.splitext(name_of(name))[1].lower()


def beside(name: str, ending: str) -> str:
    """The name with an ending, before an address's options."""
    plain, options = _parted(name)
    return plain + ending + options


def inside(folder: str, name: str) -> str:
    """The name of a file in a folder."""
    return beside(folder, f"/{name}") if is_address(folder) else os.path.join(folder, name)


def masked(text: str) -> str:
    """The text with `***` for what stands before an `@` in addresses, and for options other than well-known ones.

    A user's or container's name alone stays where the scheme has no secrets there.

    >>> masked("s3://AKIA:secret@bucket/a.csv?region=eu-west-1&token=secret")
    's3://***@bucket/a.csv?region=eu-west-1&token=***'
    """
    if "://" not in text:
        return text
    return _VALUE.sub(_without_value, _USER.sub(_without_user, text))


def _parted(name: str) -> tuple[str, str]:
    if not is_address(name):
        return name, ""
    pattern = _WEB_OPTIONS if "http" in name.partition("://")[0] else _OPTIONS
    found = pattern.search(name, name.index("://"))
    place = found.start() if found else len(name)
    return name[:place], name[place:]


def _without_user(found: re.Match[str]) -> str:
    scheme, user, host, rest = found.groups()
    if user is None and scheme.lower() not in _BUCKETS and _PORT.match(rest):
        return f"{scheme}://{host}:{masked(rest)}"
    if user is not None and ":" not in user and scheme.lower() in _NAMES_A_USER:
        return found[0]
    return f"{scheme}://{_HIDDEN}@"


def _without_value(found: re.Match[str]) -> str:
    return found[0] if found[2].lower() in _PLAIN_OPTIONS else f"{found[1]}{found[2]}={_HIDDEN}"
