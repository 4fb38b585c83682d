"""The rows of one fit or of several: surveyed once, and laid out once for fits that share their coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gmmcli.families.affine import Affine
from gmmcli.families.base import Family, Parameters
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.side_by_side import Ask, SharedReread
from gmmcli.passes.block import Block
from gmmcli.passes.coordinates import conditioning, standardisation
from gmmcli.passes.device import pass_dtype, resolve_device
from gmmcli.passes.execution import HERE, Execution
from gmmcli.passes.meter import Metered
from gmmcli.passes.prepared import PreparedData, prepare
from gmmcli.passes.survey import Survey, survey
from gmmcli.passes.workers import default_threads, single_intra_op_thread

SURVEY, LAYING_OUT = 2, 1  # readings of the data
FEW_COLUMNS = 32  # whose covariances, which tell of duplicated columns, cost little beside a reading


@dataclass(frozen=True)
class Coordinates:
    """fit: x = fit(z), those of the pass; model: x = model(y), those in which the model keeps its parameters."""

    fit: Affine
    model: Affine
    standardised: bool

    def to_model(self, family: Family, p: Parameters) -> Parameters:
        """Parameters of the fit in the model's own coordinates."""
        if self.fit is self.model:
            return p
        outer = family.to_outer(p, self.fit)
        return family.to_inner(outer, self.model) if self.standardised else outer

    def scale_of_variance(self) -> Tensor:
        """What a variance in the model's coordinates is divided by in those of the fit; a number where it is used."""
        return self.fit.factor.square() if self.fit is not self.model else torch.ones((), dtype=torch.float64)


@dataclass
class SurveyedRows:
    """Rows as fits take them, whatever their number of components and family.

    blocks: those of this process, can be iterated several times; names: of the columns; seed: of the samples that are
    taken. What is laid out is kept for the next fit in the same coordinates, and no longer: fits of several families
    come in the order of their coordinates.
    """

    blocks: Iterable[Block]
    names: Sequence[str]
    summary: Survey
    dtype: torch.dtype
    device: torch.device
    threads: int
    standardize: bool
    seed: int
    execution: Execution
    _readings: int = SURVEY
    _kept: tuple[str, Coordinates, PreparedData] | None = None

    @classmethod
    def read(
        cls,
        blocks: Iterable[Block],
        options: FitOptions,
        names: Sequence[str] | None,
        *,
        most: int,
        families: Iterable[Family],
        execution: Execution = HERE,
    ) -> SurveyedRows:
        """For fits of these families with up to `most` components, with the other options as they are.

        names: None for x1, x2, … Raises InputError for rows that no fit could take.
        """
        if execution.meter is not None:
            blocks = Metered(blocks, execution.meter)
        device = resolve_device(options.device)
        threads = (options.threads or default_threads()) if device.type == "cpu" else 1
        whitened = any(family.coordinates == "whitened" for family in families)
        with single_intra_op_thread():
            summary = survey(
                blocks, distinct=most, covariances=whitened, threads=threads, names=names, group=execution.group,
                few_columns=FEW_COLUMNS,
            )  # fmt: skip
        names = list(names) if names is not None else [f"x{d + 1}" for d in range(len(summary.mean))]
        dtype = pass_dtype(options.precision, device)
        return cls(blocks, names, summary, dtype, device, threads, options.standardize, options.seed, execution)

    def keep_blocks(self) -> None:
        """Holds the blocks as they were read too, where memory allows: those who read them often need no file."""
        if self.summary.own_rows * (len(self.names) + 1) * torch.float64.itemsize <= self.execution.memory():
            self.blocks = list(self.blocks)

    def laid_out(self, family: Family) -> tuple[Coordinates, PreparedData]:
        """The rows in the coordinates of a family."""
        if self._kept is None or self._kept[0] != family.coordinates:
            coordinates, self._kept = self._coordinates(family), None
            data = prepare(
                self.blocks, self.summary, coordinates.fit, dtype=self.dtype, device=self.device,
                threads=self.threads, seed=self.seed, memory=self.execution.memory(), group=self.execution.group,
                meter=self.execution.meter,
            )  # fmt: skip
            self._kept = family.coordinates, coordinates, data
            self._readings += LAYING_OUT
        return self._kept[1:]

    def rereads(self, family: Family) -> bool:
        """Whether memory does not hold the rows of this process, or of another, so that each pass reads them."""
        return self.laid_out(family)[1].reread is not None

    def sharing(self, family: Family, ask: Ask) -> SurveyedRows:
        """The same rows for one fit of this family, which asks for its readings."""
        coordinates, data = self.laid_out(family)
        assert data.reread is not None
        shared = SharedReread(data.reread.blocks, data.reread.layout, ask)
        kept = family.coordinates, coordinates, replace(data, reread=shared, _quads={})
        return replace(self, _kept=kept, _readings=0)

    def take_readings(self) -> int:
        """Readings of the data since this was asked last: they count as passes of the fit that asks."""
        readings, self._readings = self._readings, 0
        return readings

    def _coordinates(self, family: Family) -> Coordinates:
        if not self.standardize:
            identity = Affine.identity(len(self.names))
            return Coordinates(conditioning(self.summary, family, self.names), identity, False)
        z_scores = standardisation(self.summary, self.names)
        fit = z_scores if family.coordinates == "scalar" else conditioning(self.summary, family, self.names)
        return Coordinates(fit, z_scores, True)
