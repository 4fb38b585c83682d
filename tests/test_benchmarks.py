"""The benchmarks run: at toy sizes and without peers, for what they find is not for a test to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.benchmarks import compare, converge, end_to_end
from tests.benchmarks.problems import FAMILIES, SCENARIOS, make_problem, seeded_start
from tests.benchmarks.report import write_section


@pytest.fixture
def results(tmp_path: Path) -> list[str]:
    """The options that send results to files."""
    return ["--markdown", str(tmp_path / "results.md"), "--json", str(tmp_path / "results.json")]


def test_compare_measures_a_pass(
    results: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "GEMM_SIZE", 64)
    toy = ["--scenario", "A", "I", "--peer", "gmm", "--scale", "0.001", "--rounds", "1", "--passes", "2", "4"]
    assert compare.main([*toy, *results]) == 0
    measured = json.loads(Path(results[-1]).read_text())
    assert [(g["scenario"]["name"], g["dtype"]) for g in measured["groups"]] == [
        ("A", "float64"), ("A", "float32"), ("I", "float64"), ("I", "float32")
    ]  # fmt: skip
    assert all(len(m["slopes"]) == 1 for g in measured["groups"] for m in g["members"])
    assert capsys.readouterr().out.strip() in Path(results[1]).read_text()


def test_a_peer_that_ends_elsewhere_is_told(monkeypatch: pytest.MonkeyPatch, results: list[str]) -> None:
    monkeypatch.setattr(compare, "GEMM_SIZE", 64)
    monkeypatch.setattr(compare, "AGREEMENT", {"float64": -1.0, "float32": -1.0})
    toy = ["--scenario", "A", "--peer", "gmm", "--scale", "0.001", "--rounds", "1", "--dtype", "float64"]
    assert compare.main([*toy, *results]) == 1
    assert "disagrees" in Path(results[1]).read_text()


def test_converge_counts_passes(results: list[str]) -> None:
    assert converge.main(["--kind", "separated-4", "--rows", "500", "--problems", "1", "--no-peers", *results]) == 0
    (runs,) = json.loads(Path(results[-1]).read_text())["traces"]["separated-4"]
    for trace in runs.values():
        passes = [passes for passes, *_ in trace["steps"]]
        assert passes == sorted(set(passes))
        assert passes[0] > converge.READINGS
        assert passes[-1] < trace["passes"]


def test_end_to_end_runs_whole_processes(results: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_to_end, "STARTUP_ROUNDS", 1)
    toy = ["--data", "separated", "--format", "csv", "--who", "gmm-1", "--rows", "300", "--components", "2"]
    assert end_to_end.main([*toy, "--rounds", "1", *results]) == 0
    (measured,) = json.loads(Path(results[-1]).read_text())["measurements"]
    assert len(measured["rounds"][0]) == 2
    assert all(timing["peak"] > 1 << 20 for timing in measured["rounds"][0])


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(end_to_end.CommandFailed, match="exited with 2"):
        end_to_end.run([*end_to_end.GMM, "fit", "nowhere.csv"])


def test_a_section_replaces_its_own_and_leaves_others(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    for title, text in (("One", "first"), ("Two", "second"), ("One", "third")):
        write_section(path, title, text)
    assert path.read_text() == "# Results of the benchmarks\n\n## One\n\nthird\n\n## Two\n\nsecond\n"


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_scenarios_have_starts_of_their_family(name: str) -> None:
    problem = make_problem(SCENARIOS[name].scaled(0), 4.0)
    assert problem.x.shape == (problem.scenario.rows, problem.scenario.dims)
    assert problem.start.family == problem.scenario.family
    covariances = problem.start.covariances.detach()
    family = FAMILIES[problem.scenario.family]
    restored = family.dense(family.compact(covariances), problem.scenario.components, problem.scenario.dims)
    torch.testing.assert_close(restored, covariances)


def test_seeded_starts_find_clusters_that_are_apart() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]], dtype=torch.float64)
    noise = torch.randn(3, 200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = seeded_start((centres[:, None] + noise).flatten(0, 1), 3, seed=0)
    assert torch.cdist(centres, start.means.detach()).min(1).values.max() < 0.5
