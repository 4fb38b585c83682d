"""The options of a fit, declared and checked once for the command line and for Python alike. Imports no torch.

- `FitOptions`: the options. `Every`: the interval between two checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gmmcli.declared import Panel, check_fields
from gmmcli.errors import Option, UsageError
from gmmcli.families import FAMILIES, given_variance

ACCELERATIONS = ("bfgs", "anderson", "squarem", "none")  # of EM; the first is the default
INITS = ("auto", "ward", "kmeans++", "random", "random-rows")
RESTARTS = 10
ITERATIONS = 1000
VARIANCE_FLOOR = 1e-6
SHORT_PASSES = {"em": 25, "adam": 100, "lbfgs": 25}  # passes of every restart before the best few go on
MIXTURE_LR = 0.1
COMPONENT_LR = 0.05
CHECKPOINT_SECONDS = 60.0

MODEL = Panel("Model")
METHOD = Panel("Method")
GRADIENT = Panel("Gradient descent (<method> gradient)")
DEVICE = Panel("Device")
BY_GRADIENT = {"method": ["gradient"]}
BY_ADAM = {"method": ["gradient"], "optimizer": [None, "adam"]}


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit, each described by its help text. None means a default that depends on the others.

    init: a name in INITS, or "given" when a model or a table of means is passed.
    """

    components: int = MODEL.field(
        5,
        "-k K",
        "Components; several, as 1:9 or 2,4:6, to choose among. Default: 5, or as many as <init> has.",
        least=1,
        several=True,
    )
    family: str = MODEL.field(
        "full",
        "-f FAMILY",
        f"Covariance family: {', '.join(FAMILIES)}; several, comma-separated, or all, to choose among. "
        "Default: full, or that of <init>.",
        choices=FAMILIES,
        suggestions=(*FAMILIES, "all"),
        several=True,
    )
    method: Literal["em", "gradient"] = METHOD.field(
        "em", "", "em: closed-form steps. gradient: descent on the mean negative log-likelihood.", rank=-2
    )
    variance: float | None = MODEL.field(
        None,
        "NUMBER",
        "The variance of <family> constant, in squared units of the data, of z-scores with <standardize>. "
        "Default: 1.",
        above=0,
        applies={"family": given_variance()},
    )
    init: str = METHOD.field(
        "auto",
        "START",
        f"{', '.join(INITS)}; or a model file to go on from, or a table of starting means, its columns "
        "matched by name. ward: many small clusters, merged. auto: ward and kmeans++ by turns. random: random "
        "responsibilities. random-rows: K rows as means.",
        suggestions=INITS,
    )
    restarts: int | None = METHOD.field(
        None,
        "N",
        "Starts. After a short run of each the best three go on, and the best of these is kept. "
        f"Default: {RESTARTS}; 1 when <init> is a file.",
        least=1,
    )
    seed: int = METHOD.field(42, "INT", "Of everything that is drawn at random.")
    iterations: int | None = METHOD.field(
        None,
        "N",
        "Passes over the data that a restart may take; an epoch of mini-batches is one. Adam's rates are "
        f"annealed to 0 over them. Default: {ITERATIONS}.",
        least=1,
    )
    tolerance: float = METHOD.field(
        1e-6, "NATS", "Stop when the estimated gain still to come is below this, in nats per row.", least=0
    )
    variance_floor: float | None = MODEL.field(
        None,
        "NUMBER",
        f"No component's variance falls below this share of the column's variance. Default: {VARIANCE_FLOOR:g}.",
        above=0,
        below=1,
        unless={"family": given_variance()},
    )
    prior: bool = METHOD.field(
        False,
        "",
        "Maximise the posterior under a conjugate prior, worth a row or so for each component: it keeps "
        "components from collapsing where rows are few. BIC is then of a likelihood below its maximum.",
        rank=-1,
    )
    noise: bool = MODEL.field(
        False,
        "",
        "Add a background: a component of uniform density over the range of the data, for rows that belong "
        "to no other. gmm assign calls it -1.",
    )
    on_collapse: Literal["reset", "drop", "error"] = METHOD.field(
        "reset",
        "",
        "What is done with a component that has shrunk to a few rows or to the variance floor. reset: it "
        "begins again at a row that the mixture explains badly, up to three times a restart. drop: the fit goes "
        "on without it. error: that restart fails.",
        rank=-1,
    )
    standardize: bool = MODEL.field(
        False, "", "Fit z-scores (divisor N) of the columns. The model still takes and shows original units."
    )
    acceleration: Literal["bfgs", "anderson", "squarem", "none"] | None = METHOD.field(
        None,
        "",
        "How EM's steps are extrapolated, so that it needs fewer passes; none: plain EM. "
        f"Default: {ACCELERATIONS[0]}.",
        applies={"method": ["em"]},
        rank=-1,
    )
    optimizer: Literal["adam", "lbfgs"] | None = GRADIENT.field(
        None, "", "Default: adam. lbfgs takes all rows at once.", applies=BY_GRADIENT
    )
    mixture_lr: float | None = GRADIENT.field(
        None,
        "RATE",
        "Adam's first step size for the weights, on the scale of their logits: how fast rows move "
        f"between components. Default: {MIXTURE_LR}.",
        above=0,
        applies=BY_ADAM,
    )
    component_lr: float | None = GRADIENT.field(
        None,
        "RATE",
        "Adam's first step size for means, in standard deviations of the data, and covariances, on a log "
        f"scale: how fast components move and stretch. Default: {COMPONENT_LR}.",
        above=0,
        applies=BY_ADAM,
    )
    batch_size: int | None = GRADIENT.field(
        None, "ROWS", "Rows of a mini-batch of Adam. Default: all.", least=1, applies=BY_ADAM
    )
    device: str = DEVICE.field(
        "auto",
        "DEVICE",
        "auto, cpu, cuda, cuda:N or mps. auto is cuda where there is one.",
        suggestions=("auto", "cpu", "cuda", "cuda:0", "mps"),
    )
    precision: Literal["auto", "float32", "float64", "tf32"] = DEVICE.field(
        "auto",
        "",
        "Of the passes over the data. auto is float64 where the device is fast in it, float32 elsewhere; "
        "tf32 is for CUDA, where three digits will do.",
    )
    threads: int | None = DEVICE.field(
        None, "N", "Workers on the CPU; the result does not depend on it. Default: one for each processor.", least=1
    )

    def __post_init__(self) -> None:
        """Raises UsageError naming the first option that is out of range or has no effect."""
        check_fields(self)
        if self.init not in (*INITS, "given"):
            choices = f"choose {', '.join(INITS)}, a model file or a table"
            raise UsageError("there is no such start", subject=Option("init", self.init), remedy=choices)
        if self.init == "given" and (self.restarts or 1) > 1:
            raise UsageError("there is one start, which is given", subject=Option("restarts", self.restarts))

    @property
    def restart_count(self) -> int:
        """Number of starts; one if all would be equal."""
        return 1 if self.init == "given" or self.components == 1 else self.restarts or RESTARTS

    @property
    def passes(self) -> int:
        """Most full passes of a restart."""
        return self.iterations or ITERATIONS

    @property
    def accelerated_by(self) -> str | None:
        """The acceleration of EM, the default where none is given; None for plain EM and for other methods."""
        chosen = self.acceleration or ACCELERATIONS[0]
        return None if self.method != "em" or chosen == "none" else chosen


@dataclass(frozen=True)
class Every:
    """Interval between two checkpoints: seconds, or passes over all rows, whichever are over first."""

    seconds: float = CHECKPOINT_SECONDS
    passes: float = math.inf
