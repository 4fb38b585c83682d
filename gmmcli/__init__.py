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

from gmmcli.families import FAMILIES as FAMILIES

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gmmcli.api import fit as fit
    from gmmcli.api import load as load
    from gmmcli.api import save as save
    from gmmcli.fitting.result import FitResult as FitResult
    from gmmcli.model.agreement import adjusted_rand_index as adjusted_rand_index
    from gmmcli.model.mixture import GaussianMixture as GaussianMixture
    from gmmcli.plot import plot_data_and_model as plot_data_and_model

_LAZY = {
    "fit": "gmmcli.api",
    "load": "gmmcli.api",
    "save": "gmmcli.api",
    "FitResult": "gmmcli.fitting.result",
    "GaussianMixture": "gmmcli.model.mixture",
    "adjusted_rand_index": "gmmcli.model.agreement",
    "plot_data_and_model": "gmmcli.plot",
}
__all__ = ["FAMILIES", "__version__", *_LAZY]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'gmmcli' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
