"""Files that appear whole or not at all, and the targets that are written to as they are.

A name may be an address of a remote file: `gmmcli.data` then does what is to be done, imported when it comes to it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, BinaryIO

from gmmcli.errors import UsageError
from gmmcli.storage.addresses import is_address
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.storage.remote_output import RemoteFile

STDOUT = (None, "-", "/dev/stdout")


def is_direct(target: str | None) -> bool:
    """Whether a target is written to, not replaced: standard output, a descriptor, a pipe, a device."""
    if target is None or target in STDOUT:
        return True
    if is_address(target):
        return False
    if target.startswith(("/dev/fd/", "/proc/")) or target == "/dev/stderr":
        return True
    try:
        return not stat.S_ISREG(os.stat(target).st_mode)
    except OSError:
        return False


def check_place(target: str, example: str) -> None:
    """Raises UsageError where a file cannot be written: a folder, no such folder, no permission.

    example: of a name, for the message. Standard output, pipes and devices are good as they are.
    """
    shown = one_line(target)
    if target in STDOUT:
        return
    if is_address(target):
        from gmmcli.storage.remote_output import check_remote

        check_remote(target, example)
        return
    if not os.path.basename(target) or os.path.isdir(target):
        raise UsageError(f"{shown}: this is a folder: name a file in it, such as {example}")
    if is_direct(target):
        return
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        raise UsageError(f"{shown}: there is no folder {one_line(folder)}: create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{shown}: no permission to write in {one_line(folder)}: name another folder")


def open_to_read(path: str) -> BinaryIO:
    """The content of a file from its start. Raises OSError, of a remote file InputError."""
    if is_address(path):
        from gmmcli.storage.remote import fetch

        return fetch(path)
    return open(path, "rb")


def open_if_there(path: str) -> BinaryIO | None:
    """As `open_to_read`, but None where there is no such file."""
    if is_address(path):
        from gmmcli.storage.remote import fetch_if_there

        return fetch_if_there(path)
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def pending_file(target: str, durable: bool = True) -> PendingFile | RemoteFile:
    """A file that gets its name, or is uploaded, when it is whole; RemoteFile has PendingFile's methods.

    durable: see PendingFile.
    """
    if is_address(target):
        from gmmcli.storage.remote_output import RemoteFile

        return RemoteFile(target)
    return PendingFile(target, durable)


def make_folder(path: str) -> None:
    """Makes a folder, and those it is in, where it is not there. Raises OSError, of a remote one GmmError."""
    if is_address(path):
        from gmmcli.storage.remote_output import make_remote_folder

        make_remote_folder(path)
    else:
        os.makedirs(path, exist_ok=True)


def has_entries(folder: str) -> bool:
    """Whether there is such a folder and it has files or folders in it, hidden ones aside."""
    if is_address(folder):
        from gmmcli.storage.remote import remote

        place = remote(folder)
        return bool(place.listed(place.path))
    return os.path.isdir(folder) and any(not name.startswith(".") for name in os.listdir(folder))


def remove(path: str) -> None:
    """Removes a file, or a folder with nothing in it. Raises OSError, of a remote one GmmError."""
    if is_address(path):
        from gmmcli.storage.remote_output import remove_remote

        remove_remote(path)
    elif os.path.isdir(path):
        os.rmdir(path)
    else:
        os.unlink(path)


class PendingFile:
    """A file under a temporary name in the target's folder, which `commit` renames and `abort` removes.

    A link stays a link, to the new content; an existing file's mode is kept. stream: what is written to; temporary:
    its name meanwhile. durable: whether `commit` waits until the disk has it, so that it is there after a power
    failure.
    """

    def __init__(self, target: str, durable: bool = True) -> None:
        self._durable = durable
        self._path = os.path.realpath(target)
        # Short, since the target's own name may already be as long as a name may be.
        self.temporary = os.path.join(os.path.dirname(self._path), f".gmm-{secrets.token_hex(8)}.tmp")
        self.stream: BinaryIO = open(self.temporary, "xb")  # noqa: SIM115

    def commit(self) -> None:
        """Gives what was written its name."""
        try:
            self.stream.flush()
            if self._durable:
                os.fsync(self.stream.fileno())
            self.stream.close()
            if os.path.exists(self._path):
                shutil.copymode(self._path, self.temporary)
            os.replace(self.temporary, self._path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Removes what was written."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)
