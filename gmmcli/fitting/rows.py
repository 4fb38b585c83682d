"""The rows of one fit or of several: surveyed once, and laid out once for fits that share their coordinates.

`Plan`: the memory and the readings that a fit will take, known without reading the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from gmmcli.errors import NumericalError
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.search import sample_sizes
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block
from gmmcli.passes.coordinates import Coordinates, fit_coordinates
from gmmcli.passes.device import pass_dtype, resolve_device
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.layout import row_bytes
from gmmcli.passes.prepared import PreparedData, fits, largest_sample, prepare
from gmmcli.passes.reading import Collected, Reading, Task, read
from gmmcli.passes.survey import Survey, survey
from gmmcli.passes.workers import default_threads

READINGS = 3  # of the data before a fit: two for the survey, one to lay out the rows
FEW_COLUMNS = 32  # with no more columns the survey takes covariances, which show duplicated columns, at little cost


@dataclass
class SurveyedRows:
    """Rows for fits with any number of components and any family.

    blocks: the rows of this process; they can be iterated several times. names: of the columns. options: their
    device, precision, standardisation, threads and seed are those of all fits. Rows that are laid out are held until
    rows in other coordinates are asked for. So fits of several families come in the order of their coordinates.
    """

    blocks: Iterable[Block]
    names: Sequence[str]
    summary: Survey
    options: FitOptions
    execution: Execution
    _laid_out: dict[str, tuple[Coordinates, PreparedData]] = field(default_factory=dict)  # by kind of coordinates

    def hold_blocks(self) -> Task[None]:
        """Reads the blocks into memory if they fit: a grid reads them often."""
        if self.summary.own_rows * (len(self.names) + 1) * torch.float64.itemsize <= self.execution.memory():
            whole = Reading(lambda: Collected(lambda block: block), self.blocks, meter=self.execution.meter)
            self.blocks = yield from read(whole)

    def laid_out(self, *families: Family) -> Task[None]:
        """Lays out the rows in the coordinates of these families. Only new ones release rows in other coordinates."""
        wanted = {family.coordinates: family for family in families}
        new = {
            kind: fit_coordinates(self.summary, family, self.names, standardize=self.options.standardize)
            for kind, family in wanted.items()
            if kind not in self._laid_out
        }
        if not new:
            return
        self._laid_out = {kind: known for kind, known in self._laid_out.items() if kind in wanted}
        device = resolve_device(self.options.device)
        for kind, coordinates in new.items():
            data = yield from prepare(
                self.blocks,
                self.summary,
                coordinates.fit,
                dtype=pass_dtype(self.options.precision, device),
                device=device,
                seed=self.options.seed,
                memory=self.execution.memory(),
                group=self.execution.group,
                meter=self.execution.meter,
            )
            self._laid_out[kind] = coordinates, data

    def of(self, family: Family) -> tuple[Coordinates, PreparedData]:
        """The rows in the coordinates of a family, after `laid_out`."""
        return self._laid_out[family.coordinates]

    def mixture(self, family: Family, coordinates: Coordinates, p: Parameters) -> GaussianMixture:
        """Parameters in the coordinates of a fit as a mixture in data units."""
        p = coordinates.to_model(family, p)
        if not all(bool(t.isfinite().all()) for t in (p.weights, p.means, p.scale)):
            problem = "the fitted parameters overflow in the units of the data"
            raise NumericalError(problem, remedy="rescale the columns")
        return GaussianMixture.of(
            p,
            family.name,
            columns=self.names,
            shift=coordinates.model.shift,
            std=coordinates.model.factor.expand(p.dims),
            box=None if p.background is None else torch.stack([self.summary.minimum, self.summary.maximum]),
        )


def survey_rows(
    blocks: Iterable[Block],
    options: FitOptions,
    names: Sequence[str] | None,
    *,
    most: int,
    families: Iterable[Family],
    execution: Execution = HERE,
) -> Task[SurveyedRows]:
    """Surveys rows for fits of these families with up to `most` components.

    options: of these fits; components and family are not used. names: None for x1, x2, … Raises InputError for rows
    that no fit could take.
    """
    summary = yield from survey(
        blocks,
        distinct=most,
        covariances=any(family.coordinates == "whitened" for family in families),
        names=names,
        group=execution.group,
        few_columns=FEW_COLUMNS,
        meter=execution.meter,
    )
    names = list(names) if names is not None else [f"x{d + 1}" for d in range(len(summary.mean))]
    return SurveyedRows(blocks, names, summary, options, execution)


def threads_of(options: FitOptions) -> int:
    """Workers of a reading: one where a device does the work."""
    on_cpu = resolve_device(options.device).type == "cpu"
    return (options.threads or default_threads()) if on_cpu else 1


@dataclass(frozen=True)
class Plan:
    """Memory and readings of a fit.

    rows: number of all processes' rows. own_rows: number of this process's rows. budget: bytes that these may take.
    """

    rows: int
    own_rows: int
    columns: int
    weighted: bool
    incomplete: bool
    dtype: torch.dtype
    budget: float
    readings: int = READINGS

    @property
    def features(self) -> int:
        """Features of a row that is laid out."""
        return 1 + self.columns * (2 if self.incomplete else 1)

    @property
    def bytes(self) -> int:
        """Bytes of this process's rows, laid out."""
        return self.own_rows * row_bytes(self.features, self.weighted, self.dtype)

    @property
    def in_memory(self) -> bool:
        """Whether the rows are held in memory."""
        return fits(self.bytes, self.budget, self.dtype)

    def samples(self, options: FitOptions) -> Sequence[int]:
        """Sizes of the samples on which starts are compared first."""
        return [] if options.init == "given" else sample_sizes(self.rows, largest_sample(self.features))
