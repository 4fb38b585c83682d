"""Colours that readers of any colour vision tell apart, and the words on a picture."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gmmcli.plot.axes import fold
from gmmcli.plot.style import BACKGROUND, INK, PALETTE, colour, label, percent, undrawable

# What is seen without the red and without the green cone, in linear RGB: Machado, Oliveira & Fernandes (2009).
SIGHTS = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def oklab(hexes: list[str], sight: np.ndarray) -> np.ndarray:
    """Colours as they are seen, in OKLab (Ottosson 2020)."""
    rgb = np.array([to_rgb(h) for h in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    opponents = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(np.clip(linear @ sight.T, 0, 1) @ np.array(cones).T) @ np.array(opponents).T


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("count", "apart"), [(12, 0.06), (len(PALETTE), 0.045)])
def test_components_are_told_apart(count: int, apart: float, sight: str) -> None:
    others = ["#ffffff", INK, *([BACKGROUND] if count <= 12 else [])]
    seen = oklab([*PALETTE[:count], *others], SIGHTS[sight])
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(len(seen))
    assert distances.min() > apart, divmod(int(distances.argmin()), len(seen))


def test_letters_without_a_font() -> None:
    assert undrawable(["身長 (cm)", "体重 μ², é"]) == "身長体重"
    assert not undrawable(["mass_g", "µ ± σ², naïve", "a\nb"])


def test_colours_by_number() -> None:
    assert colour(-1) == BACKGROUND
    assert [colour(k) for k in (0, len(PALETTE) - 1)] == [PALETTE[0], PALETTE[-1]]
    assert colour(len(PALETTE)) == PALETTE[0]


def test_shares() -> None:
    assert [percent(share) for share in (1.0, 0.45, 0.0994, 0.0004, 0.0)] == [
        "100 %",
        "45 %",
        "9.9 %",
        "< 0.1 %",
        "0.0 %",
    ]
    assert label(3, 0.5) == "component 3 · 50 %"
    assert label(3, 0.5, short=True) == "3 · 50 %"
    assert label(-1, 0.05) == "background · 5.0 %"


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("short", "short"),
        ("unit_of_measure_in_lab", "unit_of_\nmeasure_in…"),
        ("abcdefghijklmnop", "abcdefghij…"),
    ],
)
def test_long_names_are_folded(name: str, folded: str) -> None:
    assert fold(name, 11) == folded.split("\n")
