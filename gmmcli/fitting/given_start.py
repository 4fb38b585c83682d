"""Where a fit starts when it does not start at random: a model to go on from, or given means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gmmcli.errors import InputError
from gmmcli.model.mixture import GaussianMixture
from gmmcli.storage.names import listing


@dataclass(frozen=True)
class Start:
    """A model, or means (K, D) in data units; exactly one of the two is given.

    names: the columns of it, None where they have no names and are taken by position. label: for messages.
    """

    label: str
    model: GaussianMixture | None = None
    means: Tensor | None = None
    names: tuple[str, ...] | None = None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of FitOptions that were given, and those that follow from the start and were left open.

        K follows from means as from a model; family, standardisation and a given variance from a model whose
        family is kept.
        """
        told: dict[str, Any] = {}
        if self.means is not None:
            told["components"] = len(self.means)
        if self.model is not None:
            told["components"] = self.model.components
            told["noise"] = self.model.background is not None
            if given.get("family", self.model.family) == self.model.family:
                told["family"] = self.model.family
                told["standardize"] = self.model.standardised
                if not self.model.kind.learned:
                    told["variance"] = float(self.model.inner_scale.detach().reshape(-1)[0])
        return told | dict(given) | {"init": "given"}

    def at(self, columns: Sequence[str] | None) -> GaussianMixture | Tensor:
        """The start in these columns of the data, in their order; by position where either has no names.

        Raises InputError when a column is lacking, or a mean is not finite.
        """
        if self.means is not None and not bool(self.means.isfinite().all()):
            raise InputError(f"{self.label}: the starting means are not all finite")
        order = self._order(columns)
        if self.means is not None:
            return self.means if order is None else self.means[:, order]
        assert self.model is not None
        if order is None or order == list(range(self.model.dims)):
            return self.model
        weights, means, covariances = (
            t.detach() for t in (self.model.weights, self.model.means, self.model.covariances)
        )
        weights, box = weights / weights.sum(), self.model.box
        plain = GaussianMixture.from_covariances(
            weights, means[:, order], covariances[:, order][:, :, order], self.model.family, columns=columns
        )
        if box is None or self.model.background is None:
            return plain
        p = plain.parameters_inner.beside(self.model.background)
        return GaussianMixture(
            p.weights, p.means, p.scale, plain.family, columns=columns,
            background=self.model.background.detach(), box=box[:, order],
        )  # fmt: skip

    def _order(self, columns: Sequence[str] | None) -> list[int] | None:
        if self.names is None or columns is None:
            return None
        lacking = [name for name in columns if name not in self.names]
        if lacking or (self.model is not None and len(self.names) != len(columns)):
            raise InputError(
                f"{self.label}: has the columns {listing(self.names)}, the fit uses {listing(columns)}: "
                "give the columns to use"
            )
        return [self.names.index(name) for name in columns]


def means_start(means: Tensor, names: Sequence[str] | None, label: str) -> Start:
    """A start from means (K, D)."""
    return Start(label, means=means.double(), names=None if names is None else tuple(names))


def model_start(model: GaussianMixture, label: str) -> Start:
    """A start from a model, by its column names where it has them."""
    return Start(label, model=model, names=model.columns)
