"""Gaussian mixtures for data files: `gmm` on the command line, and the same from Python.

    import gmmcli

    result = gmmcli.fit(frame, components=3, family="diagonal")
    labels = result.model.assign(frame)
    gmmcli.save("model.pt", result)

Names are imported when first used, so that `gmm --help` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gmmcli.families import FAMILIES

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gmmcli.api import fit, load, save
    from gmmcli.fitting.result import FitResult
    from gmmcli.model.agreement import adjusted_rand_index
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.plot import plot_data_and_model

_LAZY = {
    "fit": "gmmcli.api",
    "load": "gmmcli.api",
    "save": "gmmcli.api",
    "FitResult": "gmmcli.fitting.result",
    "GaussianMixture": "gmmcli.model.mixture",
    "adjusted_rand_index": "gmmcli.model.agreement",
    "plot_data_and_model": "gmmcli.plot",
}

__all__ = [
    "FAMILIES",
    "FitResult",
    "GaussianMixture",
    "__version__",
    "adjusted_rand_index",
    "fit",
    "load",
    "plot_data_and_model",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'gmmcli' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
