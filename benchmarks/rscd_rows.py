"""Ways to restore a whole field.

Used by the other ``rscd_*.py``; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.rows import FunctionRow, MethodRow, left_alone
from histomend.image import Intensity
from histomend.image.signals import fitted_range
from histomend.models import Model

STORE = Path("runs/rscd-figures")
Kind = Literal["degraded", "ideal", "rscd", "ablation", "baseline"]


def row_of(
    name: str,
    kind: Kind,
    method: str = "",
    model: Model | None = None,
    settings: Mapping[str, Any] | None = None,
) -> MethodRow | FunctionRow:
    """Return a row of the table.

    Parameters
    ----------
    kind : "degraded", "ideal", "rscd", "ablation" or "baseline"
        Rows of "rscd" are judged against the others; "ideal" is the field as it would be without
        its noise, the most that taking noise away alone can give.
    method : str
        Of `histomend.denoise`; empty for leaving the field as it is.
    settings : mapping, optional
        Further arguments of `histomend.denoise`, such as preset and steps.
    """
    if kind == "ideal":
        return FunctionRow(name, kind, _without_noise, timed=False)
    if not method:
        return left_alone(name, kind)
    return MethodRow(name, kind, "denoise", method, model, dict(settings or {}))


def _without_noise(case: Case) -> np.ndarray:
    return case.given if case.without_noise is None else case.without_noise


def as_x(*fields: np.ndarray) -> Tensor:
    """Return fields (S, S, C) of one size as a model sees them, (B, C, S, S) in [-1, 1].

    Dim fields of one or two channels are stretched, as `histomend.denoise` does.
    """
    seen = []
    for pixels in fields:
        intensity = fitted_range(pixels, Intensity.for_dtype(pixels.dtype))
        seen.append(torch.from_numpy(intensity.encode(pixels)).permute(2, 0, 1))
    return torch.stack(seen)


def as_pixels(x: Tensor) -> list[np.ndarray]:
    """Return the images of x (B, C, S, S) in [-1, 1] as 8-bit pixels (S, S, C)."""
    whole = Intensity.for_dtype(np.dtype(np.uint8))
    return [whole.decode(image.permute(1, 2, 0).numpy(), np.dtype(np.uint8)) for image in x]


def noise_of(*pairs: Case) -> NoiseStream:
    """Return the noise of each field, by its seed."""
    return NoiseStream([NoiseField(pair.seed) for pair in pairs], [(0, 0)] * len(pairs))
