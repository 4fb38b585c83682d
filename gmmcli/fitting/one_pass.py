"""The pass: one reading of the data gives, for each of several mixtures, statistics and log-likelihood.

    logits = η Φᵀ    r = softmax over K    log-likelihood = Σ w logsumexp    T += (w r) Φ

with Φ = [1, z, quad(z)] held as features × rows, worked in chunks that stay in the cache. Where a family shares
its covariance the quadratic term is the same for every component: it drops out of r, its sum is a constant of
the data, and the pass runs on the linear features [1, z] alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.statistics import FixedPoint, SufficientStatistics, log_likelihood_bound
from gmmcli.fitting.workers import map_blocks

CHUNK_NUMBERS = 1 << 17  # features and logits of a chunk: 1 MiB in float64, half of an L2 cache
SMALLEST_LOGIT = -80.0  # exp of less underflows in float32, which costs 35 times the time; e⁻⁸⁰ is nothing


@dataclass(frozen=True)
class _Query:
    """One mixture as the chunks need it: coefficients on [1, z] or on [1, z, quad], and bounds of its sums."""

    coefficients: Tensor  # (K, P)
    sums: FixedPoint


def one_pass(
    data: PreparedData,
    family: Family,
    mixtures: Sequence[Parameters],
    *,
    threads: int,
    entropy: bool = False,
    blocks: Iterable[PreparedBlock] | None = None,
    reduce: Callable[[Tensor], Tensor] = lambda limbs: limbs,
) -> list[SufficientStatistics | NumericalError]:
    """Statistics of each mixture, in the order given; log-likelihoods are in the coordinates of the fit.

    Where a sum of a mixture is not finite its place holds the NumericalError: the others are none the worse.

    mixtures: any number of parameters of one family. entropy: also sum the entropy of r. blocks: the part of the
    data to pass over, all of it when None (a mini-batch passes its own). reduce: adds int64 sums over the
    processes that hold other rows.
    """
    linear_only = family.shared and blocks is None
    queries = [_query(data, family, p, linear_only, entropy) for p in mixtures]
    rows = _chunk_rows(len(mixtures[0].weights), queries[0].coefficients.shape[1])

    def work(block: PreparedBlock) -> list[FixedPoint]:
        sums = _block_sums(block, family, [q.coefficients for q in queries], rows, linear_only, entropy)
        return [query.sums.encode(values) for query, values in zip(queries, sums, strict=True)]

    totals = [query.sums for query in queries]
    for parts in map_blocks(work, data.blocks if blocks is None else blocks, threads):
        totals = [total.merge(part) for total, part in zip(totals, parts, strict=True)]
    totals = [total.reduced(reduce) for total in totals]
    quads = data.total_quads(family, threads, reduce) if linear_only else None
    answers: list[SufficientStatistics | NumericalError] = []
    for p, total in zip(mixtures, totals, strict=True):
        try:
            answers.append(_statistics(family, p, total.decode(), entropy, quads))
        except NumericalError as error:
            answers.append(error)
    return answers


def _query(data: PreparedData, family: Family, p: Parameters, linear_only: bool, entropy: bool) -> _Query:
    eta = family.coefficients(p)
    quad_bound = family.quad_bound(data.bound)
    if linear_only:
        coefficients, features = eta.linear, data.bound
        largest = log_likelihood_bound(eta.linear, 0 * eta.quad, data.bound, quad_bound, data.weight)
    else:
        coefficients = torch.cat([eta.linear, eta.quad.expand(p.components, -1)], 1)
        features = torch.cat([data.bound, quad_bound])
        largest = log_likelihood_bound(eta.linear, eta.quad, data.bound, quad_bound, data.weight)
    bounds = [
        (data.weight * features).repeat(p.components),
        torch.tensor([largest] * (2 if entropy else 1), dtype=torch.float64),
    ]
    return _Query(coefficients.to(data.device, data.dtype), FixedPoint.zeros(torch.cat(bounds)))


def _chunk_rows(components: int, features: int) -> int:
    """Rows of a chunk: a multiple of 64, from 64 to 16384, by the sizes of the problem alone."""
    return min(16384, max(64, CHUNK_NUMBERS // (components + features) // 64 * 64))


def _block_sums(
    block: PreparedBlock,
    family: Family,
    coefficients: Sequence[Tensor],  # (K, P) each
    rows: int,
    linear_only: bool,
    entropy: bool,
) -> list[Tensor]:
    """For each mixture (K·P + 1 or 2,) float64 on the host: T, log-likelihood and, when asked for, entropy."""
    device, wide = block.z.device, block.z.device.type != "mps"  # MPS has no float64: its sums go to the host
    store = torch.device("cpu") if not wide else device
    sums = [torch.zeros(c.shape, dtype=torch.float64, device=store) for c in coefficients]
    scalars = [torch.zeros(2 if entropy else 1, dtype=torch.float64, device=store) for _ in coefficients]
    dims = block.z.shape[0] - 1
    features = block.z.new_empty(coefficients[0].shape[1], rows)
    for first in range(0, block.z.shape[1], rows):
        z = block.z[:, first : first + rows]
        weights = None if block.weights is None else block.weights[first : first + rows]
        if linear_only:
            phi = z
        else:
            phi = features[:, : z.shape[1]]
            phi[: 1 + dims] = z
            family.quad(z[1:], out=phi[1 + dims :])
        for eta, total, scalar in zip(coefficients, sums, scalars, strict=True):
            r = eta @ phi  # (K, B) logits
            highest = r.amax(0)
            r.sub_(highest).clamp_(min=SMALLEST_LOGIT)
            shifted = r.clone() if entropy else None
            r.exp_()
            normaliser = r.sum(0)
            log_likelihood = highest + normaliser.log()  # (B,)
            r.div_(normaliser)
            if weights is not None:
                r.mul_(weights)
                log_likelihood = log_likelihood * weights
            scalar[0] += log_likelihood.to(store, torch.float64).sum()
            if shifted is not None:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
                plain = normaliser.log() * (1 if weights is None else weights)
                scalar[1] += (plain - (r * shifted).sum(0)).to(store, torch.float64).sum()
            total += (r @ phi.mT).to(store, torch.float64)
    return [torch.cat([t.flatten(), s]).cpu() for t, s in zip(sums, scalars, strict=True)]


def _statistics(
    family: Family,
    p: Parameters,
    values: Tensor,
    entropy: bool,
    total_quads: Tensor | None,  # (1, Q)
) -> SufficientStatistics:
    scalars = values[-2:] if entropy else values[-1:]
    sums = values[: -len(scalars)].reshape(p.components, -1)
    counts, first, quads = sums[:, 0], sums[:, 1 : 1 + p.dims], sums[:, 1 + p.dims :]
    log_likelihood = float(scalars[0])
    if total_quads is not None:
        quads = total_quads
        log_likelihood += float((family.quad_coefficients(p.scale) * quads).sum())
    elif family.shared:
        quads = quads.sum(0, keepdim=True)
    return SufficientStatistics(
        counts=counts,
        sums=first,
        quads=quads,
        log_likelihood=log_likelihood,
        weight=float(counts.sum()),
        entropy=float(scalars[1]) if entropy else None,
    )
