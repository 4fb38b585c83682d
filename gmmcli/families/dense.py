"""Linear algebra of covariance matrices: Cholesky factors, eigenvalue floors, regressions among columns."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmcli.errors import NumericalError


def cholesky(covariances: Tensor) -> Tensor:
    """Lower Cholesky factors of covariances (J, D, D). Raises NumericalError unless all are positive definite."""
    factor, info = torch.linalg.cholesky_ex(covariances)
    if bool((info != 0).any()):
        k = int((info != 0).nonzero()[0])
        raise NumericalError("not positive definite", subject=f"covariance {k}")
    return factor


def inverse_tril(factor: Tensor) -> Tensor:
    """Inverses of lower-triangular matrices (..., D, D)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


def below(covariances: Tensor, floor: float) -> Tensor:
    """Mask (J,) of covariances (J, D, D) with an eigenvalue below the floor: if Σ − floor I has no factor."""
    eye = torch.eye(covariances.shape[-1], dtype=covariances.dtype, device=covariances.device)
    return torch.linalg.cholesky_ex(covariances - floor * eye).info != 0


def raised(covariances: Tensor, floor: float) -> Tensor:
    """Covariances (J, D, D) with every eigenvalue below the floor raised to it. The others keep their bits.

    Clamping the eigenvalues of the scatter matrix maximises the likelihood under Σ ⪰ floor I. So EM stays monotone
    where the floor binds.
    """
    binds = below(covariances, floor)
    if not bool(binds.any()):
        return covariances
    values, vectors = torch.linalg.eigh(covariances[binds])
    # A little above the floor, so that a later factorisation cannot fail by rounding at a floor of 0.
    values = values.clamp_min(max(floor, torch.finfo(values.dtype).tiny))
    covariances = covariances.clone()
    covariances[binds] = (vectors * values[:, None, :]) @ vectors.mT
    return covariances


def regression(covariances: Tensor, observed: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes Σ_mo Σ_oo⁻¹ (J, M, D') of missing on observed columns, and residual covariances (J, M, M).

    The residual covariance is Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om. covariances: (J, D, D). observed, missing: indices of columns,
    (D',) and (M,) int64.
    """
    rest = covariances[:, missing][:, :, missing]
    across = covariances[:, missing][:, :, observed]
    if not len(observed):
        return across, rest
    factor = cholesky(covariances[:, observed][:, :, observed])
    half = torch.linalg.solve_triangular(factor, across.mT, upper=False).mT
    slope = torch.linalg.solve_triangular(factor.mT, half.mT, upper=True).mT
    return slope, rest - half @ half.mT
