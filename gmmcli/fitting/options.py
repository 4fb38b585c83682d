"""The options of a fit, checked once for the command line and for Python alike. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from gmmcli.errors import UsageError
from gmmcli.families import FAMILIES, given_variance

ACCELERATIONS = ("bfgs", "anderson", "squarem", "none")  # of EM; the first is the default
INITS = ("auto", "ward", "kmeans++", "random", "random-rows")
RESTARTS = 10
ITERATIONS = 1000
VARIANCE_FLOOR = 1e-6
SHORT_PASSES = {"em": 25, "adam": 100, "lbfgs": 25}  # of every restart, before the best few go on
ON_COLLAPSE = ("reset", "drop", "error")
PRECISIONS = ("auto", "float32", "float64", "tf32")
MIXTURE_LR = 0.1
COMPONENT_LR = 0.05


@dataclass(frozen=True)
class FitOptions:
    """What is fitted and how; None means the default that depends on the others.

    tolerance: nats per row of estimated remaining gain. iterations: full passes a restart may take. acceleration: of
    EM, a name in ACCELERATIONS. variance_floor: relative to each column's variance. prior: whether means and
    covariances have a conjugate prior. noise: whether there is a background, a component of uniform density over the
    range of the data. on_collapse: a name in ON_COLLAPSE, what is done with a component that has shrunk to a few rows
    or to the floor. mixture_lr, component_lr: Adam's rates of the weights and of means and covariances. variance: of
    the constant family. init: a name in INITS, or "given" when a model or a table of means is passed. threads:
    workers on the CPU, all processors when None.
    """

    components: int = 5
    family: str = "full"
    method: Literal["em", "gradient"] = "em"
    variance: float | None = None
    init: str = "auto"
    restarts: int | None = None
    seed: int = 42
    iterations: int | None = None
    tolerance: float = 1e-6
    variance_floor: float | None = None
    prior: bool = False
    noise: bool = False
    on_collapse: Literal["reset", "drop", "error"] = "reset"
    standardize: bool = False
    acceleration: Literal["bfgs", "anderson", "squarem", "none"] | None = None
    optimizer: Literal["adam", "lbfgs"] | None = None
    mixture_lr: float | None = None
    component_lr: float | None = None
    batch_size: int | None = None
    device: str = "auto"
    precision: Literal["auto", "float32", "float64", "tf32"] = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError naming the first option that is out of range or does not apply."""
        if self.family not in FAMILIES:
            raise UsageError(f"unknown --family {self.family!r}: choose one of {', '.join(FAMILIES)}")
        for name, choices in (
            ("method", ("em", "gradient")),
            ("precision", PRECISIONS),
            ("on_collapse", ON_COLLAPSE),
        ):
            if getattr(self, name) not in choices:
                raise UsageError(f"unknown {_flag(name)} {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        if self.init not in (*INITS, "given"):
            raise UsageError(f"unknown --init {self.init!r}: choose {', '.join(INITS)}, a model file or a table")
        self._check_numbers()
        self._check_combinations()

    def _check_numbers(self) -> None:
        for name in ("components", "seed", "restarts", "iterations", "batch_size", "threads"):
            value = getattr(self, name)
            if value is None and name not in ("components", "seed"):
                continue
            if not isinstance(value, Integral):
                raise UsageError(f"{_flag(name)} {value!r}: must be a whole number")
            if name != "seed" and value < 1:
                raise UsageError(f"{_flag(name)} {value}: must be at least 1")
        for name in ("variance", "mixture_lr", "component_lr", "tolerance", "variance_floor"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value >= 0 and math.isfinite(value)):
                raise UsageError(f"{_flag(name)} {value}: must be a number and not negative")
            if value == 0 and name != "tolerance":
                raise UsageError(f"{_flag(name)} {value}: must be positive")
        if self.floor >= 1:
            raise UsageError(f"--variance-floor {self.variance_floor}: must be less than 1, the data's own variance")

    def _check_combinations(self) -> None:
        if self.variance is not None and self.family not in given_variance():
            raise UsageError(f"--variance applies to --family {', '.join(given_variance())}, not to {self.family}")
        if self.variance_floor is not None and self.family in given_variance():
            raise UsageError(f"--variance-floor does not apply to --family {self.family}: nothing is estimated")
        if self.method == "em":
            for name in ("optimizer", "mixture_lr", "component_lr", "batch_size"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{_flag(name)} applies to --method gradient, not to em")
        elif self.acceleration is not None:
            raise UsageError("--acceleration applies to --method em, not to gradient")
        if self.acceleration not in (None, *ACCELERATIONS):
            choices = ", ".join(ACCELERATIONS)
            raise UsageError(f"unknown --acceleration {self.acceleration!r}: choose one of {choices}")
        if self.optimizer not in (None, "adam", "lbfgs"):
            raise UsageError(f"unknown --optimizer {self.optimizer!r}: choose adam or lbfgs")
        if self.optimizer == "lbfgs":
            for name in ("mixture_lr", "component_lr", "batch_size"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{_flag(name)} applies to --optimizer adam, not to lbfgs")
        if self.init == "given" and (self.restarts or 1) > 1:
            raise UsageError("--restarts applies to random starts, not to --init from a file")

    @property
    def restart_count(self) -> int:
        """Number of starts; one where all would be the same."""
        return 1 if self.init == "given" or self.components == 1 else self.restarts or RESTARTS

    @property
    def floor(self) -> float:
        """Smallest variance or eigenvalue, relative to that of the data."""
        return self.variance_floor or VARIANCE_FLOOR

    @property
    def passes(self) -> int:
        """Full passes that a restart may take."""
        return self.iterations or ITERATIONS

    @property
    def short_passes(self) -> int:
        """Full passes of every restart before all but the best few are left behind."""
        return SHORT_PASSES["em" if self.method == "em" else self.optimizer or "adam"]

    @property
    def accelerated_by(self) -> str | None:
        """The acceleration of EM, the default where none is given; None for plain EM and for other methods."""
        chosen = self.acceleration or ACCELERATIONS[0]
        return None if self.method != "em" or chosen == "none" else chosen

    @property
    def mixture_rate(self) -> float:
        """Adam's learning rate of the logits."""
        return self.mixture_lr or MIXTURE_LR

    @property
    def component_rate(self) -> float:
        """Adam's learning rate of means and covariances."""
        return self.component_lr or COMPONENT_LR


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
