"""The options of `gmm fit` that choose among several fits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated

import typer

from gmmcli.choosing.options import FOLDS, GridOptions, parse_components, parse_families
from gmmcli.cli.fit_options import Fitting
from gmmcli.errors import UsageError
from gmmcli.families import given_variance
from gmmcli.fitting.options import INITS, FitOptions
from gmmcli.model.criteria import CriterionName
from gmmcli.storage.files import STDOUT

CHOOSING = "Choosing (several --components or --family)"


@dataclass(frozen=True)
class Choosing:
    """How the best of several fits is chosen, and what is kept of the others."""

    criterion: Annotated[
        CriterionName | None,
        typer.Option(
            help="What the best of the sound fits has the least of. bic: −2 log L + parameters · log N. icl: bic + "
            "twice the entropy of the assignments. aic: −2 log L + 2 · parameters. holdout: it has the most "
            "log-likelihood of rows left out of the fit, in nats per row. Default: bic.",
            rich_help_panel=CHOOSING,
        ),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Parts that the rows are cut into for --criterion holdout, each left out once. Default: {FOLDS}.",
            rich_help_panel=CHOOSING,
        ),
    ] = None
    table: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a row for every fit: log-likelihood, parameters, criteria, passes, seconds, and why a fit is "
            "not to be trusted. Default: none.",
            rich_help_panel=CHOOSING,
        ),
    ] = None
    bootstrap: Annotated[
        int | None,
        typer.Option(
            metavar="B",
            min=2,
            help="Test the chosen number of components against one more by the likelihood ratio of B samples drawn "
            "from the fit, and give standard errors from B resamplings of the rows. Default: neither.",
            rich_help_panel=CHOOSING,
        ),
    ] = None

    def check(self, weights: str | None, missing: str, as_json: bool) -> None:
        """Raises UsageError for what does not go with other options of the command."""
        if as_json and self.table in STDOUT[1:]:
            raise UsageError(f"--table {self.table} and --json both write to standard output: name a file for one")
        if self.bootstrap is not None and (weights is not None or missing == "em"):
            raise UsageError("--bootstrap draws whole rows that each weigh 1: leave out --weights and --missing em")

    def grid(self, fitting: Fitting) -> GridOptions | None:
        """The grid that is asked for, None for a single fit. Raises UsageError for what does not go together."""
        given = any(getattr(self, f.name) not in (None, False) for f in fields(self))
        components = parse_components(fitting.components or str(FitOptions.components))
        families = parse_families(fitting.family or FitOptions.family, fitting.variance is not None)
        if not given and len(components) == len(families) == 1:
            return None
        if fitting.init not in INITS:
            raise UsageError(f"--init {fitting.init}: a file starts one fit: give one of {', '.join(INITS)}")
        return GridOptions(components, families, self.criterion or "bic", self.folds, fitting.variance)

    @staticmethod
    def base(grid: GridOptions, fitting: Fitting) -> FitOptions:
        """The options that all cells share, checked."""
        learned = [family for family in grid.families if family not in given_variance()]
        first = (learned or list(grid.families))[0]
        variance = None if learned and len(learned) < len(grid.families) else fitting.variance
        return replace(fitting, family=first, components=str(grid.components[0]), variance=variance).options()
