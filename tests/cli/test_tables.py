"""Tables on terminals of any width: a row for each component, columns side by side as they fit, no number folded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
import torch
from rich.cells import cell_len

from gmmcli.cli.console import Table
from gmmcli.cli.report import component_table, correlation_tables, deviation_table
from gmmcli.families import FAMILIES
from gmmcli.model.mixture import GaussianMixture

LONG = "household_income_of_all_members_in_thousands_of_dollars"
WIDTHS = (60, 80, 200)


def mixture(components: int, names: Sequence[str], family: str = "full") -> GaussianMixture:
    generator = torch.Generator().manual_seed(components)
    dims = len(names)
    means = 1e4 * torch.randn(components, dims, generator=generator, dtype=torch.float64)
    weights = torch.full((components,), 1 / components, dtype=torch.float64)
    factors = torch.randn(components, dims, dims, generator=generator, dtype=torch.float64)
    return GaussianMixture.from_covariances(weights, means, factors @ factors.mT, family, columns=names)


def shown(table: Table, width: int) -> list[str]:
    return [line.plain for line in table.lines(width)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dims", [2, 4, 12])
@pytest.mark.parametrize("components", [2, 8, 20])
def test_every_number_is_shown_whole_and_once_at_any_width(components: int, dims: int, width: int) -> None:
    names = [
        f"{stem}{d}" for d, stem in zip(range(dims), itertools.cycle(("x", LONG, "bill_length_mm")), strict=False)
    ]
    model = mixture(components, names)
    std = model.covariances.diagonal(dim1=1, dim2=2).sqrt()
    for table, values in (
        (component_table(model, 1e6), model.means),
        (deviation_table(model), std),
        (correlation_tables(model, 10_000)[0], None),
    ):
        lines = shown(table, width)
        assert max(map(cell_len, lines)) <= width
        rows: dict[str, list[str]] = {}
        for line in lines:
            if re.match(r"\d+ ", line):
                label, *cells = line.split()
                rows.setdefault(label, []).extend(cells)
        assert list(rows) == [str(k) for k in range(components)]
        wide = shown(table, 10**9)
        assert list(rows.values()) == [line.split()[1:] for line in wide[-components:]]
        if values is not None:
            assert [cells[-dims:] for cells in rows.values()] == [
                [f"{v:.6g}" for v in row] for row in values.tolist()
            ]


def test_only_a_name_too_wide_by_itself_is_cut() -> None:
    model = mixture(2, ["x", LONG])
    assert LONG in shown(component_table(model), 80)[5]
    lines = shown(component_table(model), 40)
    assert lines[1].split() == ["component", "weight", "x"]
    assert lines[5] == f"component  {LONG[:28]}…"


def test_a_table_too_wide_for_any_terminal_still_has_whole_numbers() -> None:
    cells = ["12345678.9", "-12345678.9"]
    lines = shown(Table(["component", "alpha", "beta"], [["0", *cells]]), 5)
    assert [line.split()[-1] for line in lines if line.startswith("0")] == cells


def test_wide_characters_are_counted_as_two() -> None:
    lines = shown(Table(["component", "長さ長さ長さ", "b"], [["0", "1.5", "2.5"]]), 20)
    assert lines[0] == "component  長さ長さ…"
    assert [cell_len(line) <= 20 for line in lines] == [True] * len(lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_components_share_is_one_row(family: str) -> None:
    model = mixture(3, ["a", "b"], family)
    labels = [line.split()[0] for line in shown(deviation_table(model), 80)[2:]]
    assert labels == (["all"] if model.kind.shared else ["0", "1", "2"])
    correlated = bool(model.covariances[:, 0, 1].any())
    assert bool(correlation_tables(model)) == correlated


def test_a_correlation_names_both_columns() -> None:
    covariance = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 4.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    means = torch.zeros(1, 3, dtype=torch.float64)
    model = GaussianMixture.from_covariances(one, means, covariance, "full", columns=["a", "b", "c"])
    (table,) = correlation_tables(model)
    assert shown(table, 80)[1:] == [
        "               a      a      b",
        "component      b      c      c",
        "0          0.500  0.000  0.000",
    ]
