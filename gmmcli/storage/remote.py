"""Remote files: `locate_remote` finds the file system of an address, `RemotePath` is a Location in it.

pyarrow's own file systems serve the schemes that they know. fsspec serves all others, and says itself which package
is missing. Names are taken as they are, as the stores' own tools do: `%20` in an address is no space.

`RemotePath.put` writes a file, which appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import secrets
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from gmmcli.errors import GmmError, InputError
from gmmcli.storage.filesystem import Entry, Info, Named, Skip
from gmmcli.storage.names import masked, name_of, one_line, options_of, printable
from gmmcli.storage.remote_errors import reaching

_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
_ALSO_CALLED = {"s3a": "s3", "s3n": "s3"}  # by Hadoop
_READ_AHEAD = 1 << 23  # a request takes some 30 ms, as long as 3 MB at 100 MB/s
_PATIENCE = 30  # seconds for which Google's library retries; its own default is a quarter of an hour
STORES = ("s3", "gcs", "abfs")  # file systems with buckets or containers of objects, where a folder is only a name
_PART = 1 << 25  # pyarrow sends a part to S3 in three requests side by side


def locate_remote(address: str, wrong: type[GmmError] = InputError) -> RemotePath:
    """The Location of an address. wrong: the error where the address is at fault; UsageError if it is the scheme."""
    scheme = address.partition("://")[0].lower()
    scheme = _ALSO_CALLED.get(scheme, scheme)
    with reaching(printable(address), wrong):
        found = _by_arrow(scheme, address) if scheme in _ARROW else None
        filesystem, path, inner = found or _by_fsspec(address)
    return RemotePath(masked(address), path, filesystem=filesystem, inner=inner, wrong=wrong)


@dataclass(frozen=True)
class RemotePath(Named):
    """A file, a folder or a pattern of names in a store or on a server, with the methods of a LocalPath.

    inner: the file system of fsspec that `filesystem` wraps, None for one of pyarrow's. wrong: the class of errors
    where the address is at fault.
    """

    filesystem: pafs.FileSystem = field(kw_only=True)
    inner: Any = field(kw_only=True)
    wrong: type[GmmError] = field(kw_only=True)
    is_remote = True

    def info(self) -> Info:
        with self._reaching():
            found = self.filesystem.get_file_info(self.path)
            if found.type == pafs.FileType.NotFound and self.inner is not None:
                _raise_hidden(self.inner, self.path)
        if found.type != pafs.FileType.NotFound:
            is_folder = found.type == pafs.FileType.Directory or name_of(self.name).endswith("/")
            return Info("folder" if is_folder else "file", found.size)
        if bucket := self._absent_bucket():
            raise self.wrong(f"there is no bucket {bucket}", subject=self.label, remedy="check its name")
        return Info("absent")

    def entries(self) -> list[Entry]:
        return self._listed(recursive=False)

    def files_below(self, skip: Skip, strict: bool = True) -> list[Entry]:
        found = self._listed(recursive=True)  # by one request, so that no folder alone can fail
        return [entry for entry in found if not entry.is_folder and not any(map(skip, entry.names))]

    def open(self, seekable: bool, to_end: bool = True) -> pa.NativeFile:
        with self._reaching():
            if seekable and self._web is not None and not self._web.info(self.path).get("partial"):
                return pa.BufferReader(self._web.cat_file(self.path))  # of a server that knows no ranges
            if seekable:
                return self.filesystem.open_input_file(self.path)
            if self._web is not None:
                stream = self._web.open(self.path, block_size=0)  # in one request
                return pa.PythonFile(_FullReads(stream, self.label), mode="r")
            ahead = _READ_AHEAD if to_end else None
            return self.filesystem.open_input_stream(self.path, compression=None, buffer_size=ahead)

    def read(self) -> BinaryIO:
        kind = self.info().kind
        if kind == "folder":
            raise InputError("this is a folder", subject=self.label, remedy="name a file in it")
        with self._reaching(), self.open(seekable=False) as stream:
            return io.BytesIO(stream.read())

    def make_folder(self) -> None:
        if self.filesystem.type_name not in STORES:
            with reaching(self.label, GmmError, "made"):
                self.filesystem.create_dir(self.path, recursive=True)

    def remove(self) -> None:
        with reaching(self.label, GmmError, "removed"):
            if self.info().kind == "file":
                self.filesystem.delete_file(self.path)
            elif not self.entries():
                self.filesystem.delete_dir(self.path)

    def obstacle(self) -> tuple[str, str] | None:
        if self._web is not None:
            return "over HTTP files can only be read", "name a file of a store such as s3"
        if bucket := self._absent_bucket():
            return f"there is no bucket {bucket}", "create it first"
        if self.filesystem.type_name in STORES or self.inner is not None:  # fsspec may or may not need folders
            return None
        folder = os.path.dirname(self.path)
        with self._reaching():
            is_there = self.filesystem.get_file_info(folder).type == pafs.FileType.Directory
        return None if is_there else (f"there is no folder {one_line(folder)}", "create it first")

    def draft(self) -> tuple[str, BinaryIO]:
        ending = "-" + os.path.basename(self.path)[-48:]  # so that a file that is kept can be recognised
        handle, path = tempfile.mkstemp(ending, "gmm-")
        return path, os.fdopen(handle, "w+b")

    def put(self, draft: str, stream: BinaryIO, durable: bool) -> None:
        stream.seek(0)
        with reaching(self.label, GmmError, "written"):
            if self.inner is not None:
                with self.inner.transaction, self.inner.open(self.path, "wb") as out:
                    shutil.copyfileobj(stream, out, _PART)
            elif self.filesystem.type_name in STORES:
                _put_object(stream, self.filesystem, self.path)
            else:
                _rename_there(stream, self.filesystem, self.path)

    @property
    def _web(self) -> Any:
        """fsspec's file system of the web, None for any other."""
        return self.inner if self.inner is not None and "http" in self.inner.protocol else None

    def _reaching(self) -> contextlib.AbstractContextManager[None]:
        return reaching(self.label, self.wrong)

    def _listed(self, recursive: bool) -> list[Entry]:
        with self._reaching():
            found = self.filesystem.get_file_info(pafs.FileSelector(self.path, True, recursive))
        listed = []
        for one in found:
            below = one.path[len(self.path) :].strip("/")
            location = self.child(below, one.size)
            listed.append(Entry(tuple(below.split("/")), one.type == pafs.FileType.Directory, location))
        return listed

    def _absent_bucket(self) -> str | None:
        """The name of the bucket if there is no such bucket."""
        if self.filesystem.type_name not in STORES:
            return None
        bucket = self.path.partition("/")[0]
        try:
            is_absent = self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound
        except (OSError, pa.ArrowException):  # who may use a file need not be allowed to see its bucket
            return None
        return printable(bucket) if is_absent else None


