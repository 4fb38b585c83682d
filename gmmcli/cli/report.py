"""A model and its fit in words and tables, for the end of `gmm fit` and for `gmm show`.

- Lines: `rows_line`, `model_lines`, `restart_lines`, `stop_line`; `component_lines`: differences and overlap of the
  components, and the bootstrap.
- `component_summary`: the components in one table. `component_table`, `deviation_table`, `correlation_tables`: the
  parameters, a row for each component, a column for each column of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from gmmcli.cli.console import Table, count, number
from gmmcli.cli.files import column_names
from gmmcli.families import FAMILIES
from gmmcli.storage.names import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.model.mixture import GaussianMixture

Metadata = Mapping[str, Any]

SAME_OPTIMUM = 1e-5  # nats per row within which a restart has reached the best one's log-likelihood
TELLING = 0.5  # least difference of means, in standard deviations, that sets a component apart
TELLING_COLUMNS = 3  # of each comparison
TELLING_COMPONENTS = 12
DIGITS = 2  # at least, of the standard deviations of a column; its means have as many decimals
PLAIN = (1e-4, 1e9)  # standard deviations that are written without an exponent
SHOWN_OVERLAPS = 5
SHOWN_CORRELATIONS = 64  # over all components
LEAST_ROWS = 1  # of a component, by their probabilities, whose overlaps are listed


def rows_line(metadata: Metadata) -> str:
    """The data, with its number of rows and of those that were left out."""
    line = f"{metadata['source']}: {count(metadata['rows_read'], 'row')}"
    dropped = metadata["rows_left_out"]
    if dropped:
        line += f", {dropped} left out for missing or infinite cells"
    rest = metadata["rows_read"] - dropped - metadata["rows"]
    if rest:
        line += f", {rest} " + ("without a cell or of weight 0" if metadata["missing"] == "em" else "of weight 0")
    return line


def model_lines(metadata: Metadata) -> list[str]:
    """Family and sizes, the log-likelihood, and the criteria."""
    weighted = metadata["weight"] != metadata["rows"]
    at = " at the mode of the posterior, not of the likelihood" if metadata["options"]["prior"] else ""
    return [
        f"family {metadata['family']} ({FAMILIES[metadata['family']].words}), "
        f"{count(metadata['components'], 'component')}, {count(metadata['rows'], 'row')} of "
        + count(metadata["dims"], "column")
        + (f" of total weight N = {number(metadata['weight'])}, which counts as their number" if weighted else ""),
        f"log-likelihood {metadata['log_likelihood']:.4f}, {metadata['mean_log_likelihood']:.6f} per row, "
        f"with {count(metadata['parameters'], 'parameter')}",
        f"BIC {metadata['bic']:.4f}, AIC {metadata['aic']:.4f}, ICL {metadata['icl']:.4f}{at}",
    ]


def component_summary(model: GaussianMixture, metadata: Metadata) -> Table:
    """Size, certainty, and mean ± standard deviation by column of every component; a background has only a size."""
    stds = model.covariances.diagonal(dim1=1, dim2=2).sqrt()
    by_column = [means_and_stds(*pair) for pair in zip(model.means.mT.tolist(), stds.mT.tolist(), strict=True)]
    rows = [
        [name, percent(size), _rows(size * metadata["weight"]), percent(sure), *cells]
        for (name, size, cells), sure in zip(
            _components(model, zip(*by_column, strict=True)), metadata["certainty"]["sure_of"], strict=True
        )
    ]
    header = ["component", "share", "rows", "sure", *_names(model)]
    alike = ", the same in all of them" if model.kind.shared and model.components > 1 else ""
    return Table(header, rows, title=f"components: mean ± standard deviation{alike}, by column")


def component_lines(model: GaussianMixture, metadata: Metadata) -> list[str | Table]:
    """Differences between components, their overlap, and the bootstrap; each is absent if it is not known."""
    return [*_telling_lines(model), *_certainty_lines(model, metadata), *_bootstrap_lines(model, metadata)]


def _telling_lines(model: GaussianMixture) -> list[str]:
    """Columns in which each component differs most from the rest, and from the component nearest to it."""
    from gmmcli.model.contrasts import contrast, contrasts, nearest

    if not 1 < model.components <= TELLING_COMPONENTS:
        return []
    lines = ["what tells components apart: differences of their means in standard deviations within a component"]
    for k, (row, other) in enumerate(zip(contrasts(model).tolist(), nearest(model), strict=True)):
        line = f"  {k}  from the rest: {_telling(model, row)}"
        if model.components > 2:
            line += f"; from {other}, the nearest: {_telling(model, contrast(model, k, other).tolist())}"
        lines.append(line)
    return lines


def _telling(model: GaussianMixture, differences: Sequence[float]) -> str:
    """The columns of the greatest differences, the greatest first."""
    named = sorted(zip(_names(model), differences, strict=True), key=lambda pair: -abs(pair[1]))[:TELLING_COLUMNS]
    parts = [f"{name} {difference:+.1f}" for name, difference in named if abs(difference) >= TELLING]
    return ", ".join(parts) or "none of the columns alone"


def _certainty_lines(model: GaussianMixture, metadata: Metadata) -> list[str]:
    """The share of sure assignments, and the components that overlap."""
    certainty = metadata.get("certainty")
    classes = metadata["components"] + bool(metadata["options"]["noise"])
    if certainty is None or classes < 2:
        return []
    among = "" if certainty["rows"] == metadata["rows"] else f" (of a sample of {certainty['rows']})"
    lines = [
        f"sure: {percent(certainty['sure'])} of the rows{among} belong to a component with a probability of 0.9 or "
        f"more; mean entropy of the assignments {metadata['entropy']:.3f} of at most "
        f"{math.log(classes):.3f} nats"
    ]
    background = metadata["components"]
    held = [k for k, size in enumerate(_sizes(model)) if size * metadata["rows"] >= LEAST_ROWS]
    shares = {(i, j): share for i, j, share in certainty["overlaps"] if i in held}
    pairs = dict.fromkeys((min(pair), max(pair)) for pair in shares)  # the greatest share first
    for i, j in list(pairs)[:SHOWN_OVERLAPS]:
        parts = [
            f"{percent(shares[one, other])} of the rows of {_name(one, background)} are claimed by "
            f"{_name(other, background)}"
            for one, other in ((i, j), (j, i))
            if (one, other) in shares
        ]
        line = "overlap: " + ", and ".join(parts)
        if background not in (i, j):
            line += f"; best told apart by {_apart(model, i, j)}"
        lines.append(line)
    return lines


def _name(component: int, background: int) -> str:
    return "the background" if component == background else f"component {component}"


def _apart(model: GaussianMixture, one: int, other: int) -> str:
    """The column in which two components differ most."""
    from gmmcli.model.contrasts import contrast

    differences = zip(_names(model), contrast(model, one, other).tolist(), strict=True)
    name, difference = max(differences, key=lambda pair: abs(pair[1]))
    return f"{name} ({difference:+.1f})"


def _rows(weight: float) -> str:
    """Number of rows in a component, by their probabilities; a small one with a decimal."""
    return f"{weight:.0f}" if weight >= 10 else f"{weight:.1f}"


def _bootstrap_lines(model: GaussianMixture, metadata: Metadata) -> list[str | Table]:
    """The likelihood-ratio test and the standard errors, where they were asked for."""
    results = metadata.get("bootstrap")
    if not results:
        return []
    test, errors = results["ratio_test"], results["standard_errors"]
    least = math.isclose(test["p"], 1 / (1 + test["replicates"]))
    test_line = (
        f"likelihood-ratio test of {count(test['components'], 'component')} against {test['components'] + 1}: "
        f"2 Δ log L = {test['statistic']:.2f}, p = {test['p']:.3g} by {count(test['replicates'], 'sample')} drawn "
        f"from the fit of {test['components']}"
        + (", the least that p can be with so many: raise --bootstrap to see how small it is" if least else "")
    )
    by_component = zip(errors["weights"], errors["means"], errors["stds"], strict=True)
    rows = [
        [str(k), f"{weight:.4f}", *(f"{m:.3g}, {s:.3g}" for m, s in zip(means, stds, strict=True))]
        for k, (weight, means, stds) in enumerate(by_component)
    ]
    title = f"standard errors of weights, and of means, standard deviations, by {errors['replicates']} resamplings"
    return [test_line, Table(["component", "weight", *_names(model)], rows, title=title)]


def restart_lines(metadata: Metadata) -> list[str]:
    """The ends of the restarts, the components of the best one that began again, and its end."""
    from gmmcli.fitting.stopping import LEFT_BEHIND

    restarts, lines = metadata["restarts"], []
    if len(restarts) > 1:
        ended = [r for r in restarts if r["failure"] is None and r["stop"] != LEFT_BEHIND.name]
        level, weight = metadata["log_likelihood"], metadata["weight"]
        near = sum(abs(r["log_likelihood"] - level) <= SAME_OPTIMUM * weight for r in ended)
        unsound = sum(r["unsound"] is not None for r in ended) if metadata["unsound"] is None else 0
        lines.append(
            f"restarts: {len(restarts)}{_followed(len(ended), len(restarts), near)}"
            + (f"; set aside as unsound: {unsound}" if unsound else "")
        )
    done = "was dropped" if metadata["options"]["on_collapse"] == "drop" else "began again elsewhere"
    lines += [
        f"after {count(reset['passes'], 'pass', 'passes')} {reset['reason']}: it {done}"
        for reset in _kept(metadata)["resets"]
    ]
    return [*lines, stop_line(metadata)]


def _followed(ended: int, restarts: int, near: int) -> str:
    """Restarts that were run to the end, and the number of these with the best one's log-likelihood."""
    if ended == 1:
        return "; the most promising was run to the end"
    which = "all were" if ended == restarts else f"the {ended} most promising were"
    return f"; {which} run to the end, {near} of them to this log-likelihood"


