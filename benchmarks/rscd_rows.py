"""Ways to restore a whole field, and what they made of each field, kept on disk.

Used by the other ``rscd_*.py``; nothing to run here. What was restored once is kept as a PNG with
a line of JSON, so that a run that was stopped goes on where it was, and a new measure needs no
restoration. After a change to the code of a method, delete the folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from histomend.denoise import denoise
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.image import Intensity
from histomend.image.signals import fitted_range
from histomend.models import Model
from rscd_fields import Pair

STORE = Path("runs/rscd-figures")
Kind = Literal["degraded", "rscd", "ablation", "baseline"]


@dataclass(frozen=True)
class Row:
    """One way to restore, a row of the table.

    Attributes
    ----------
    name : str
    kind : "degraded", "rscd", "ablation" or "baseline"
        Rows of "rscd" are judged against the others.
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

    def key(self, pair: Pair) -> str:
        """Return a hash of everything that the restored field depends on."""
        config = None if self.model is None else self.model.config
        weights = [] if config is None else [config.sha256, config.calibrator_sha256]
        pixels = hashlib.sha256(np.ascontiguousarray(pair.degraded).tobytes()).hexdigest()
        parts = [self.method, weights, self.settings, pair.seed, pair.degraded.shape, pixels]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Restored:
    """What a row made of a field.

    Attributes
    ----------
    pixels : (S, S, C) uint8
    seconds : float
        Of processor time: on one thread, what it takes on a machine that does nothing else.
    nfe : float
        Network calls, mean over tiles.
    t : float or None
        Mean of the map of t, where the method has one.
    """

    pixels: np.ndarray = field(repr=False)
    seconds: float
    nfe: float
    t: float | None


class Store:
    """Restored fields on disk."""

    def __init__(self, folder: Path = STORE) -> None:
        self.folder = folder
        self.records = folder / "records.jsonl"
        self.known: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self.records.exists():
            text = self.records.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):
                self._write("\n")  # what a killed run left half-written stays a line of its own
            for line in text.splitlines():
                try:
                    record = json.loads(line)
                    self.known[record.pop("key")] = record
                except (ValueError, KeyError, AttributeError):
                    continue

    def restored(self, row: Row, pairs: Sequence[Pair]) -> list[Restored]:
        """Return what a row makes of each field, restoring only what is not on disk."""
        return [self._one(row, pair) for pair in pairs]

    def _one(self, row: Row, pair: Pair) -> Restored:
        if not row.method:
            return Restored(pair.degraded, 0.0, 0.0, None)
        key = row.key(pair)
        picture = self.folder / f"{key}.png"
        if key in self.known and picture.exists():
            found = self.known[key]
            pixels = np.asarray(Image.open(picture)).reshape(pair.degraded.shape)
            return Restored(pixels, found["seconds"], found["nfe"], found["t"])
        made = restore(row, pair)
        squeezed = made.pixels[..., 0] if made.pixels.shape[2] == 1 else made.pixels
        Image.fromarray(squeezed).save(picture)
        record = {k: v for k, v in asdict(made).items() if k != "pixels"}
        self.known[key] = record
        line = json.dumps({"key": key, "row": row.name, "field": pair.name, **record})
        self._write(line + "\n")
        print(f"{row.name}: {pair.name} {made.seconds:.1f} s, {made.nfe:.0f} calls", flush=True)
        return made

    def _write(self, text: str) -> None:
        with self.records.open("a", encoding="utf-8") as file:
            file.write(text)


def restore(row: Row, pair: Pair) -> Restored:
    """Restore one field on the processor."""
    began = time.process_time()
    result = denoise(
        pair.degraded,
        model=row.model,
        method=row.method,
        seed=pair.seed,
        axes="YXC",
        device="cpu",
        **row.settings,
    )
    seconds = time.process_time() - began
    nfe, t = result.record.nfe["mean"], result.record.t
    return Restored(
        result.pixels.reshape(pair.degraded.shape),
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


def noise_of(*pairs: Pair) -> NoiseStream:
    """Return the noise of each field, by its seed."""
    return NoiseStream([NoiseField(pair.seed) for pair in pairs], [(0, 0)] * len(pairs))
