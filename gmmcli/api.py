"""`fit`, `save` and `load` for Python users: a table in memory in, a FitResult out, and model files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, Option, Remedy, UsageError
from gmmcli.fitting.fit import fit_task, run
from gmmcli.fitting.given_start import Start
from gmmcli.fitting.loop import Listener
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult, describe
from gmmcli.model.frames import Rows, read_table, row_weights
from gmmcli.model.mixture import GaussianMixture
from gmmcli.model.model_file import load_model, save_model
from gmmcli.passes.block import TableBlocks

MISSING = ("error", "drop", "em")


def fit(
    data: Rows,
    components: int | None = None,
    family: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    weights: str | Tensor | Sequence[float] | None = None,
    missing: str = "error",
    init: str | GaussianMixture | Tensor | Any = "auto",
    listener: Listener | None = None,
    **options: Any,
) -> FitResult:
    """Fits a Gaussian mixture to a table in memory.

    data: tensor or array (N, D), pandas DataFrame or pyarrow Table; of a frame the numeric columns, or `columns`.
    exclude: names of columns to leave out; those of a tensor or array are x1 to xD. components, family: K, and a name
    in gmmcli.FAMILIES; 5 and "full" unless init is a model or means. weights: (N,) non-negative row weights, or the
    name of a column of the frame. missing: "error" refuses NaN and infinite cells, "drop" leaves those rows out, "em"
    treats NaN as missing at random and fits the other cells. init: "ward", "kmeans++", "auto" (the two by turns),
    "random", "random-rows", a GaussianMixture to go on from, or a table of starting means (K, D); columns with names
    are matched by name. listener: called after every step with the run and the seconds elapsed. options: the other
    fields of FitOptions, such as method="gradient", restarts, seed, tolerance, iterations, variance_floor, prior,
    noise, standardize, device, precision and threads.

    Raises UsageError for options out of range, InputError for data that cannot be fitted, NumericalError when
    every restart failed.

    >>> x = torch.cat([torch.randn(200, 1) - 5, torch.randn(100, 1) + 5])
    >>> [round(w, 2) for w in fit(x, components=2).model.weights.tolist()]
    [0.67, 0.33]
    """
    if missing not in MISSING:
        raise UsageError("unknown", subject=Option("missing", missing), remedy=f"choose one of {', '.join(MISSING)}")
    if isinstance(weights, str):
        if read_table(data)[1] is None:
            problem = "only a DataFrame or a Table has columns by name"
            raise InputError(problem, subject=Option("weights", weights), remedy="give the weights themselves")
        exclude = [*exclude, *([weights] if columns is None else [])]
        weights = read_table(data, [weights])[0][:, 0]
    x, names, _ = read_table(data, columns, exclude)
    x, w = _usable(x, row_weights(weights, len(x)), names, missing)
    chosen: dict[str, Any] = dict(options, components=components, family=family, init=init)
    given = {name: value for name, value in chosen.items() if value is not None}
    start = _start(init)
    its = FitOptions(**(given if start is None else start.complete(given)))
    blocks = TableBlocks(x.to("cpu", torch.float64), w, incomplete=missing == "em")
    begin = None if start is None else start.at(names)
    return run(fit_task(blocks, its, columns=names, start=begin, listener=listener), its)


def _usable(
    x: Tensor,  # (N, D)
    weights: Tensor | None,  # (N,)
    names: Sequence[str] | None,
    missing: str,
) -> tuple[Tensor, Tensor | None]:
    """The rows that can be fitted, and their weights. Raises InputError for cells that `missing` does not allow."""
    bad = x.isinf() if missing == "em" else ~x.isfinite()
    if not bool(bad.any()):
        return x, weights
    if missing != "drop":
        counts = {(names[d] if names else f"x{d + 1}"): int(n) for d, n in enumerate(bad.sum(0)) if n}
        kind = "infinite" if missing == "em" else "missing or infinite"
        problem = f"{kind} cells: " + ", ".join(f"{n} in {name}" for name, n in counts.items())
        raise InputError(problem, remedy=Remedy("give", "missing", "drop", "to leave those rows out"))
    keep = ~bad.any(1)
    return x[keep], None if weights is None else weights[keep]


def _start(init: Rows | str | GaussianMixture) -> Start | None:
    """A given start; None for the name of a random one."""
    if isinstance(init, str):
        return None
    if isinstance(init, GaussianMixture):
        return Start(init)
    means, names, _ = read_table(init)
    return Start(means=means, names=names)


def save(path: str, result: FitResult | GaussianMixture) -> None:
    """Writes a model file that `gmm` and `load` read, with a FitResult's metadata. See gmmcli.model.model_file."""
    model, metadata = (result, {}) if isinstance(result, GaussianMixture) else (result.model, describe(result))
    save_model(path, model, metadata)


def load(path: str) -> GaussianMixture:
    """The model in a file that `gmm fit` or `save` wrote. Raises InputError for any other file."""
    return load_model(path)[0]
