"""What Ctrl-C or a SIGTERM leaves of a fit, told in a line.

- `telling_what_is_kept`: tells it. `kept_of_fit`, `kept_of_grid`: its words for a single fit and for several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gmmcli.cli.console import Console
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from gmmcli.choosing.store import FolderStore
    from gmmcli.fitting.checkpoint import Checkpoint


@contextmanager
def telling_what_is_kept(console: Console, words: Callable[[], str]) -> Iterator[None]:
    """Where the block is interrupted, a line says what is kept of it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter of a SIGTERM
        console.note(f"gmm: interrupted: {words()}")
        raise


def kept_of_fit(checkpoints: Checkpoint | None) -> str:
    """What is kept of a single fit."""
    if checkpoints is None:
        return "nothing of the fit is kept: --checkpoint FILE would keep it"
    shown = printable(checkpoints.path)
    if not checkpoints.exists:
        return f"nothing is kept in {shown} yet"
    return f"the fit is kept in {shown} as far as it came: --resume goes on from it"


def kept_of_grid(store: FolderStore | None, fits: int) -> str:
    """What is kept of so many fits."""
    if store is None:
        return "none of the fits is kept: --resume would keep those that are done"
    if not store.cells:
        return f"no fit is kept, as none of {fits} was done"
    return f"{store.cells} of {fits} fits are kept in {printable(store.folder)}: the same command goes on from them"
