"""`fit` for Python users: a table in memory in, a FitResult out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmmcli.errors import InputError, UsageError
from gmmcli.fitting.fit import fit_task, run
from gmmcli.fitting.given_start import Start, means_start, model_start
from gmmcli.fitting.loop import Listener
from gmmcli.fitting.options import FitOptions
from gmmcli.fitting.result import FitResult
from gmmcli.model.frames import Rows, read_table, row_weights
from gmmcli.model.mixture import GaussianMixture
from gmmcli.passes.block import TableBlocks


def fit(
    data: Rows,
    components: int | None = None,
    family: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    weights: str | Tensor | Sequence[float] | None = None,
    missing: str = "error",
    init: str | GaussianMixture | Tensor | Any = "auto",
    listener: Listener | None = None,
    **options: Any,
) -> FitResult:
    """Fits a Gaussian mixture to a table in memory.

    data: tensor or array (N, D), pandas DataFrame or pyarrow Table; of a frame the numeric columns, or `columns`.
    components, family: K, and a name in gmmcli.FAMILIES; 5 and "full" unless init tells otherwise. weights: (N,)
    non-negative row weights, or the name of a column of the frame. missing: "error" refuses NaN and infinite cells,
    "drop" leaves those rows out, "em" takes NaN for cells missing at random and fits those that are there. init:
    "ward", "kmeans++", "auto" (the two by turns), "random", "random-rows", a GaussianMixture to go on from, or a
    table of starting means (K, D); columns with names are matched by name. listener: called after every step with
    the run and the seconds elapsed. options: the other fields of FitOptions, such as method="gradient", restarts,
    seed, tolerance, iterations, variance_floor, prior, noise, standardize, device, precision and threads.

    Raises UsageError for options out of range, InputError for data that cannot be fitted, NumericalError when
    every restart failed.

    >>> x = torch.cat([torch.randn(200, 1) - 5, torch.randn(100, 1) + 5])
    >>> [round(w, 2) for w in fit(x, components=2).model.weights.tolist()]
    [0.67, 0.33]
    """
    named = isinstance(weights, str)
    if named and columns is None:
        columns = [name for name in _numeric_names(data) if name != weights]
    x, names, _ = read_table(data, columns)
    w = row_weights(read_table(data, [weights])[0][:, 0] if named else weights, len(x))
    bad = ~x.isfinite()
    if missing not in ("error", "drop", "em"):
        raise UsageError(f"unknown missing {missing!r}: choose error, drop or em")
    if missing == "em":
        bad = x.isinf()
    if bool(bad.any()):
        counts = {(names[d] if names else f"column {d}"): int(n) for d, n in enumerate(bad.sum(0)) if n}
        if missing != "drop":
            listed = ", ".join(f"{n} in {name}" for name, n in counts.items())
            kind = "infinite" if missing == "em" else "missing or infinite"
            raise InputError(f"{kind} cells ({listed}): give missing='drop' to leave those rows out")
        keep = ~bad.any(1)
        x, w = x[keep], None if w is None else w[keep]
    chosen: dict[str, Any] = dict(options, components=components, family=family)
    given = {name: value for name, value in chosen.items() if value is not None}
    begin = None
    if isinstance(init, str):
        given["init"] = init
    else:
        begin = _start(init)
        given = begin.complete(given)
    chosen_options = FitOptions(**given)
    blocks = TableBlocks(x.to("cpu", torch.float64), w, incomplete=missing == "em")
    start = None if begin is None else begin.at(names)
    return run(fit_task(blocks, chosen_options, columns=names, start=start, listener=listener), chosen_options)


def _start(init: Any) -> Start:
    if isinstance(init, GaussianMixture):
        return model_start(init, "init")
    means, names, _ = read_table(init)
    return means_start(means, names, "init")


def _numeric_names(data: Rows) -> list[str]:
    names = read_table(data)[1]
    if names is None:
        raise InputError("weights can be named only for a DataFrame or a Table: give the weights themselves")
    return list(names)


def save(path: str, result: FitResult | GaussianMixture) -> None:
    """Writes a model file that `gmm` and `load` read, with a FitResult's metadata. See gmmcli.model.model_file."""
    from gmmcli.fitting.result import describe
    from gmmcli.model.model_file import save_model

    if isinstance(result, GaussianMixture):
        save_model(path, result, {})
    else:
        save_model(path, result.model, describe(result))


def load(path: str) -> GaussianMixture:
    """The model in a file that `gmm fit` or `save` wrote. Raises InputError for any other file."""
    from gmmcli.model.model_file import load_model

    return load_model(path)[0]
