"""`Picture`: all that is drawn of a mixture and its data, as numbers, before any of it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gmmcli.model.mixture import GaussianMixture
from gmmcli.plot.coordinates import Coordinates, choose_coordinates
from gmmcli.plot.marginal import Marginal
from gmmcli.plot.rows import RowSample, sample_rows

ELLIPSES = (1.0, 2.0)  # standard deviations
BY_WEIGHT = ("bars by weight", "opacity by weight", "opacity and bars by weight")  # of a line, a plane, a grid
LEAST_WEIGHT = 1e-9  # of a row against the heaviest, so that no sum of weights, or of their squares, underflows
LINE_REACH = 3.0  # standard deviations of a component that a picture of one coordinate shows at least


@dataclass(frozen=True)
class Picture:
    """marginal: the mixture in the coordinates. points, components, weights: the rows drawn, whose they are, and
    what they weigh against the heaviest of them."""

    coordinates: Coordinates
    marginal: Marginal
    points: np.ndarray  # (B, d)
    components: np.ndarray  # (B,) int64, −1 for the background
    weights: np.ndarray  # (B,) above 0, the heaviest 1
    caption: str

    @property
    def dims(self) -> int:
        """d: 1 for a histogram, 2 for a plane, more for a grid."""
        return self.coordinates.dims

    @property
    def weighted(self) -> bool:
        """Whether some rows weigh more than others."""
        return bool((self.weights < 1).any())

    def limits(self) -> np.ndarray:
        """Least and greatest coordinates, (2, d), of the points, the ellipses and, in a plane, the contours."""
        found = [self.marginal.bounds(LINE_REACH if self.dims == 1 else max(ELLIPSES))]
        if self.dims == 2:
            found.append(self.marginal.reach(float(self.marginal.levels()[0])))
        if self.points.size:
            with np.errstate(all="ignore"):
                found += [np.fmin.reduce(self.points, 0)[None], np.fmax.reduce(self.points, 0)[None]]
        stacked = np.concatenate(found)
        return np.stack([np.nanmin(stacked, 0), np.nanmax(stacked, 0)])


def picture(
    data: Any,
    model: GaussianMixture,
    *,
    columns: Sequence[str] | None = None,
    projection: str | None = None,
    coordinates: Coordinates | None = None,
    weights: Any = None,
) -> Picture:
    """The picture of a mixture and of data or None; `coordinates` are chosen by choose_coordinates unless given."""
    coordinates = coordinates or choose_coordinates(model, columns, projection)
    sample = sample_rows(data, model, coordinates, weights)
    sizes = f"{model.components} component{'s' if model.components > 1 else ''}, family {model.family}"
    if sample is None:
        empty = np.empty((0, coordinates.dims)), np.empty(0, dtype=np.int64), np.empty(0)
        return Picture(coordinates, coordinates.of_model(model), *empty, caption=_joined(sizes, coordinates.note))
    relative = _relative(sample)
    by_weight = BY_WEIGHT[min(coordinates.dims, len(BY_WEIGHT)) - 1] if (relative < 1).any() else ""
    return Picture(
        coordinates,
        coordinates.of_model(model),
        coordinates.of_rows(sample.x),
        _components(sample, model),
        relative,
        caption=_joined(sample.caption(), by_weight, sizes, coordinates.note),
    )


def _relative(sample: RowSample) -> np.ndarray:
    """The weights of the rows against the heaviest, (B,)."""
    if sample.weights is None or not len(sample.weights):
        return np.ones(len(sample.x))
    return (sample.weights / sample.weights.max()).clamp(min=LEAST_WEIGHT).cpu().numpy()


def _components(sample: RowSample, model: GaussianMixture) -> np.ndarray:
    """The most probable component of each row, judged by all the cells that it has."""
    if not len(sample.x):
        return np.empty(0, dtype=np.int64)
    with torch.no_grad():
        return model.most_probable(sample.x, marginal=True)[0].cpu().numpy()


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
