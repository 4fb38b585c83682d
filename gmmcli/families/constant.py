"""A covariance v I that the user gives and the fit leaves alone (`constant`).

With v → 0 the fit is k-means; with the right v it is the mixture of known noise.
"""

from __future__ import annotations

from gmmcli.families.isotropic import IsotropicFamily


class ConstantFamily(IsotropicFamily):
    """An isotropic family whose one variance is not learned, nor counted, nor held by a floor."""

    learned = False


CONSTANT = ConstantFamily("constant", shared=True)
