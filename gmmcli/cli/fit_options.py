"""The options that only `gmm fit` has, and what `--init` names.

- `Fitting`: the fields of FitOptions as options of the command; its defaults are FitOptions' own.
- `Start`: where a fit starts, read off --init.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gmmcli.choosing.options import parse_components
from gmmcli.cli.completion import complete, complete_list
from gmmcli.cli.imports import library_imports
from gmmcli.data.formats import format_of_path
from gmmcli.errors import Option
from gmmcli.families import FAMILIES
from gmmcli.fitting.options import (
    ACCELERATIONS,
    COMPONENT_LR,
    INITS,
    ITERATIONS,
    MIXTURE_LR,
    RESTARTS,
    VARIANCE_FLOOR,
    FitOptions,
)
from gmmcli.storage.addresses import is_address, suffix_of
from gmmcli.storage.names import one_line

if TYPE_CHECKING:
    from gmmcli.data import ReadOptions
    from gmmcli.fitting.given_start import Start

MODEL = "Model"
METHOD = "Method"
GRADIENT = "Gradient descent (--method gradient)"
DEVICE = "Device"


@dataclass(frozen=True)
class Fitting:
    """What is fitted and how; None leaves the default to FitOptions, or to the model of --init."""

    components: Annotated[
        str | None,
        typer.Option(
            "--components",
            "-k",
            metavar="K",
            help="Components; several, as 1:9 or 2,4:6, to choose among. "
            f"Default: {FitOptions.components}, or as many as --init has.",
            rich_help_panel=MODEL,
        ),
    ] = None
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            "-f",
            metavar="FAMILY",
            help=f"Covariance family: {', '.join(FAMILIES)}; several, comma-separated, or all, to choose among. "
            f"Default: {FitOptions.family}, or that of --init.",
            autocompletion=complete_list([*FAMILIES, "all"]),
            rich_help_panel=MODEL,
        ),
    ] = None
    variance: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="The variance of --family constant, in squared units of the data, of z-scores with "
            "--standardize. Default: 1.",
            rich_help_panel=MODEL,
        ),
    ] = None
    variance_floor: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="No component's variance falls below this share of the column's variance. "
            f"Default: {VARIANCE_FLOOR:g}.",
            rich_help_panel=MODEL,
        ),
    ] = None
    noise: Annotated[
        bool,
        typer.Option(
            "--noise",
            help="Add a background: a component of uniform density over the range of the data, for rows that belong "
            "to no other. gmm assign calls it -1.",
            rich_help_panel=MODEL,
        ),
    ] = FitOptions.noise
    standardize: Annotated[
        bool,
        typer.Option(
            "--standardize",
            help="Fit z-scores (divisor N) of the columns. The model still takes and shows original units.",
            rich_help_panel=MODEL,
        ),
    ] = FitOptions.standardize
    method: Annotated[
        Literal["em", "gradient"],
        typer.Option(
            help="em: closed-form steps. gradient: descent on the mean negative log-likelihood.",
            rich_help_panel=METHOD,
        ),
    ] = FitOptions.method
    prior: Annotated[
        bool,
        typer.Option(
            "--prior",
            help="Maximise the posterior under a conjugate prior, worth a row or so for each component: it keeps "
            "components from collapsing where rows are few. BIC is then of a likelihood below its maximum.",
            rich_help_panel=METHOD,
        ),
    ] = FitOptions.prior
    on_collapse: Annotated[
        Literal["reset", "drop", "error"],
        typer.Option(
            help="What is done with a component that has shrunk to a few rows or to the variance floor. reset: it "
            "begins again at a row that the mixture explains badly, up to three times a restart. drop: the fit goes "
            "on without it. error: that restart fails.",
            rich_help_panel=METHOD,
        ),
    ] = FitOptions.on_collapse
    acceleration: Annotated[
        Literal["bfgs", "anderson", "squarem", "none"] | None,
        typer.Option(
            help="How EM's steps are extrapolated, so that it needs fewer passes; none: plain EM. "
            f"Default: {ACCELERATIONS[0]}.",
            rich_help_panel=METHOD,
        ),
    ] = None
    init: Annotated[
        str,
        typer.Option(
            metavar="START",
            help=f"{', '.join(INITS)}; or a model file to go on from, or a table of starting means, its columns "
            "matched by name. ward: many small clusters, merged. auto: ward and kmeans++ by turns. random: random "
            "responsibilities. random-rows: K rows as means.",
            autocompletion=complete(INITS),
            rich_help_panel=METHOD,
        ),
    ] = FitOptions.init
    restarts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Starts. After a short run of each the best three go on, and the best of these is kept. "
            f"Default: {RESTARTS}; 1 when --init is a file.",
            rich_help_panel=METHOD,
        ),
    ] = None
    seed: Annotated[
        int, typer.Option(metavar="INT", help="Of everything that is drawn at random.", rich_help_panel=METHOD)
    ] = FitOptions.seed
    iterations: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Passes over the data that a restart may take; an epoch of mini-batches is one. Adam's rates are "
            f"annealed to 0 over them. Default: {ITERATIONS}.",
            rich_help_panel=METHOD,
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="NATS",
            help="Stop when the estimated gain still to come is below this, in nats per row.",
            rich_help_panel=METHOD,
        ),
    ] = FitOptions.tolerance
    optimizer: Annotated[
        Literal["adam", "lbfgs"] | None,
        typer.Option(help="Default: adam. lbfgs takes all rows at once.", rich_help_panel=GRADIENT),
    ] = None
    mixture_lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Adam's first step size for the weights, on the scale of their logits: how fast rows move "
            f"between components. Default: {MIXTURE_LR}.",
            rich_help_panel=GRADIENT,
        ),
    ] = None
    component_lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Adam's first step size for means, in standard deviations of the data, and covariances, on a log "
            f"scale: how fast components move and stretch. Default: {COMPONENT_LR}.",
            rich_help_panel=GRADIENT,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="ROWS", help="Rows of a mini-batch of Adam. Default: all.", rich_help_panel=GRADIENT),
    ] = None
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:N or mps. auto is cuda where there is one.",
            autocompletion=complete(["auto", "cpu", "cuda", "cuda:0", "mps"]),
            rich_help_panel=DEVICE,
        ),
    ] = FitOptions.device
    precision: Annotated[
        Literal["auto", "float32", "float64", "tf32"],
        typer.Option(
            help="Of the passes over the data. auto is float64 where the device is fast in it, float32 elsewhere; "
            "tf32 is for CUDA, where three digits will do.",
            rich_help_panel=DEVICE,
        ),
    ] = FitOptions.precision
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Workers on the CPU; the result does not depend on it. Default: one for each processor.",
            rich_help_panel=DEVICE,
        ),
    ] = None

    def options(self, start: Start | None = None) -> FitOptions:
        """Those of a single fit, checked, with what a start tells of components and family where the user has not."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if self.components is not None:
            given["components"] = parse_components(self.components)[0]
        for flag in ("standardize", "prior", "noise"):  # one that is not given leaves it to the start
            if not given[flag]:
                del given[flag]
        return FitOptions(**(given if start is None else start.complete(given)))


def read_start(init: str, reading: ReadOptions) -> Start | None:
    """What --init names when it is a file; None for the name of a random start."""
    if init in INITS or not _names_file(init):
        return None
    with library_imports():
        from gmmcli.fitting.given_start import Start

    option = Option("init", one_line(init))
    if _names_model(init, reading):
        from gmmcli.model.model_file import load_model

        return Start(load_model(init)[0], option=option)
    import torch

    from gmmcli.data import Source

    source = Source([init], reading)
    names = source.select().used
    means = torch.cat([block.x for block in source.blocks(names)])
    return Start(means=means, names=None if source.by_position else names, option=option)


def _names_model(init: str, reading: ReadOptions) -> bool:
    if suffix_of(init) == ".pt":
        return True
    if is_address(init):  # which is not fetched for a look
        return format_of_path(init) is None and reading.format is None
    return zipfile.is_zipfile(init)


def _names_file(init: str) -> bool:
    return os.path.exists(init) or bool(os.path.dirname(init) or os.path.splitext(init)[1])
