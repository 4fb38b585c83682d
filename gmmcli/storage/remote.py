"""Remote files: `remote` finds the file system that an address is of, `Remote` opens what lies there.

pyarrow's own file systems are taken for the schemes that they know, for all others fsspec's, which says itself what
else is to be installed. `reaching`, `told`: their errors as one line.

Names are taken as they are, as the stores' own tools do: `%20` in an address is no space.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.storage.addresses import masked, name_of, options_of
from gmmcli.storage.names import one_line, printable

STORES = ("s3", "gcs", "abfs")  # file systems with buckets (or containers) of objects, where a folder is but a name
_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
_ALSO_CALLED = {"s3a": "s3", "s3n": "s3"}  # by Hadoop
_READ_AHEAD = 1 << 23  # a request takes some 30 ms, as long as 3 MB at 100 MB/s

_UNREACHABLE = re.compile(
    r"NETWORK_CONNECTION|curlCode|UNAVAILABLE|DEADLINE_EXCEEDED|(?i:cannot connect|could not (connect|resolve)"
    r"|timed? ?out|connection (refused|reset)|name or service not known)"
)
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|PERMISSION_DENIED"
    r"|UNAUTHENTICATED|Authentication(?:Failed|Exception)|Authorization\w*Failure|HTTP status 40[013]\b"
)  # 400 is what S3 says of a token that has expired
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|ContainerNotFound|(?i:bucket '[^']*' not found)")

_AROUND = re.compile(
    r"^.* during \w+ operation: (?:.*Details: )?| \(Request ID: [^)]*\)"  # S3's
    r"|^google::cloud::Status\((?:.*with a last message of )?| error_info=.*"
)
_LONGEST_REASON = 300
_NO_ADDRESS = "not an address: check the bucket's name, and write signs in a key as %2F for /"
_PATIENCE = 30  # seconds that Google's library tries again; by itself it is a quarter of an hour


@dataclass(frozen=True)
class Remote:
    """A file, a folder or a pattern of names.

    address: for messages, masked. path: the same for the file system. size: of a file in bytes, where it is known.
    Errors are InputErrors that name the address, but a GmmError where nothing answers.
    """

    address: str
    filesystem: pafs.FileSystem
    path: str
    size: int | None = None

    @property
    def label(self) -> str:
        """Its name for messages."""
        return printable(self.address)

    def under(self, file: pafs.FileInfo) -> Remote:
        """A file below this place, which is a folder."""
        place = name_of(self.address)
        place += ("" if place.endswith("/") else "/") + file.path[len(self.path) :].lstrip("/")
        return Remote(place + options_of(self.address), self.filesystem, file.path, file.size)

    def kind(self) -> pafs.FileType:
        """Whether it is there, as a file or a folder."""
        return self.info().type

    def info(self) -> pafs.FileInfo:
        """The same, and what else is told of it."""
        with reaching(self.label):
            found = self.filesystem.get_file_info(self.path)
            if found.type == pafs.FileType.NotFound and (inner := fsspec_of(self.filesystem)) is not None:
                _raise_hidden(inner, self.path)
            return found

    def listed(self, folder: str, recursive: bool = False) -> list[pafs.FileInfo]:
        """What is in a folder of the same file system; nothing where there is none."""
        selector = pafs.FileSelector(folder, recursive=recursive, allow_not_found=True)
        with reaching(self.label):
            return self.filesystem.get_file_info(selector)

    def open(self) -> pa.NativeFile:
        """For reading at any place, a request for each; of a web server without such requests, the whole content."""
        with reaching(self.label):
            web = self._web()
            if web is not None and not web.info(self.path).get("partial"):
                return pa.BufferReader(web.cat_file(self.path))
            return self.filesystem.open_input_file(self.path)

    def stream(self, ahead: bool = True) -> pa.NativeFile:
        """For reading from the start. ahead: to the end, some megabytes at a time, not only as much as is read."""
        with reaching(self.label):
            web = self._web()
            if web is not None:
                return pa.PythonFile(
                    _Filled(web.open(self.path, block_size=0), self.label), mode="r"
                )  # in one request
            size = _READ_AHEAD if ahead else None
            return self.filesystem.open_input_stream(self.path, compression=None, buffer_size=size)

    def _web(self) -> Any:
        inner = fsspec_of(self.filesystem)
        return inner if inner is not None and "http" in inner.protocol else None

    def absent_bucket(self) -> str | None:
        """The name of its bucket where there is none of this name."""
        if self.filesystem.type_name not in STORES:
            return None
        bucket = self.path.partition("/")[0]
        try:
            absent = self.filesystem.get_file_info(bucket).type == pafs.FileType.NotFound
        except (OSError, pa.ArrowException):  # who may use a file need not be allowed to see its bucket
            return None
        return printable(bucket) if absent else None

    def missing(self) -> InputError:
        """The error for what is not there."""
        if bucket := self.absent_bucket():
            return InputError(f"{self.label}: there is no bucket {bucket}: check its name")
        return InputError(f"{self.label}: no such file: check the name and the folder")


class _Filled(io.RawIOBase):
    """A stream of the web that gives as much as it is asked for; by itself it gives what has arrived.

    label: the address, for the InputError where the connection breaks.
    """

    def __init__(self, stream: Any, label: str) -> None:
        self._stream = stream
        self._label = label

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        parts = []
        with reaching(self._label, deed="read to its end"):
            while size and (part := self._stream.read(max(size, -1))):
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def remote(address: str, wrong: type[GmmError] = InputError) -> Remote:
    """What an address names. wrong: the error where that cannot be, but for an unknown scheme UsageError."""
    scheme = address.partition("://")[0].lower()
    scheme = _ALSO_CALLED.get(scheme, scheme)
    label = printable(address)
    with reaching(label, wrong):
        if scheme in _ARROW:
            with contextlib.suppress(pa.ArrowNotImplementedError):  # of a pyarrow that was built without it
                return Remote(masked(address), *_by_arrow(scheme, address, label))
        return Remote(masked(address), *_by_fsspec(address, label))


def fetch(address: str) -> io.BytesIO:
    """A whole file, such as a model's."""
    found = fetch_if_there(address)
    if found is None:
        raise remote(address).missing()
    return found


