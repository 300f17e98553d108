"""Ways to restore a whole field.

Used by the other ``rscd_*.py``; nothing to run here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from histomend.api import denoise
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.store import Restored, digest, pixels_digest
from histomend.image import Intensity
from histomend.image.signals import fitted_range
from histomend.models import Model

STORE = Path("runs/rscd-figures")
Kind = Literal["degraded", "ideal", "rscd", "ablation", "baseline"]


@dataclass(frozen=True)
class Row:
    """One way to restore, a row of the table.

    Attributes
    ----------
    name : str
    kind : "degraded", "ideal", "rscd", "ablation" or "baseline"
        Rows of "rscd" are judged against the others; "ideal" is the field as it would be without
        its noise, the most that taking noise away alone can give.
    method : str
        Of `histomend.denoise`; empty for leaving the field as it is.
    model : Model or None
    settings : dict
        Further arguments of `histomend.denoise`, such as preset and steps.
    """

    name: str
    kind: Kind
    method: str = ""
    model: Model | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def key(self, pair: Case) -> str:
        """Return a hash of everything that the restored field depends on; empty without method."""
        if not self.method:
            return ""
        config = None if self.model is None else self.model.config
        weights = [] if config is None else [config.sha256, config.calibrator_sha256]
        pixels = pixels_digest(pair.given)
        return digest(self.method, weights, self.settings, pair.seed, pair.given.shape, pixels)

    def restore(self, pair: Case) -> Restored:
        """Restore one field on the processor."""
        if self.kind == "ideal" and pair.without_noise is not None:
            return Restored(pair.without_noise, 0.0, 0.0)
        if not self.method:
            return Restored(pair.given, 0.0, 0.0)
        began = time.process_time()
        result = denoise(
            pair.given,
            model=self.model,
            method=self.method,
            seed=pair.seed,
            axes="YXC",
            device="cpu",
            **self.settings,
        )
        seconds = time.process_time() - began
        figures = result.record.figures
        nfe, t = figures["nfe_mean"], figures.get("t")
        return Restored(
            result.pixels.reshape(pair.given.shape),
            seconds,
            float(nfe),
            None if t is None else float(t["mean"]),
        )


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