class _FullReads(io.BufferedReader):
    """A stream of the web whose reads return as many bytes as are asked for, not only those that have arrived.

    label: the address, for the InputError where the connection breaks.
    """

    def __init__(self, stream: Any, label: str) -> None:
        super().__init__(stream)
        self._label = label

    def read(self, size: int | None = -1, /) -> bytes:
        with reaching(self._label, deed="read to its end"):
            return super().read(size)


def _by_arrow(scheme: str, address: str) -> tuple[pafs.FileSystem, str, None] | None:
    """pyarrow's file system of a scheme, and the path in it; None if pyarrow was built without it."""
    authority, slash, path = name_of(address).partition("://")[2].partition("/")
    options = options_of(address)
    if scheme in ("gs", "gcs") and "retry_limit_seconds=" not in options:
        options = f"{options}&" if options else "?"
        options += f"retry_limit_seconds={_PATIENCE}"
    try:
        filesystem, root = _root(f"{scheme}://{authority}/{options}")
    except pa.ArrowNotImplementedError:
        return None
    path = unquote(path) if scheme == "file" else path
    whole = "/".join([root.rstrip("/"), path]) if root else path
    return filesystem, whole.rstrip("/") or slash, None


@functools.lru_cache
def _root(address: str) -> tuple[pafs.FileSystem, str]:
    """The file system of an address without a path, and its root there; each is made once, and keeps connections."""
    return pafs.FileSystem.from_uri(address)


def _by_fsspec(address: str) -> tuple[pafs.FileSystem, str, Any]:
    """fsspec's file system of an address, wrapped as one of pyarrow's, the path in it, and the file system itself."""
    from fsspec.core import url_to_fs

    inner, path = url_to_fs(address)
    return pafs.PyFileSystem(pafs.FSSpecHandler(inner)), path, inner


def _raise_hidden(filesystem: Any, path: str) -> None:
    """Raises the cause of a `no such file` of fsspec, which over HTTP stands for any error."""
    try:
        filesystem.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is not None and getattr(cause, "status", None) != 404:
            raise cause from None


def _put_object(file: BinaryIO, filesystem: pafs.FileSystem, path: str) -> None:
    """Writes an object part by part. Its store shows it when the stream is closed, and never if it is not.

    pyarrow offers no way to abandon a stream: its destructor closes it, so that a part of the object would appear as
    if it were whole. A stream that must not be closed therefore gets a reference that is never released. Another
    thread writes: an interrupt is raised on the main thread as soon as a call returns, so a stream just opened there
    would be lost, and thereby closed, before a variable holds it.
    """
    stopped = False

    def write() -> None:
        out = filesystem.open_output_stream(path, compression=None)
        try:
            while not stopped and (part := file.read(_PART)):
                out.write(part)
                if filesystem.type_name == "s3":
                    out.flush()  # waits until it has arrived: else all of a large file would be held in memory
            if not stopped:
                out.close()
        finally:
            if not out.closed:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(out))

    with ThreadPoolExecutor(1) as worker:
        written = worker.submit(write)
        try:
            written.result()
        except BaseException:
            stopped = True
            raise


def _rename_there(file: BinaryIO, filesystem: pafs.FileSystem, path: str) -> None:
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
