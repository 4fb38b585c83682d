"""What a model file says of a fit, as plain JSON values: `describe` turns a FitResult into the metadata."""

from __future__ import annotations

import dataclasses
from typing import Any

from gmmcli.fitting.result import FitResult


def describe(result: FitResult, **more: Any) -> dict[str, Any]:
    """The metadata of a fitted model. `more` adds what only the caller knows: the files, the command's options.

    Log-likelihoods, bic, aic, icl are totals in nats, entropy is that of the assignments, per row; history is of the
    kept restart, in nats per row; component numbers count from 0, heaviest first.
    """
    summary = result.survey
    return {
        "family": result.model.family,
        "components": result.model.components,
        "dims": result.model.dims,
        "columns": None if result.model.columns is None else list(result.model.columns),
        "parameters": result.parameter_count,
        "rows": result.rows,
        "weight": result.weight,
        "log_likelihood": result.log_likelihood,
        "mean_log_likelihood": result.log_likelihood / result.weight,
        "bic": result.bic,
        "aic": result.aic,
        "icl": result.icl,
        "method": result.options.method,
        "acceleration": result.options.accelerated_by,
        "seed": result.options.seed,
        "stop": dataclasses.asdict(result.stop),
        "converged": result.converged,
        "remaining_gain": result.remaining,
        "unsound": result.unsound,
        "passes": result.passes,
        "seconds": result.seconds,
        "device": result.device,
        "precision": result.precision,
        "options": dataclasses.asdict(result.options),
        "data": {
            "fingerprint": summary.fingerprint,
            "minimum": summary.minimum.tolist(),
            "maximum": summary.maximum.tolist(),
            "mean": summary.mean.tolist(),
            "std": summary.variances.sqrt().tolist(),
        },
        "scores": result.scores.to_json(),
        "entropy": result.entropy / result.weight,
        "certainty": dataclasses.asdict(result.certainty),
        "findings": result.findings,
        "restart": result.restart,
        "restarts": [dataclasses.asdict(restart) for restart in result.restarts],
        "history": [dataclasses.asdict(record) for record in result.history],
    } | dict[str, Any](more)
