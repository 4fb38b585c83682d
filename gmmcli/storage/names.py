"""Names of columns and files from outside, made fit for a message of one line.

- `one_line`: any text with control characters escaped and the credentials of addresses hidden.
- `printable`: a name, which is also cut in its middle if long, and quoted where its ends are unclear.
- `listing`: several names.
"""

from __future__ import annotations

from collections.abc import Collection

from gmmcli.storage.addresses import masked

_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 120
_SHOWN_AT_END = 80  # some of these are the end: a path ends in the file's name


def one_line(text: str, longest: int | None = None) -> str:
    """The text on one line, control characters escaped, credentials hidden. longest: most characters, or None."""
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
    """The names joined by commas: the first 20, and the number of the others."""
    shown = [printable(name) for name in list(names)[:_SHOWN_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
