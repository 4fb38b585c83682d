"""Naive float64 formulas, written from the textbook and slow on purpose: what gmmcli is tested against.

Nothing here imports gmmcli. Densities come from explicit inverses and determinants, statistics and maximisers
from explicit sums over rows. A family is only a name here, and a shape that its covariances have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

EPS = 2.0**-52  # of float64
FAMILY_NAMES = ("full", "diagonal", "isotropic", "shared_isotropic", "constant", "tied", "shared_diagonal")
SHARED = {"shared_isotropic", "constant", "tied", "shared_diagonal"}
FULL = {"full", "tied", "evv"}
DIAGONAL = {"diagonal", "shared_diagonal"}
EQUAL_VOLUME = {"evv"}  # of tests/families/evv.py


@dataclass(frozen=True)
class Moments:
    """A mixture as weights (K,), means (K, D), covariances (K, D, D), numpy float64."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def restrict(name: str, weights: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Covariances (K, D, D) of the family that are nearest in likelihood to those given, weighted by (K,)."""
    dims = covariances.shape[-1]
    if name in SHARED:
        pooled = sum(w * c for w, c in zip(weights, covariances, strict=True)) / weights.sum()
        covariances = np.stack([pooled] * len(weights))
    if name in EQUAL_VOLUME:
        volumes = np.linalg.det(covariances) ** (1 / dims)
        return covariances * ((weights @ volumes / weights.sum()) / volumes)[:, None, None]
    if name in FULL:
        return covariances
    if name in DIAGONAL:
        return np.stack([np.diag(np.diag(c)) for c in covariances])
    return np.stack([np.eye(dims) * np.trace(c) / dims for c in covariances])


def random_moments(name: str, components: int, dims: int, seed: int = 0, spread: float = 2.0) -> Moments:
    """A random mixture of the family, its variances between about 0.3 and 3, its weights above 0.2 / K."""
    rng = np.random.default_rng([seed, components, dims])
    weights = rng.uniform(0.25, 1.0, components)
    weights /= weights.sum()
    means = rng.normal(0, spread, (components, dims))
    covariances = []
    for _ in range(components):
        basis, _ = np.linalg.qr(rng.normal(size=(dims, dims)))
        covariances.append(basis @ np.diag(np.exp(rng.uniform(-1, 1, dims))) @ basis.T)
    stacked = np.stack(covariances)
    stacked = (stacked + stacked.transpose(0, 2, 1)) / 2
    return Moments(weights, means, restrict(name, weights, stacked))


def random_rows(moments: Moments, rows: int, seed: int = 0) -> np.ndarray:
    """Rows (N, D) drawn from a mixture."""
    rng = np.random.default_rng([seed, rows])
    labels = rng.choice(len(moments.weights), rows, p=moments.weights)
    factors = np.linalg.cholesky(moments.covariances)
    noise = rng.normal(size=(rows, moments.means.shape[1]))
    return moments.means[labels] + np.einsum("nij,nj->ni", factors[labels], noise)


def log_joint(m: Moments, x: np.ndarray) -> np.ndarray:
    """log π_k + log N(x_n | μ_k, Σ_k) as (N, K)."""
    dims = x.shape[1]
    columns = []
    for weight, mean, covariance in zip(m.weights, m.means, m.covariances, strict=True):
        inverse, determinant = np.linalg.inv(covariance), np.linalg.det(covariance)
        distance = [float((row - mean) @ inverse @ (row - mean)) for row in x]
        constant = math.log(weight) - 0.5 * math.log((2 * math.pi) ** dims * determinant)
        columns.append(constant - 0.5 * np.array(distance))
    return np.stack(columns, 1)


def log_prob(m: Moments, x: np.ndarray) -> np.ndarray:
    """log p(x_n) as (N,)."""
    joint = log_joint(m, x)
    highest = joint.max(1)
    return highest + np.log(np.exp(joint - highest[:, None]).sum(1))


def responsibilities(m: Moments, x: np.ndarray) -> np.ndarray:
    """p(k | x_n) as (N, K)."""
    return np.exp(log_joint(m, x) - log_prob(m, x)[:, None])


