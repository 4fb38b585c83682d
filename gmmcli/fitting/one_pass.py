"""The pass: one reading of the data gives, for each of several mixtures, statistics and log-likelihood.

    logits = η Φᵀ    r = softmax over K    log-likelihood = Σ w logsumexp    T += (w r) Φ

with Φ = [1, z, quad(z)] held as features × rows, worked in chunks that stay in the cache. Where a family shares
its covariance the quadratic term is the same for every component: it drops out of r, its sum is a constant of
the data, and the pass runs on the linear features [1, z] alone.

Large terms of η·φ may cancel to a small logit. Where their rounding could reach ROUNDING_LIMIT, a bound that
is known before the pass, a mixture is evaluated in float64 from differences to its means instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.prepared import PreparedBlock, PreparedData
from gmmcli.fitting.statistics import FixedPoint, SufficientStatistics
from gmmcli.fitting.workers import map_blocks

CHUNK_NUMBERS = 1 << 19  # features and logits of a chunk; measured: 2^17 is too little for wide features
SMALLEST_LOGIT = -80.0  # exp of less underflows in float32, which costs 35 times the time; e⁻⁸⁰ is nothing
ROUNDING_LIMIT = 1e-2  # nats: how far a logit may be off by cancellation, in a worst case that rows do not reach


@dataclass(frozen=True)
class _Query:
    """One mixture as the chunks need it.

    coefficients: (K, P) on [1, z], or on [1, z, quad], in the precision of the data; None where the mixture is
    evaluated from differences. sums: empty, with the bounds of T, log-likelihood and, when asked for, entropy.
    """

    parameters: Parameters
    coefficients: Tensor | None
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

    def work(block: PreparedBlock) -> list[FixedPoint]:
        sums = _block_sums(block, family, queries, linear_only, entropy)
        return [query.sums.encode(values) for query, values in zip(queries, sums, strict=True)]

    totals = [query.sums for query in queries]
    for parts in map_blocks(work, data.blocks if blocks is None else blocks, threads):
        totals = [total.merge(part) for total, part in zip(totals, parts, strict=True)]
    quads = data.total_quads(family, threads, reduce) if linear_only else None
    answers: list[SufficientStatistics | NumericalError] = []
    for query, total in zip(queries, totals, strict=True):
        try:
            answers.append(_statistics(family, query, total.reduced(reduce).decode(), entropy, quads))
        except NumericalError as error:
            answers.append(error)
    return answers


def _query(data: PreparedData, family: Family, p: Parameters, linear_only: bool, entropy: bool) -> _Query:
    eta = family.coefficients(p)
    quad_bound = family.quad_bound(data.bound)
    terms = (eta.linear.abs() @ data.bound + eta.quad.abs() @ quad_bound).max()  # what may cancel in a logit
    exact = float(terms) * torch.finfo(data.dtype).eps / 2 > ROUNDING_LIMIT
    coefficients = eta.linear
    features = data.bound
    if exact or not linear_only:
        coefficients = torch.cat([eta.linear, eta.quad.expand(p.components, -1)], 1)
        features = torch.cat([data.bound, quad_bound])
    largest = data.weight * (terms + math.log(p.components))  # bounds Σ w |log p| and Σ w entropy
    bound = torch.cat([(data.weight * features).repeat(p.components), largest.repeat(2 if entropy else 1)])
    moved = None if exact else coefficients.to(data.device, data.dtype)
    return _Query(p.to(_wide_device(data.device)), moved, FixedPoint.zeros(bound))


def _chunk_rows(components: int, features: int) -> int:
    """Rows of a chunk: a multiple of 64, from 256 to 16384, by the sizes of the problem alone."""
    return min(16384, max(256, CHUNK_NUMBERS // (components + features) // 64 * 64))


def _wide_device(device: torch.device) -> torch.device:
    """Where float64 sums are kept: MPS has none, so its sums go to the host."""
    return torch.device("cpu") if device.type == "mps" else device


def _block_sums(
    block: PreparedBlock, family: Family, queries: Sequence[_Query], linear_only: bool, entropy: bool
) -> list[Tensor]:
    """For each mixture (K·P + 1 or 2,) float64 on the host: T, log-likelihood and, when asked for, entropy."""
    store = _wide_device(block.z.device)
    totals = [torch.zeros(len(query.sums.high), dtype=torch.float64, device=store) for query in queries]
    quick = [(q.coefficients, total) for q, total in zip(queries, totals, strict=True) if q.coefficients is not None]
    if quick:
        _from_features(block, family, quick, linear_only, entropy)
    for query, total in zip(queries, totals, strict=True):
        if query.coefficients is None:
            _from_differences(block, family, query.parameters, total, entropy)
    return [total.cpu() for total in totals]


def _from_features(
    block: PreparedBlock,
    family: Family,
    mixtures: Sequence[tuple[Tensor, Tensor]],  # coefficients (K, P) and totals (K·P + 1 or 2,)
    linear_only: bool,
    entropy: bool,
) -> None:
    """Adds the block to the totals of mixtures that share the features of each chunk."""
    dims = block.z.shape[0] - 1
    components, width = mixtures[0][0].shape
    rows = _chunk_rows(components, width)
    features = block.z.new_empty(width, min(rows, block.z.shape[1]))
    for first in range(0, block.z.shape[1], rows):
        z = block.z[:, first : first + rows]
        weights = None if block.weights is None else block.weights[first : first + rows]
        phi = z
        if not linear_only:
            phi = features[:, : z.shape[1]]
            phi[: 1 + dims] = z
            family.quad(z[1:], out=phi[1 + dims :])
        for eta, total in mixtures:
            r = _soften(eta @ phi, weights, total, entropy)
            total[: eta.numel()] += (r @ phi.mT).to(total.device, total.dtype).flatten()


def _from_differences(block: PreparedBlock, family: Family, p: Parameters, total: Tensor, entropy: bool) -> None:
    """Adds the block to the totals of one mixture, in float64, its logits from differences to the means."""
    rows = _chunk_rows(p.components * p.dims, p.dims)
    for first in range(0, block.z.shape[1], rows):
        z = block.z[:, first : first + rows].to(total.device, total.dtype)
        weights = None if block.weights is None else block.weights[first : first + rows].to(z)
        phi = torch.cat([z, family.quad(z[1:])])
        r = _soften(family.log_joint(p, z[1:].mT).mT.contiguous(), weights, total, entropy)
        total[: r.shape[0] * len(phi)] += (r @ phi.mT).flatten()


def _soften(
    logits: Tensor,  # (K, B), overwritten
    weights: Tensor | None,  # (B,)
    total: Tensor,
    entropy: bool,
) -> Tensor:
    """w r, (K, B), in the place of the logits; adds log-likelihood and entropy to the end of the total."""
    highest = logits.amax(0)
    r = logits.sub_(highest).clamp_(min=SMALLEST_LOGIT)
    shifted = r.clone() if entropy else None
    r.exp_()
    normaliser = r.sum(0)
    log_normaliser = normaliser.log()
    log_likelihood = highest + log_normaliser  # (B,)
    r.div_(normaliser)
    if weights is not None:
        r.mul_(weights)
        log_likelihood = log_likelihood * weights
        log_normaliser = log_normaliser * weights
    total[-2 if entropy else -1] += log_likelihood.to(total.device, total.dtype).sum()
    if shifted is not None:  # −Σ r log r = log Σ exp(shifted) − Σ r shifted
        total[-1] += (log_normaliser - (r * shifted).sum(0)).to(total.device, total.dtype).sum()
    return r


def _statistics(
    family: Family,
    query: _Query,
    values: Tensor,
    entropy: bool,
    total_quads: Tensor | None,  # (1, Q)
) -> SufficientStatistics:
    p = query.parameters.to("cpu")
    scalars = values[-2:] if entropy else values[-1:]
    sums = values[: -len(scalars)].reshape(p.components, -1)
    counts, first, quads = sums[:, 0], sums[:, 1 : 1 + p.dims], sums[:, 1 + p.dims :]
    log_likelihood = float(scalars[0])
    if total_quads is not None and query.coefficients is not None:
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
