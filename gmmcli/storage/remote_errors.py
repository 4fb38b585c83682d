"""Errors of stores and of the web as one line that says what to do.

- `reaching`: a context that turns any error into a GmmError. `explained`: the GmmError of one, if it is known.

pyarrow and the libraries behind fsspec raise OSError or a class of their own for nearly everything, and say only in
the text what went wrong. So the text is searched here, and nowhere else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pyarrow as pa

from gmmcli.errors import GmmError, InputError, UsageError
from gmmcli.storage.names import one_line

_UNREACHABLE = re.compile(
    r"NETWORK_CONNECTION|curlCode|UNAVAILABLE|DEADLINE_EXCEEDED|(?i:cannot connect|could not (connect|resolve)"
    r"|timed? ?out|connection (refused|reset)|name or service not known)"
)
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|PERMISSION_DENIED"
    r"|UNAUTHENTICATED|Authentication(?:Failed|Exception)|Authorization\w*Failure|HTTP status 40[013]\b"
)  # S3 answers 400 to a token that has expired
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|ContainerNotFound|(?i:bucket '[^']*' not found)")
_AROUND = re.compile(
    r"^.* during \w+ operation: (?:.*Details: )?| \(Request ID: [^)]*\)"  # S3
    r"|^google::cloud::Status\((?:.*with a last message of )?| error_info=.*"
)
_LONGEST_REASON = 300


@contextlib.contextmanager
def reaching(label: str, wrong: type[GmmError] = InputError, deed: str = "opened") -> Iterator[None]:
    """Turns any error in the block into a GmmError. wrong: its class where the address is at fault."""
    try:
        yield
    except (GmmError, MemoryError):
        raise
    except Exception as error:  # behind fsspec are libraries of all kinds, each with errors of its own
        known = explained(label, error, wrong) or wrong(f"cannot be {deed}: {_reason(error)}", subject=label)
        # The text of an ArrowInvalid quotes the address with the keys in it, which a traceback would show.
        raise known from (None if isinstance(error, pa.ArrowInvalid) else error)


def explained(label: str, error: BaseException, wrong: type[GmmError] = InputError) -> GmmError | None:
    """The GmmError for an error between here and the file; None for one that may be due to the file's content."""
    text, why = str(error), _reason(error)
    if isinstance(error, ConnectionError | TimeoutError) or _UNREACHABLE.search(text):
        return GmmError(f"cannot be reached: {why}", subject=label, remedy="check the network and the endpoint")
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403) or _DENIED.search(text):
        detail = f" ({why})" if _DENIED.search(text) and not why.startswith("No response body") else ""
        return wrong(f"access denied{detail}", subject=label, remedy="check the credentials and what they permit")
    if _NO_BUCKET.search(text):
        return wrong("there is no such bucket", subject=label, remedy="check its name")
    if isinstance(error, FileNotFoundError):
        return wrong("no such file", subject=label, remedy="check the name and the folder")
    if text.startswith("Cannot parse URI"):
        remedy = "check the bucket's name, and write signs in a key as %2F for /"
        return UsageError("not an address", subject=label, remedy=remedy)
    if text.startswith("Protocol not known"):
        known = "s3, gs, abfs, hdfs, http, https and those of fsspec are known"
        return UsageError(f"unknown scheme: {known}", subject=label)
    if isinstance(error, ImportError):
        remedy = "install it; pip install 'gmmcli[remote]' brings fsspec"
        return UsageError(f"not all is installed that this scheme needs: {why}", subject=label, remedy=remedy)
    if "libjvm" in text or "libhdfs" in text:
        return UsageError(f"hdfs needs Java and Hadoop's libhdfs: {why}", subject=label)
    return None


def _reason(error: BaseException) -> str:
    """The error in few words, without the words that a store's library adds."""
    lines = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()
    text = _AROUND.sub("", lines[0]) or type(error).__name__
    return one_line(text, _LONGEST_REASON).rstrip(".")