def fetch_if_there(address: str) -> io.BytesIO | None:
    """As `fetch`, but None where there is no such file."""
    place = remote(address)
    kind = place.kind()
    if kind == pafs.FileType.Directory:
        raise InputError(f"{place.label}: this is a folder: name a file in it")
    if kind == pafs.FileType.NotFound:
        return None
    with reaching(place.label), place.stream() as stream:
        return io.BytesIO(stream.read())


def fsspec_of(filesystem: pafs.FileSystem) -> Any:
    """The fsspec file system within one of pyarrow's, else None."""
    handler = getattr(filesystem, "handler", None)
    return handler.fs if isinstance(handler, pafs.FSSpecHandler) else None


@contextlib.contextmanager
def reaching(label: str, wrong: type[GmmError] = InputError, deed: str = "opened") -> Iterator[None]:
    """Turns whatever a file system raises into one line. wrong: the error where the address is at fault."""
    try:
        yield
    except (GmmError, MemoryError):
        raise
    except Exception as error:  # behind fsspec are libraries of all kinds, each with errors of its own
        known = told(label, error, wrong)
        raise known or wrong(f"{label}: cannot be {deed}: {_reason(error)}") from error


def told(label: str, error: BaseException, wrong: type[GmmError] = InputError) -> GmmError | None:
    """An error that says what is wrong between here and the file, None for one that may be of its content."""
    text = str(error)
    if isinstance(error, ConnectionError | TimeoutError) or _UNREACHABLE.search(text):
        return GmmError(f"{label}: cannot be reached: {_reason(error)}: check the network and the endpoint")
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403) or _DENIED.search(text):
        why = _reason(error)
        why = f" ({why})" if _DENIED.search(text) and not why.startswith("No response body") else ""
        return wrong(f"{label}: access denied{why}: check the credentials and what they permit")
    if _NO_BUCKET.search(text):
        return wrong(f"{label}: there is no such bucket: check its name")
    if isinstance(error, FileNotFoundError):
        return wrong(f"{label}: no such file: check the name and the folder")
    return None


def _by_arrow(scheme: str, address: str, label: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a scheme of pyarrow's, and the path there."""
    authority, slash, path = name_of(address).partition("://")[2].partition("/")
    options = options_of(address)
    if "@" not in authority and "://***@" in masked(address):  # a key with a slash in it has been taken apart
        raise UsageError(f"{label}: {_NO_ADDRESS}")
    if scheme in ("gs", "gcs") and "retry_limit_seconds=" not in options:
        options = f"{options}&" if options else "?"
        options += f"retry_limit_seconds={_PATIENCE}"
    try:
        filesystem, root = _root(f"{scheme}://{authority}/{options}")
    except pa.ArrowInvalid as error:
        if "Cannot parse" not in str(error):
            raise
        raise UsageError(f"{label}: {_NO_ADDRESS}") from None  # the cause would show the keys in the address
    except OSError as error:
        if "libjvm" not in str(error) and "libhdfs" not in str(error):
            raise
        raise UsageError(f"{label}: hdfs needs Java and Hadoop's libhdfs: {_reason(error)}") from error
    path = unquote(path) if scheme == "file" else path
    whole = "/".join([root.rstrip("/"), path]) if root else path
    return filesystem, whole.rstrip("/") or slash


@functools.lru_cache
def _root(address: str) -> tuple[pafs.FileSystem, str]:
    """The file system of an address without a path, and its root there; each is made once, and keeps connections."""
    return pafs.FileSystem.from_uri(address)


def _by_fsspec(address: str, label: str) -> tuple[pafs.FileSystem, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(f"{label}: this scheme is known to fsspec only: pip install 'gmmcli[remote]'") from None
    try:
        filesystem, path = url_to_fs(address)
    except ImportError as error:
        raise UsageError(f"{label}: not all is installed that this scheme needs: {_reason(error)}") from error
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise UsageError(
            f"{label}: unknown scheme: s3, gs, abfs, hdfs, http, https and those of fsspec are known"
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path


def _raise_hidden(filesystem: Any, path: str) -> None:
    """Raises what lies behind a `no such file` of fsspec's, which over HTTP is said of whatever goes wrong."""
    try:
        filesystem.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is not None and getattr(cause, "status", None) != 404:
            raise cause from None


def _reason(error: BaseException) -> str:
    """What went wrong in few words, without what the stores' libraries put around it."""
    lines = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()
    text = _AROUND.sub("", lines[0]) or type(error).__name__
    return one_line(text, _LONGEST_REASON).rstrip(".")