def stop_line(metadata: Metadata) -> str:
    """The end of the best restart."""
    left, passes = metadata["remaining_gain"], count(_kept(metadata)["passes"], "pass", "passes")
    gain = f"{left:.1e} nats per row" if left is not None and math.isfinite(left) else "not known"
    end = f"{'converged' if metadata['converged'] else 'stopped'} after {passes}: {metadata['stop']['prose']}"
    return f"{end}; estimated remaining gain: {gain}"


def _kept(metadata: Metadata) -> Metadata:
    """The best restart."""
    return next(restart for restart in metadata["restarts"] if restart["restart"] == metadata["restart"])


def percent(share: float) -> str:
    """`44.6 %`; only 0 and 1 are shown as 0 % and 100 %."""
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = "> 99.9"
    elif shown == "0.0" and share > 0:
        shown = "< 0.1"
    return f"{shown} %"


def means_and_stds(means: Sequence[float], stds: Sequence[float]) -> list[str]:
    """`38.8 ± 2.6`, for each component: with the decimals that show two digits of the least deviation."""
    if not PLAIN[0] <= min(stds) <= max(stds) < PLAIN[1]:
        return [f"{mean:.6g} ± {std:.{DIGITS}g}" for mean, std in zip(means, stds, strict=True)]
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(min(stds))))
    return [f"{mean:.{decimals}f} ± {std:.{decimals}f}" for mean, std in zip(means, stds, strict=True)]


