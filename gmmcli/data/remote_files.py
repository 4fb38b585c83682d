"""The files that an address stands for: `files_at`, of a file, a folder or a pattern."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pyarrow.fs import FileInfo, FileType

from gmmcli.data.formats import format_of_path
from gmmcli.data.partitions import is_hidden, is_key
from gmmcli.errors import InputError
from gmmcli.storage.addresses import name_of, options_of
from gmmcli.storage.remote import STORES, Remote, remote


def files_at(address: str) -> list[Remote]:
    """As `inputs.expand` has it for local files: sorted, of a folder those whose suffix is known.

    Raises InputError naming what is missing, empty or a folder without data files, GmmError where nothing answers.
    """
    place = remote(address)
    info = place.info()
    kind = info.type
    if kind == FileType.Directory or (kind == FileType.File and name_of(address).endswith("/")):
        return _in_folder(place)
    if kind != FileType.NotFound:
        return [replace(place, size=info.size)]
    if not glob.has_magic(name_of(place.path)):
        raise place.missing()
    return _matching(place)


def _in_folder(place: Remote) -> list[Remote]:
    found = place.listed(place.path)
    if any(info.type == FileType.Directory and is_key(info.base_name) for info in found):
        below = [(_below(place.path, info), info) for info in place.listed(place.path, recursive=True)]
        files = [(names, info) for names, info in below if not any(map(is_hidden, names))]
    else:
        files = [((info.base_name,), info) for info in found]
    files = [(names, info) for names, info in files if info.type == FileType.File and _is_data(info.base_name)]
    known = [info for _, info in sorted(files, key=lambda one: one[0])]
    if not known:
        raise InputError(f"{place.label}: no data files in this folder: name the files, whatever their suffix")
    return [place.under(info) for info in known]


def _matching(place: Remote) -> list[Remote]:
    parts = name_of(place.path).split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    if fixed or place.filesystem.type_name not in STORES:  # of buckets there are no patterns
        folder = "/".join(name_of(place.address).split("/")[: fixed - len(parts)]) + "/"
        start = Remote(folder + options_of(place.address), place.filesystem, "/".join(parts[:fixed]))
        if found := sorted(_matches(start, start.path, parts[fixed:]), key=_path):
            return [start.under(info) for info in found]
        if place.absent_bucket():
            raise place.missing()
    raise InputError(f"{place.label}: no file matches: check the pattern and the folder")


def _below(folder: str, info: FileInfo) -> tuple[str, ...]:
    """The names of the folders between, and its own."""
    return tuple(info.path[len(folder) :].strip("/").split("/"))


def _path(info: FileInfo) -> str:
    return info.path


def _is_data(name: str) -> bool:
    return not name.startswith(".") and format_of_path(name) is not None


def _matches(start: Remote, folder: str, parts: Sequence[str]) -> Iterator[FileInfo]:
    """The files below a folder that match the parts, one level listed at a time where that will do."""
    part, *rest = parts
    if part == "**":
        for info in start.listed(folder, recursive=True):
            if info.type == FileType.File and _fits(_below(folder, info), parts):
                yield info
    elif rest and not glob.has_magic(part):
        yield from _matches(start, f"{folder}/{part}", rest)
    else:
        for info in start.listed(folder):
            if _fits([info.base_name], [part]):
                if rest and info.type == FileType.Directory:
                    yield from _matches(start, info.path, rest)
                elif not rest and info.type == FileType.File:
                    yield info


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether names of folders and a file match the parts, as Python's glob has it: `**` is any number of folders."""
    if not parts:
        return not names
    if parts[0] == "**":
        if len(parts) == 1:
            return not any(name.startswith(".") for name in names)
        return _fits(names, parts[1:]) or (bool(names) and names[0][:1] != "." and _fits(names[1:], parts))
    hidden = bool(names) and names[0].startswith(".") and not parts[0].startswith(".")
    return bool(names) and not hidden and fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])