def quadratic_features(name: str, x: np.ndarray) -> np.ndarray:
    """(N, Q): x_i x_j with i ≤ j row by row, or x_i², or ‖x‖²."""
    dims = x.shape[1]
    if name in FULL:
        return np.stack([x[:, i] * x[:, j] for i in range(dims) for j in range(i, dims)], 1)
    return x**2 if name in DIAGONAL else (x**2).sum(1, keepdims=True)


@dataclass(frozen=True)
class Statistics:
    """Σ w r, Σ w r x, Σ w r quad(x) (over k too where shared), Σ w log p and Σ w entropy of r."""

    counts: np.ndarray
    sums: np.ndarray
    quads: np.ndarray
    log_likelihood: float
    entropy: float


def statistics(name: str, m: Moments, x: np.ndarray, w: np.ndarray | None = None) -> Statistics:
    """The sufficient statistics of rows x (N, D) with row weights w (N,)."""
    w = np.ones(len(x)) if w is None else w
    r = responsibilities(m, x)
    weighted = w[:, None] * r
    quads = weighted.T @ quadratic_features(name, x)
    entropy = -np.where(r > 0, r * np.log(np.where(r > 0, r, 1)), 0).sum(1)
    return Statistics(
        weighted.sum(0),
        weighted.T @ x,
        quads.sum(0, keepdims=True) if name in SHARED else quads,
        float((w * log_prob(m, x)).sum()),
        float((w * entropy).sum()),
    )


def m_step(name: str, x: np.ndarray, r: np.ndarray, w: np.ndarray | None = None, variance: float = 1.0) -> Moments:
    """The maximiser of the expected complete log-likelihood, row by row; `variance` is constant's."""
    rows, components, dims = len(x), r.shape[1], x.shape[1]
    w = np.ones(rows) if w is None else w
    counts, means = np.zeros(components), np.zeros((components, dims))
    for n in range(rows):
        for k in range(components):
            counts[k] += w[n] * r[n, k]
            means[k] += w[n] * r[n, k] * x[n]
    means /= counts[:, None]
    scatter = np.zeros((components, dims, dims))
    for n in range(rows):
        for k in range(components):
            difference = x[n] - means[k]
            scatter[k] += w[n] * r[n, k] * np.outer(difference, difference)
    covariances = restrict(name, counts, scatter / counts[:, None, None])
    if name == "constant":
        covariances = np.stack([variance * np.eye(dims)] * components)
    return Moments(counts / counts.sum(), means, covariances)


def expected_log_joint(m: Moments, x: np.ndarray, r: np.ndarray) -> float:
    """Σ_nk r_nk log π_k N(x_n | μ_k, Σ_k), what an M-step maximises."""
    return float((r * log_joint(m, x)).sum())


def torch_mixture(name: str, logits: Tensor, means: Tensor, raw: Tensor) -> torch.distributions.Distribution:
    """MixtureSameFamily from free tensors: logits, means, and log-variances or log-diagonal Cholesky factors."""
    components, dims = means.shape
    if name in FULL:
        factor = raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())
    elif name in DIAGONAL:
        factor = torch.diag_embed((0.5 * raw).exp())
    else:
        factor = (0.5 * raw).exp()[:, None, None] * torch.eye(dims, dtype=raw.dtype)
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.MultivariateNormal(means, scale_tril=factor.expand(components, dims, dims)),
    )


def diagonal_gradient(m: Moments, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient of Σ w log p / Σ w in logits (K,), means (K, D) and log-variances (K, D), derived by hand.

    ∂/∂logit_k = Σ w (r − π_k), ∂/∂μ = Σ w r (x − μ)/v, ∂/∂log v = Σ w r ½ ((x − μ)²/v − 1), each over Σ w.
    """
    variances = np.stack([np.diag(c) for c in m.covariances])
    r = responsibilities(m, x)
    logits, means, raw = np.zeros(len(m.weights)), np.zeros_like(m.means), np.zeros_like(m.means)
    for n in range(len(x)):
        for k in range(len(m.weights)):
            difference = x[n] - m.means[k]
            logits[k] += w[n] * (r[n, k] - m.weights[k])
            means[k] += w[n] * r[n, k] * difference / variances[k]
            raw[k] += w[n] * r[n, k] * 0.5 * (difference**2 / variances[k] - 1)
    return logits / w.sum(), means / w.sum(), raw / w.sum()
