"""`Marginal`: a mixture in the few coordinates of a picture, and what is drawn of it, as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MASSES = (0.1, 0.3, 0.5, 0.7, 0.9)  # that the contours of a density hold
DRAWS = 4000  # of the mixture, to find the density on those contours
WINDOW_CELLS = 160  # along each side, to find how far the outermost contour reaches
_UNIT_CIRCLE = np.linspace(0, 2 * np.pi, 121)[:-1]


@dataclass(frozen=True)
class Marginal:
    """A mixture of d coordinates; `background` is the weight of one over `box`, with which the weights sum to 1."""

    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, d)
    covariances: np.ndarray  # (K, d, d)
    background: float = 0.0
    box: np.ndarray | None = None  # (2, d)

    @property
    def std(self) -> np.ndarray:
        """Standard deviations, (K, d)."""
        return np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))

    def take(self, *places: int) -> Marginal:
        """The mixture of some of the coordinates."""
        index = list(places)
        box = None if self.box is None else self.box[:, index]
        inner = self.covariances[:, index][:, :, index]
        return Marginal(self.weights, self.means[:, index], inner, self.background, box)

    def factors(self) -> np.ndarray:
        """Lower L of the covariances L Lᵀ of two coordinates, (K, 2, 2), also where they are nearly singular."""
        std = self.std
        slope = self.covariances[:, 0, 1] / std[:, 0]
        rest = np.sqrt(np.maximum(std[:, 1] ** 2 - slope**2, (1e-9 * std[:, 1]) ** 2))
        factors = np.zeros_like(self.covariances)
        factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = std[:, 0], slope, rest
        return factors

    def ellipses(self, radius: float) -> np.ndarray:
        """Points on the curves of this many standard deviations, (K, points, 2)."""
        circle = radius * np.stack([np.cos(_UNIT_CIRCLE), np.sin(_UNIT_CIRCLE)])
        return self.means[:, None, :] + np.swapaxes(self.factors() @ circle, 1, 2)

    def weighted_densities(
        self,
        points: np.ndarray,  # (B, d), d = 1 or 2
    ) -> np.ndarray:
        """π_k N(x | μ_k, Σ_k) of each component, (K, B), in one coordinate or in two."""
        if self.means.shape[1] == 1:
            volume = self.std[:, 0]
            squares = ((points[None, :, 0] - self.means) / self.std) ** 2
        else:
            factors = self.factors()
            apart = points[None] - self.means[:, None]
            first = apart[:, :, 0] / factors[:, 0, 0, None]
            second = (apart[:, :, 1] - factors[:, 1, 0, None] * first) / factors[:, 1, 1, None]
            volume = factors[:, 0, 0] * factors[:, 1, 1]
            squares = first**2 + second**2
        heights = self.weights / (volume * (2 * np.pi) ** (self.means.shape[1] / 2))
        return heights[:, None] * np.exp(-0.5 * np.minimum(squares, 1400))

    def levels(self) -> np.ndarray:
        """Densities of two coordinates above which the MASSES of the components lie, rising, each once.

        They are quantiles of the density at rows drawn from the components: a grid would miss narrow ones.
        """
        draw = np.random.default_rng(0)
        component = draw.choice(len(self.weights), DRAWS, p=self.weights / self.weights.sum())
        noise = draw.standard_normal((DRAWS, 2))
        points = self.means[component] + np.einsum("nij,nj->ni", self.factors()[component], noise)
        density = self.weighted_densities(points).sum(0)
        return np.unique(np.quantile(density, [1 - mass for mass in MASSES]))

    def reach(self, level: float) -> np.ndarray:
        """Least and greatest coordinates, (2, 2), of the places where the density exceeds a level.

        Where it does, some π_k N_k exceeds level / K, which bounds the window that is searched.
        """
        factors = self.factors()
        peaks = self.weights / (2 * np.pi * factors[:, 0, 0] * factors[:, 1, 1])
        radii = np.sqrt(2 * np.log(np.maximum(peaks * len(self.weights) / level, 1)))
        extent = radii[:, None] * self.std
        low, high = (self.means - extent).min(0), (self.means + extent).max(0)
        sides = [np.linspace(low[d], high[d], WINDOW_CELLS) for d in range(2)]
        mesh = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
        inside = mesh[self.weighted_densities(mesh).sum(0) >= level]
        if not len(inside):  # narrower than a cell
            return np.stack([low, high])
        cell = (high - low) / (WINDOW_CELLS - 1)
        return np.stack([np.maximum(inside.min(0) - cell, low), np.minimum(inside.max(0) + cell, high)])

    def bounds(self, radius: float) -> np.ndarray:
        """Least and greatest coordinates, (2, d), of the box and of components to so many standard deviations."""
        low, high = (self.means - radius * self.std).min(0), (self.means + radius * self.std).max(0)
        if self.box is not None:
            low, high = np.minimum(low, self.box[0]), np.maximum(high, self.box[1])
        return np.stack([low, high])