def component_table(model: GaussianMixture, weight: float | None = None) -> Table:
    """Weights, shares of the rows where their total weight is known, and means; a background has no mean."""
    header, rows = ["component", "weight", *_names(model)], []
    for name, size, means in _components(model, _cells(model.means)):
        counted = [] if weight is None else [f"{size * weight:.1f}"]
        rows.append([name, f"{size:.4f}", *counted, *means])
    if weight is not None:
        header.insert(2, "rows")
    return Table(header, rows, title="weights and means")


def deviation_table(model: GaussianMixture) -> Table:
    """Standard deviations, the square roots of the covariances' diagonals."""
    std = _covariances(model).diagonal(dim1=1, dim2=2).sqrt()
    return Table(["component", *_names(model)], _by_component(model, _cells(std)), title="standard deviations")


def correlation_tables(model: GaussianMixture, most: int = SHOWN_CORRELATIONS) -> list[Table]:
    """A table of the correlation of every two columns; none if all are 0, or there are more than `most`."""
    covariances = _covariances(model)
    std = covariances.diagonal(dim1=1, dim2=2).sqrt()
    correlations = covariances / (std[:, :, None] * std[:, None, :])
    pairs = list(combinations(range(model.dims), 2))
    if len(covariances) * len(pairs) > most or not bool(correlations.tril(-1).any()):
        return []
    names = _names(model)
    cells = [[f"{matrix[d][e]:.3f}" for d, e in pairs] for matrix in correlations.tolist()]
    header = ["component", *(f"{names[d]}\n{names[e]}" for d, e in pairs)]
    return [Table(header, _by_component(model, cells), title="correlations")]


def _sizes(model: GaussianMixture) -> list[float]:
    """The weights of the components, and of the background where there is one."""
    return [*model.weights.tolist(), *([] if model.background is None else [float(model.background)])]


def _components(model: GaussianMixture, cells: Iterable[Sequence[str]]) -> Iterator[tuple[str, float, Sequence[str]]]:
    """Name, weight and cells of every component, and of the background, whose cells are empty."""
    background = [] if model.background is None else [[""] * model.dims]
    return zip(model.component_names, _sizes(model), [*cells, *background], strict=True)


def _covariances(model: GaussianMixture) -> Tensor:
    """The covariances, only one where the components share it."""
    return model.covariances[: 1 if model.kind.shared else model.components]


def _by_component(model: GaussianMixture, cells: list[list[str]]) -> list[list[str]]:
    return [["all" if model.kind.shared else str(k), *row] for k, row in enumerate(cells)]


def _cells(values: Tensor) -> list[list[str]]:
    return [[number(value) for value in row] for row in values.tolist()]


def _names(model: GaussianMixture) -> list[str]:
    return [printable(name) for name in column_names(model)]
