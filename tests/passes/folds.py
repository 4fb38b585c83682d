"""Every fold of the package with rows for it. `python -m tests.passes.folds FILE` writes their results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import torch

from gmmcli.choosing.folds import ScoreSums
from gmmcli.families import FAMILIES, get_family
from gmmcli.fitting.result import ScoreHistogram
from gmmcli.fitting.soundness import WorstRows
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import Block, TableBlocks
from gmmcli.passes.coordinates import conditioning
from gmmcli.passes.distributed import together
from gmmcli.passes.draws import Sample
from gmmcli.passes.execution import Group
from gmmcli.passes.layout import PreparedBlock
from gmmcli.passes.missing import by_pattern, pattern_fold
from gmmcli.passes.one_pass import PlannedPass
from gmmcli.passes.prepared import PreparedData, TotalQuads, prepare
from gmmcli.passes.reading import Fold, drive
from gmmcli.passes.survey import Moments, Ranges, Scaling, survey
from gmmcli.passes.workers import single_intra_op_thread
from gmmcli.plot.coordinates import choose_coordinates
from gmmcli.plot.picture import RowSampler
from tests import reference
from tests.conftest import to_parameters

ROWS, DIMS, BLOCK = 700, 3, 64


@dataclass(frozen=True)
class Case:
    """An empty fold, and the pieces of rows that it may be given."""

    new: Callable[[], Fold[Any]]
    rows: Sequence[Any]


def table(*, gaps: bool) -> TableBlocks:
    """Weighted rows, some of weight 0, with or without missing cells."""
    draw = torch.Generator().manual_seed(0)
    x = 5 + 2 * torch.randn(ROWS, DIMS, generator=draw, dtype=torch.float64)
    x[::7] -= 6
    w = torch.rand(ROWS, generator=draw, dtype=torch.float64)
    w[::11] = 0
    if gaps:
        x[torch.rand(ROWS, DIMS, generator=draw) < 0.2] = torch.nan
    return TableBlocks(x, w, BLOCK, incomplete=gaps)


def prepared(family: str, *, gaps: bool) -> PreparedData:
    """The rows of `table` in the coordinates of a family."""
    blocks, device = table(gaps=gaps), torch.device("cpu")
    summary = drive(survey(blocks, distinct=9, covariances=True), 1)
    affine = conditioning(summary, get_family(family), ["a", "b", "c"])
    return drive(prepare(blocks, summary, affine, dtype=torch.float64, device=device), 1)


def cases() -> dict[str, Case]:
    """Every fold by name."""
    found: dict[str, Case] = {}
    for kind, gaps in (("complete", False), ("gaps", True)):
        blocks = [*table(gaps=gaps)]
        middle, half = torch.full((DIMS,), 4.0, dtype=torch.float64), torch.full((DIMS,), 9.0, dtype=torch.float64)
        for covariances in (False, True):
            scaling = Scaling(1.0, middle, half, covariances and not gaps)
            found[f"moments, {kind}, {covariances}"] = Case(partial(Moments, scaling, float(ROWS)), blocks)
        found[f"ranges, {kind}"] = Case(partial(Ranges, 5, DIMS), blocks)
        model = GaussianMixture([0.4, 0.6], [[4.0] * DIMS, [6.0] * DIMS], [[2.0] * DIMS] * 2, "diagonal")
        found[f"held-out scores, {kind}"] = Case(partial(ScoreSums, model), blocks)
        data = prepared("diagonal", gaps=gaps)
        found[f"sample, {kind}"] = Case(partial(Sample, 3, 0.4, data.empty_block()), data.held)
        found[f"rows of a picture, {kind}"] = Case(partial(RowSampler, choose_coordinates(model), DIMS, 50), blocks)
        for name in FAMILIES:
            family, data = get_family(name), prepared(name, gaps=gaps)
            p = to_parameters(family, reference.random_moments(name, 3, DIMS, 0))
            p = p.order(torch.arange(3))  # copies in torch's own memory, as in a fit
            found[f"worst rows, {kind}, {name}"] = Case(partial(WorstRows, data, family, p, 20), data.held)
            found[f"histogram, {kind}, {name}"] = Case(partial(ScoreHistogram, data, family, p, -5.0), data.held)
            if gaps and not family.by_cell:
                patterns = drive(by_pattern(data), 1)
                found[f"patterns, {name}"] = Case(pattern_fold(patterns, family, [p, p], entropy=True)[0], data.held)
                continue
            planned = PlannedPass(data, family, [p, p], entropy=True, all_rows=False)
            found[f"pass, {kind}, {name}"] = Case(planned.fold, data.held)
            if not gaps:
                bound = data.weight * family.quad_bound(data.bound)
                found[f"total quads, {name}"] = Case(partial(TotalQuads, family, DIMS, bound), data.held)
    return found


def comparable(value: Any) -> Any:
    """A result as plain values that are equal only if all bits are. Numbers of a process's own rows are left out."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.contiguous().view(torch.uint8).flatten().tolist()
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: comparable(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "__dict__"):
        public = {name: item for name, item in vars(value).items() if not name.startswith("_")}
        return {name: comparable(item) for name, item in public.items() if name != "own_rows"}
    return value


def folded(case: Case, rows: Sequence[Block | PreparedBlock], group: Group) -> Any:
    """The result over all processes, of which this one has these rows."""
    fold = case.new()
    for piece in rows:
        fold.add(piece)
    return comparable(fold.result(group))


def main(path: str) -> None:
    """Writes the results of the first process, when each process has had a run of the rows; the last one has none."""
    with single_intra_op_thread(), together() as group:
        results = {}
        for name, case in cases().items():
            size = -(-len(case.rows) // max(1, group.size - 1))
            own = case.rows[group.rank * size : (group.rank + 1) * size]
            results[name] = folded(case, own, group)
        if group.rank == 0:
            torch.save(results, path)


if __name__ == "__main__":
    main(sys.argv[1])
