"""Shared fixtures, and the few helpers that bring reference mixtures and rows into gmmcli's own types."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gmmcli.choosing.grid import Grid, grid_task
from gmmcli.choosing.options import GridOptions
from gmmcli.families import FAMILIES, get_family
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.engine import Engine, Evaluator, Request
from gmmcli.fitting.fit import fit_task, run
from gmmcli.fitting.loop import Limits, Listener, Run, Stage, run_all
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.passes.block import BLOCK_ROWS, Block, TableBlocks
from gmmcli.passes.coordinates import conditioning
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.one_pass import one_pass
from gmmcli.passes.prepared import PreparedData, prepare
from gmmcli.passes.reading import drive
from gmmcli.passes.sums import SufficientStatistics
from gmmcli.passes.survey import survey
from gmmcli.passes.workers import single_intra_op_thread
from tests.hostile_blas import hostile_blas
from tests.reference import Moments

if TYPE_CHECKING:
    from tests.s3 import S3


@pytest.fixture(autouse=True)
def one_intra_op_thread() -> Iterator[None]:
    """Passes run as they do within a fit; on a busy machine torch's own threads cost 30 times the arithmetic."""
    with single_intra_op_thread():
        yield


@pytest.fixture(params=["own", "hostile"])
def blas(request: pytest.FixtureRequest) -> Iterator[str]:
    """The machine's own matrix products, and hostile ones: every promise of equal bits is tested under both."""
    if request.param == "own":
        yield request.param
        return
    with hostile_blas():
        yield request.param


@pytest.fixture
def hostile() -> Iterator[None]:
    """Hostile products alone, where both would take long; `process` and `torchrun` start processes that have them."""
    with hostile_blas():
        yield


@pytest.fixture(scope="module")
def hostile_module() -> Iterator[None]:
    """The same for all tests of a module, and for what they share."""
    with hostile_blas():
        yield


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Each of the seven covariance families."""
    return get_family(request.param)


@pytest.fixture(params=[name for name in FAMILIES if name != "constant"])
def learned_family(request: pytest.FixtureRequest) -> Family:
    """Each of the families whose covariance is estimated."""
    return get_family(request.param)


def to_parameters(family: Family, m: Moments) -> Parameters:
    """A reference mixture as the family's parameters."""
    return family.from_moments(*(torch.from_numpy(a) for a in (m.weights, m.means, m.covariances)))


def to_moments(family: Family, p: Parameters) -> Moments:
    """The family's parameters as a reference mixture."""
    covariances = family.covariances(p.scale, p.dims).expand(p.components, -1, -1)
    return Moments(p.weights.numpy(), p.means.numpy(), covariances.numpy())


def prepare_rows(
    x: Tensor,
    family: Family,
    weights: Tensor | None = None,
    *,
    block_rows: int = BLOCK_ROWS,
    order: Sequence[int] | None = None,
    threads: int = 1,
    dtype: torch.dtype = torch.float64,
) -> PreparedData:
    """Survey, conditioning and preparation of a table, its blocks read in the given order."""
    blocks = list(TableBlocks(x, weights, block_rows, incomplete=bool(x.isnan().any())))
    blocks = blocks if order is None else [blocks[i] for i in order]
    names = [f"x{d + 1}" for d in range(x.shape[1])]
    summary = drive(survey(blocks, distinct=2, covariances=family.coordinates == "whitened"), threads)
    affine = conditioning(summary, family, names)
    return drive(prepare(blocks, summary, affine, dtype=dtype, device=torch.device("cpu")), threads)


def inner_rows(data: PreparedData) -> Tensor:
    """All rows (N, D) in the coordinates of the fit, in the order of the data."""
    return torch.cat([block.z[1:] for block in data.held], 1).mT.contiguous()


def assert_near(actual: Tensor, expected: Tensor, rounding: float = 1e-12) -> None:
    """Equal to this share of the expected value and, near 0, to this much absolutely.

    The default: reference covariances have condition numbers up to e² and rows Mahalanobis distances up to about
    1e2, so that an explicit inverse, a factor or a sum of D² products errs by about e² · 1e2 · EPS = 2e-13.
    """
    assert_close(actual, expected, rtol=rounding, atol=rounding)


def sound(answers: Sequence[SufficientStatistics | Exception]) -> list[SufficientStatistics]:
    """Answers of a pass, none of which is an error; raises the first that is."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [answer for answer in answers if isinstance(answer, SufficientStatistics)]


def run_pass(
    data: PreparedData,
    family: Family,
    mixtures: Sequence[Parameters],
    *,
    threads: int = 1,
    entropy: bool = False,
    blocks: list[PreparedBlock] | None = None,
) -> list[SufficientStatistics]:
    """A pass in which nothing fails."""
    return sound(drive(one_pass(data, family, mixtures, entropy=entropy, blocks=blocks), threads))


def ask(evaluate: Evaluator, requests: Sequence[Request], threads: int = 1) -> list[SufficientStatistics]:
    """The evaluator's answers, none of which is an error."""
    return sound(drive(evaluate(requests), threads))


def run_engine(
    engine: Engine,
    starts: Sequence[Parameters],
    evaluate: Evaluator,
    limits: Limits,
    listener: Listener | None = None,
    threads: int = 1,
) -> list[Run]:
    """A run of the loop from every start."""
    runs = [Run(restart, engine.start(p)) for restart, p in enumerate(starts)]
    hear = (lambda run: None) if listener is None else (lambda run: listener(run, 0.0))
    drive(run_all(Stage(engine, evaluate, limits, hear), runs), threads)
    return runs


def fit_blocks(blocks: Iterable[Block], options: FitOptions, **how: Any) -> FitResult:
    """The fit of a mixture to blocks of rows."""
    return run(fit_task(blocks, options, **how), options)


def fit_grid(blocks: Iterable[Block], options: FitOptions, grid: GridOptions, **how: Any) -> Grid:
    """The fits of a grid to blocks of rows."""
    return run(grid_task(blocks, options, grid, **how), options)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """An S3 server for all tests of this process."""
    from tests.s3 import S3  # which imports much: only here

    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> S3:
    """The server with an empty bucket, in an environment that leads there."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.new_bucket(f"bucket-{zlib.crc32(request.node.nodeid.encode())}")
    return s3_server
