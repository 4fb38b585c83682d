"""`Start`: a given start of a fit, instead of random ones: a model to go on from, or means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gmmcli.errors import InputError, Option, Remedy
from gmmcli.model.mixture import GaussianMixture
from gmmcli.storage.names import listing

OPTION = Option("init")


@dataclass(frozen=True)
class Start:
    """A model, or means (K, D) in data units: one of the two.

    names: columns of the means; None to match them by position. option: for messages.
    """

    model: GaussianMixture | None = None
    means: Tensor | None = None
    names: Sequence[str] | None = None
    option: Option = OPTION

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given fields of FitOptions, and the fields that the start implies.

        Means and a model imply K. A model also implies the background and, unless another family is given, family,
        standardisation and a given variance.
        """
        implied: dict[str, Any] = {}
        if self.means is not None:
            implied["components"] = len(self.means)
        if self.model is not None:
            implied |= {"components": self.model.components, "noise": self.model.background is not None}
            if given.get("family", self.model.family) == self.model.family:
                implied |= {"family": self.model.family, "standardize": self.model.standardised}
                if not self.model.kind.learned:
                    implied["variance"] = float(self.model.inner_scale.detach().reshape(-1)[0])
        return implied | dict(given) | {"init": "given"}

    def at(self, columns: Sequence[str] | None) -> GaussianMixture | Tensor:
        """The start in these columns of the data, in their order; by position if either has no names.

        Raises InputError when a column is absent, or a mean is not finite.
        """
        if self.means is not None and not bool(self.means.isfinite().all()):
            raise InputError("the starting means are not all finite", subject=self.option)
        start = self.model if self.means is None else self.means.double()
        names = self.names if self.model is None else self.model.columns
        assert start is not None
        if names is None or columns is None:
            return start
        if not set(columns) <= set(names) or (self.model is not None and len(names) != len(columns)):
            raise InputError(
                f"has the columns {listing(names)}, the fit uses {listing(columns)}",
                subject=self.option,
                remedy=Remedy("give the columns to use with", "columns"),
            )
        order = [names.index(name) for name in columns]
        if isinstance(start, Tensor):
            return start[:, order]
        return start if order == list(range(start.dims)) else _reordered(start, order, columns)


def _reordered(model: GaussianMixture, order: list[int], columns: Sequence[str]) -> GaussianMixture:
    """The mixture in plain data units, its columns in this order."""
    weights, means, covariances = (t.detach() for t in (model.weights, model.means, model.covariances))
    covariances = covariances[:, order][:, :, order]
    p = model.kind.from_moments(weights / weights.sum(), means[:, order], covariances)
    if model.background is not None:
        p = p.beside(model.background.detach())
    box = None if model.box is None else model.box[:, order]
    return GaussianMixture.of(p, model.family, columns=columns, box=box)
