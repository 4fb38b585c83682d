"""Files of folders, of patterns and of folders called `key=value`, on this machine and in stores alike.

- `find_files`: the files that a name stands for, each a `Found`, with the keys in the names of its folders.
- `keys_of`: keys and values in the names of folders, such as `year=2024`, as Hive and Spark write them.

Patterns have the meaning of Python's glob. It reads local folders only, and Python 3.11's has no parts that serve
stores. So patterns are matched here, folder by folder; `**` is one request to a store.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gmmcli.errors import InputError
from gmmcli.storage.filesystem import locate
from gmmcli.storage.names import name_of

if TYPE_CHECKING:
    from gmmcli.storage.filesystem import Location

Keys = tuple[tuple[str, str | None], ...]  # names and values, in the order of the folders; None is missing

_FOLDER = re.compile(r"([^=._][^=]*)=(.*)", re.DOTALL)
_MISSING = "__HIVE_DEFAULT_PARTITION__"


class Found(NamedTuple):
    """A file, and the keys in the names of the folders between the named one and it."""

    location: Location
    keys: Keys = ()


def find_files(name: str, is_data: Callable[[str], object]) -> list[Found]:
    """The files that a path, an address or a pattern stands for, sorted.

    A folder stands for the files in it for whose names `is_data` is true, and if it has folders called `key=value`
    for those below it too. Hidden files are left out, and below such folders names with a leading underscore. Raises
    InputError for what is missing, empty or a folder without such files.
    """
    here = locate(name)
    info = here.info()
    if info.kind == "folder":
        if found := _in_folder(here, is_data):
            return found
        remedy = "name the files, whatever their suffix"
        raise InputError("no data files in this folder", subject=here.label, remedy=remedy)
    if info.kind != "absent":
        return [Found(replace(here, size=info.size) if here.is_remote else here)]
    if not glob.has_magic(name_of(here.path)):
        raise InputError("no such file", subject=here.label, remedy="check the name and the folder")
    folder, parts = here, []
    while glob.has_magic(name_of(folder.path)):
        folder, part = folder.split()
        parts.insert(0, part)
    if parts[-1] == "**":
        parts.append("*")
    matching = sorted(_matching(folder, parts), key=lambda one: one.path)
    if not matching:
        raise InputError("no file matches", subject=here.label, remedy="check the pattern and the folder")
    return [Found(one) for one in matching]


def keys_of(folders: Iterable[str]) -> Keys:
    """Keys and values of those folders that are called `key=value`."""
    found = filter(None, map(_FOLDER.fullmatch, folders))
    return tuple((unquote(m[1]), None if m[2] == _MISSING else unquote(m[2])) for m in found)


def _in_folder(folder: Location, is_data: Callable[[str], object]) -> list[Found]:
    entries = folder.entries()
    if any(entry.is_folder and keys_of(entry.names) for entry in entries):
        entries = folder.files_below(lambda name: name.startswith((".", "_")))
    files = {entry.names: entry.location for entry in entries if not entry.is_folder}
    chosen = sorted(names for names in files if is_data(names[-1]) and not names[-1].startswith("."))
    return [Found(files[names], keys_of(names[:-1])) for names in chosen]


def _matching(folder: Location, parts: Sequence[str]) -> Iterator[Location]:
    """Files below a folder that match the parts of a pattern. Folders that cannot be read are passed over."""
    part, *rest = parts
    if part == "**":
        hidden_too = any(name.startswith(".") for name in parts)
        for entry in folder.files_below(lambda name: name.startswith(".") and not hidden_too, strict=False):
            if _fits(entry.names, parts):
                yield entry.location
    elif rest and not glob.has_magic(part):
        yield from _matching(folder.child(part), rest)
    else:
        entries = []
        with contextlib.suppress(OSError):
            entries = folder.entries()
        for entry in entries:
            if _fits(entry.names, [part]) and entry.is_folder is bool(rest):
                yield from _matching(entry.location, rest) if rest else [entry.location]


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether names of folders and a file match the parts; `**` is any number of folders that are not hidden."""
    if not names or not parts:
        return not names and not parts
    is_hidden = names[0].startswith(".") and not parts[0].startswith(".")
    if parts[0] == "**":
        return _fits(names, parts[1:]) or (not is_hidden and _fits(names[1:], parts))
    return not is_hidden and fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])
