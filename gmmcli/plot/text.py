"""Words on a picture: how large they are, and how they are brought into a given width.

- `text_size`: of a text as the renderer of its figure sets it; all that needs the room of words asks it.
- `wrapped`: sentences on several lines. `fold`: a name on a few, cut if too long. Both by a function that says what
  fits, such as `within` makes. `plain`: text that is no formula. `undrawable`: letters without a font.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FONT = "DejaVu Sans"  # comes with matplotlib: the same letters on every machine


def text_size(figure: Figure, text: str, size: float, **more: Any) -> np.ndarray:
    """Width and height in points, (2,), of a text of this size of letters; more: of a Text, such as fontweight."""
    from matplotlib.text import Text

    probe = plain(Text(0, 0, text, fontsize=size, **more))
    probe.set_figure(figure)
    return np.array(probe.get_window_extent().size) * 72 / figure.dpi


def within(figure: Figure, points: float, size: float) -> Callable[[str], bool]:
    """Whether a text of this size of letters is no wider than so many points."""
    return lambda text: bool(text_size(figure, text, size)[0] <= points)


def undrawable(texts: Iterable[str]) -> str:
    """The letters, each once, that pictures have no font for and draw as boxes."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT)))
    letters = dict.fromkeys(one_line("".join(texts)))
    return "".join(letter for letter in letters if not font.get_char_index(ord(letter)))


def plain(text: Text) -> Text:
    """Text in which a dollar sign is a dollar sign, not the beginning of a formula."""
    text.set_parse_math(False)
    return text


def wrapped(text: str, fits: Callable[[str], bool]) -> str:
    """Words on lines that fit, as far as single words do; none begins with the dot between two parts."""
    lines = [""]
    for word in re.split(r" (?!·)", text):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and not fits(longer):
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def fold(name: str, fits: Callable[[str], bool], lines: int = 2) -> str:
    """A name on a few short lines, broken after spaces and underscores where there are any, cut if too long."""
    parts = [""]
    for piece in re.findall(r"[^ _]+[ _]*|[ _]+", one_line(name)):
        if parts[-1] and not fits(parts[-1] + piece.rstrip()):
            parts.append("")
        parts[-1] += piece
    if len(parts) > lines:
        parts = [*parts[: lines - 1], "".join(parts[lines - 1 :])]
    return "\n".join(_cut(part.strip(), fits) for part in parts)


def _cut(part: str, fits: Callable[[str], bool]) -> str:
    """The part, or as much of it as fits with an ellipsis; one letter at least."""
    if fits(part):
        return part
    length = next((n for n in range(len(part) - 1, 1, -1) if fits(part[:n] + "…")), 1)
    return part[:length] + "…"
