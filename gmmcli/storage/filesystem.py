"""One file system for this machine and for stores: a `Location` is a file or a folder, whether or not it is there.

- `locate`: the Location of a path or an address: a `LocalPath`, or the `RemotePath` of remote.py.
- `Info`, `Entry`: facts about a Location, and what a folder holds.
- `has_entries`, `open_if_there`: shortcuts for a name.

LocalPath calls `os`, not pyarrow.fs: to import that takes 10 ms of every start, and it raises UnicodeDecodeError for
a folder that holds a name which is not UTF-8. For the same reason remote.py is imported for the first address only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Self, TypeAlias

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.storage.names import folder_of, inside, is_address, name_of, one_line, printable

if TYPE_CHECKING:
    import pyarrow as pa

    from gmmcli.storage.remote import RemotePath

    Location: TypeAlias = "LocalPath | RemotePath"

Skip = Callable[[str], bool]


class Info(NamedTuple):
    """Facts about a location that change when a file is written anew.

    kind: a stream is a pipe or a device. size: in bytes; None for a remote file whose store does not tell it.
    modified: time in ns, of a local file.
    """

    kind: Literal["absent", "file", "stream", "folder"]
    size: int | None = None
    modified: int = 0


class Entry(NamedTuple):
    """A file or folder below a folder. names: of the folders in between, and its own."""

    names: tuple[str, ...]
    is_folder: bool
    location: Location


@dataclass(frozen=True)
class Named:
    """A name in a file system.

    name: as the user gave it, credentials hidden. path: the name within its file system. size: of a remote file in
    bytes, where it is known.
    """

    name: str
    path: str
    size: int | None = None

    @property
    def label(self) -> str:
        """The name for messages."""
        return printable(self.name)

    def child(self, name: str, size: int | None = None) -> Self:
        """A file or folder below this folder."""
        return replace(self, name=inside(self.name, name), path=os.path.join(self.path, name), size=size)

    def split(self) -> tuple[Self, str]:
        """The folder that this is in, and the last part of the path."""
        folder, part = os.path.split(name_of(self.path))
        return replace(self, name=folder_of(self.name), path=folder), part


class LocalPath(Named):
    """A file, a folder or a pattern of names on this machine.

    A RemotePath has the same methods. Here they raise OSError; there InputError, which names the address, but
    GmmError where no server answers.
    """

    is_remote = False  # whether each reading is a transfer

    def info(self) -> Info:
        """Kind, size and time."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return Info("absent")
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "stream"
        return Info(kind, found.st_size, found.st_mtime_ns)

    def entries(self) -> list[Entry]:
        """Files and folders directly in this folder."""
        with os.scandir(self.path or ".") as found:
            return [Entry((one.name,), one.is_dir(), self.child(one.name)) for one in found]

    def files_below(self, skip: Skip, strict: bool = True) -> list[Entry]:
        """Files in this folder and below it.

        skip: whether files and folders of a name are passed over. strict: whether a folder that cannot be read
        raises.
        """
        return list(_files_below(self, skip, strict, (), frozenset()))

    def open(self, seekable: bool, to_end: bool = True) -> pa.NativeFile:
        """The content from its start. to_end: whether all of it is read; then a store is asked for large parts."""
        import pyarrow as pa

        return pa.OSFile(self.path)

    def read(self) -> BinaryIO:
        """The content from its start, of a remote file transferred at once."""
        return open(self.path, "rb")

    def make_folder(self) -> None:
        """Makes this folder and those that it is in, unless they are there."""
        os.makedirs(self.path, exist_ok=True)

    def remove(self) -> None:
        """Removes the file, or the folder if it is empty."""
        (os.rmdir if os.path.isdir(self.path) else os.unlink)(self.path)

    def obstacle(self) -> tuple[str, str] | None:
        """The reason why no file can be written here, and a remedy."""
        folder = os.path.dirname(os.path.realpath(self.path))
        if not os.path.isdir(folder):
            return f"there is no folder {one_line(folder)}", "create it first"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no permission to write in {one_line(folder)}", "name another folder"
        return None

    def draft(self) -> tuple[str, BinaryIO]:
        """A new temporary file on this machine, as path and stream, whose content is to come here."""
        # In the same folder, so that it can be renamed; short, since the name itself may be as long as a name may be.
        folder = os.path.dirname(os.path.realpath(self.path))
        path = os.path.join(folder, f".gmm-{secrets.token_hex(8)}.tmp")
        return path, open(path, "xb")

    def put(self, draft: str, stream: BinaryIO, durable: bool) -> None:
        """Replaces the file by its draft in one step. durable: whether to wait until the disk has it."""
        if durable:
            os.fsync(stream.fileno())
        stream.close()
        path = os.path.realpath(self.path)  # a link stays a link, to the new content
        if os.path.exists(path):
            shutil.copymode(path, draft)
        os.replace(draft, path)


def _files_below(
    folder: Location, skip: Skip, strict: bool, names: tuple[str, ...], above: frozenset[str]
) -> Iterator[Entry]:
    """Files below a folder of this machine.

    names: of the folders between the first one and this. above: the real paths of these.
    """
    above |= {os.path.realpath(folder.path)}
    try:
        entries = folder.entries()
    except OSError:
        if strict:
            raise
        return
    for (name,), is_folder, location in entries:
        if skip(name):
            continue
        if not is_folder:
            yield Entry((*names, name), False, location)
        elif os.path.realpath(location.path) not in above:  # a link to a folder that it is in has no end
            yield from _files_below(location, skip, strict, (*names, name), above)


def locate(name: str, wrong: type[GmmError] = InputError) -> Location:
    """The Location of a path or an address. wrong: the error where an address is at fault."""
    if is_address(name):
        from gmmcli.storage.remote import locate_remote

        return locate_remote(name, wrong)
    return LocalPath(name, name)


def has_entries(name: str) -> bool:
    """Whether a folder is there and holds files or folders, hidden ones aside."""
    folder = locate(name, UsageError)
    is_folder = folder.info().kind == "folder"
    return is_folder and any(not entry.names[-1].startswith(".") for entry in folder.entries())


def open_if_there(name: str) -> BinaryIO | None:
    """The content of a file from its start, None where there is no such file."""
    location = locate(name)
    return None if location.info().kind == "absent" else location.read()
