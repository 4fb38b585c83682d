"""`upload`: the content of a file of this machine into a store, where it appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

import pyarrow.fs as pafs

STORES = ("s3", "gcs", "abfs")  # file systems with buckets or containers of objects, where a folder is only a name
_PART = 1 << 25  # pyarrow sends a part to S3 in three requests side by side


def upload(file: BinaryIO, filesystem: pafs.FileSystem, inner: Any, path: str) -> None:
    """Copies the rest of the file to the path. An error or an interrupt leaves there what was there before.

    inner: the file system of fsspec that `filesystem` wraps, or None.
    """
    if inner is not None:
        with inner.transaction, inner.open(path, "wb") as out:
            shutil.copyfileobj(file, cast(Any, out), _PART)
    elif filesystem.type_name in STORES:
        _put_object(file, filesystem, path)
    else:
        _rename_there(file, filesystem, path)


def _put_object(file: BinaryIO, filesystem: pafs.FileSystem, path: str) -> None:
    """Writes an object, which its store shows when the stream is closed, and never if it is not.

    It is written on another thread: an interrupt is raised on the main thread as soon as a call returns, so a stream
    just opened there would be lost, and thereby closed, before a variable holds it.
    """
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as worker:
        written = worker.submit(_write_object, file, filesystem, path, stopped)
        try:
            written.result()
        except BaseException:
            stopped.set()
            raise


def _write_object(file: BinaryIO, filesystem: pafs.FileSystem, path: str, stopped: threading.Event) -> None:
    """Writes an object part by part, and none of it once `stopped` is set.

    pyarrow offers no way to abandon a stream: its destructor closes it, so that a part of the object would appear as
    if it were whole. A stream that must not be closed therefore gets a reference that is never released.
    """
    out = filesystem.open_output_stream(path, compression=None)
    try:
        while not stopped.is_set() and (part := file.read(_PART)):
            out.write(part)
            if filesystem.type_name == "s3":
                out.flush()  # waits until it has arrived: else all of a large file would be held in memory
        if not stopped.is_set():
            out.close()
    finally:
        if not out.closed:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(out))


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
