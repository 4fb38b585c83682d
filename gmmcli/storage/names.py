"""Names from outside, of columns and files, as a message of one line may hold them.

- `one_line`: any text, control characters escaped and the credentials of addresses hidden.
- `printable`: a name, also cut in its middle if long, and quoted where its ends are unclear.
- `listing`: many names.
"""

from __future__ import annotations

from collections.abc import Collection

from gmmcli.storage.addresses import masked

_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 120
_SHOWN_AT_END = 80  # of them: a path ends in the file's name


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, control characters escaped, credentials hidden; `longest`: cut to so many characters."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in masked(text)
    )
    return shown if longest is None or len(shown) <= longest else shown[: longest - 1] + "…"


def printable(name: str) -> str:
    """The name with control characters escaped, cut in its middle if long, quoted where its ends are unclear."""
    shown = one_line(name)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[: _SHOWN_CHARACTERS - _SHOWN_AT_END - 1] + "…" + shown[-_SHOWN_AT_END:]
    return f"'{shown}'" if shown != shown.strip() or not shown or "," in shown else shown


def listing(names: Collection[str]) -> str:
    """The names for a message, joined by commas, the first 20 where there are many."""
    shown = [printable(name) for name in list(names)[:_SHOWN_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
