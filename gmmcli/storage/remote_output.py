"""Remote files out: `RemoteFile` is written on this machine and uploaded when it is whole.

`check_remote` looks beforehand whether that could be; `make_remote_folder` and `remove_remote` are for what is kept
for a while only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from pyarrow.fs import FileSystem, FileType

from gmmcli.errors import GmmError, UsageError
from gmmcli.storage.addresses import name_of
from gmmcli.storage.names import one_line
from gmmcli.storage.remote import STORES, Remote, fsspec_of, reaching, remote

_PART = 1 << 25  # which pyarrow sends to S3 in three requests side by side


def check_remote(address: str, example: str) -> None:
    """Raises UsageError where no file can be written: a folder, no such bucket, no permission, an unknown scheme."""
    place = remote(address, UsageError)
    inner = fsspec_of(place.filesystem)
    if inner is not None and "http" in inner.protocol:
        raise UsageError(f"{place.label}: over HTTP files can only be read: name a file of a store such as s3")
    with reaching(place.label, UsageError):
        kind = place.filesystem.get_file_info(place.path).type
        if kind == FileType.Directory or name_of(address).endswith("/"):
            raise UsageError(f"{place.label}: this is a folder: name a file in it, such as {example}")
        if kind != FileType.NotFound or inner is not None:  # fsspec does not tell whether it needs folders
            return
        if place.filesystem.type_name in STORES:
            if absent := place.absent_bucket():
                raise UsageError(f"{place.label}: there is no bucket {absent}: create it first")
        elif place.filesystem.get_file_info(folder := os.path.dirname(place.path)).type != FileType.Directory:
            raise UsageError(f"{place.label}: there is no folder {one_line(folder)}: create it first")


class RemoteFile:
    """A file on this machine, in the folder for temporary files, which `commit` uploads and `abort` removes.

    Until it is uploaded nothing is to be seen at the address, and an older file there stays. stream: what is written
    to. Where the upload fails the file stays here, and the GmmError names it.
    """

    def __init__(self, address: str) -> None:
        self._place = remote(address, UsageError)
        ending = "-" + os.path.basename(self._place.path)[-48:]  # so that a file that stays can be told
        handle, self._kept = tempfile.mkstemp(ending, "gmm-")
        self.stream: BinaryIO = os.fdopen(handle, "w+b")

    def commit(self) -> None:
        """Uploads what was written."""
        try:
            self.stream.flush()
            self.stream.seek(0)
            with reaching(self._place.label, GmmError, "written"):
                _upload(self.stream, self._place)
        except GmmError as error:
            self.stream.close()
            raise GmmError(f"{error}; it is kept as {one_line(self._kept)}") from error
        except BaseException:
            self.abort()
            raise
        self.abort()

    def abort(self) -> None:
        """Removes what was written here."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self._kept)


def make_remote_folder(address: str) -> None:
    """Makes a folder, and those it is in, where the file system has folders."""
    place = remote(address, UsageError)
    if place.filesystem.type_name not in STORES:
        with reaching(place.label, GmmError, "made"):
            place.filesystem.create_dir(place.path, recursive=True)


def remove_remote(address: str) -> None:
    """Removes a file, or a folder with nothing in it. Raises GmmError where that is refused."""
    place = remote(address)
    with reaching(place.label, GmmError, "removed"):
        if place.kind() == FileType.File:
            place.filesystem.delete_file(place.path)
        elif not place.listed(place.path):
            place.filesystem.delete_dir(place.path)


def _upload(file: BinaryIO, place: Remote) -> None:
    """Copies the file to its place, so that an error or an interrupt leaves there what was there before."""
    inner = fsspec_of(place.filesystem)
    if inner is not None:
        with inner.transaction, inner.open(place.path, "wb") as out:
            shutil.copyfileobj(file, cast(Any, out), _PART)
    elif place.filesystem.type_name in STORES:
        _put(file, place.filesystem, place.path)
    else:
        _move_there(file, place.filesystem, place.path)


def _put(file: BinaryIO, filesystem: FileSystem, path: str) -> None:
    """Writes an object, which its store shows when it is closed, and never where it is not.

    Another thread does it, since an interrupt comes to the main thread alone, and there as soon as a call is done:
    a stream just opened would be let go of before anyone has it.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as worker:
        written = worker.submit(_write_object, file, filesystem, path, stopped)
        try:
            written.result()
        except BaseException:
            stopped.set()
            raise


def _write_object(file: BinaryIO, filesystem: FileSystem, path: str, stopped: threading.Event) -> None:
    """Writes an object part by part, none of it where it is stopped.

    A stream of pyarrow's that is let go of closes itself, which would show a part of the object as if it were whole.
    So one that is not to be closed is given a reference that nobody lets go of.
    """
    out = filesystem.open_output_stream(path, compression=None)
    try:
        while not stopped.is_set() and (part := file.read(_PART)):
            out.write(part)
            if filesystem.type_name == "s3":
                out.flush()  # waits for it to arrive: otherwise all of a large file would wait in memory
        if not stopped.is_set():
            out.close()
    finally:
        if not out.closed:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(out))


def _move_there(file: BinaryIO, filesystem: FileSystem, path: str) -> None:
    """Writes a file under a temporary name in the same folder, then renames it."""
    temporary = f"{os.path.dirname(path)}/.gmm-{secrets.token_hex(8)}.tmp"
    try:
        with filesystem.open_output_stream(temporary, compression=None) as out:
            shutil.copyfileobj(file, cast(Any, out), _PART)
        filesystem.move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise
