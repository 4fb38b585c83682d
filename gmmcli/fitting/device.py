"""Which device and precision a fit runs in."""

from __future__ import annotations

import torch

from gmmcli.errors import UsageError

SLOW_FLOAT64 = {"cuda", "mps"}  # most GPUs do float64 at 1/32 to 1/64 of float32's rate; MPS has none


def resolve_device(name: str) -> torch.device:
    """auto is CUDA where there is one, else the CPU. Raises UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (number.isdigit() and kind == "cuda")):
        raise UsageError(f"unknown --device {name!r}: choose auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and (not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise UsageError(f"--device {name}: there are {count} CUDA devices here: use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no Metal device here: use --device cpu or auto")
    return torch.device(name)


def pass_dtype(precision: str, device: torch.device) -> torch.dtype:
    """float64 on the CPU, float32 where float64 is slow, unless asked. Raises UsageError for float64 on MPS."""
    if precision == "auto":
        return torch.float32 if device.type in SLOW_FLOAT64 else torch.float64
    if precision == "float64" and device.type == "mps":
        raise UsageError("--precision float64: Metal has no float64: use float32 or --device cpu")
    return torch.float32 if precision == "float32" else torch.float64
