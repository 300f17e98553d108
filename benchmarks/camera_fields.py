"""Noisy fields of one channel whose clean version is known: simulated cameras, and real ones.

Used by camera_table.py; nothing to run here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from histomend.damage.optics import density
from histomend.damage.photons import counted
from histomend.damage.specimens import draw_specimen
from histomend.evaluate.harness.cases import NOT_MEASURED, field_of_view

# Photons at the brightest place.
LEVELS = (8, 25, 80, 250, 800)
# A camera as many have: 12 bits in a file of 16.
GAIN, OFFSET, READ_NOISE = 2.2, 100.0, 1.6
# Percentiles of the clean image that become 0 and 255.
DARKEST, BRIGHTEST = 0.1, 99.9
SIDE = 256


@dataclass(frozen=True)
class CameraField:
    """A noisy field and its clean version.

    Attributes
    ----------
    name, group : str
        What intervals draw is the group: channels of one field of view are not independent.
    noisy : (H, W) uint8 or uint16
    truth : (H, W) float64
        So scaled that its own range is 0..255.
    fitted : bool
        Whether the two have scales of their own, so that a restoration is brought to the truth's
        by slope and offset (least squares) before it is compared.
    slope, intercept : float
        From values of the noisy file to those of the truth, where they are known.
    """

    name: str
    group: str
    noisy: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    fitted: bool
    slope: float = 1.0
    intercept: float = 0.0

    def compared(self, restored: np.ndarray) -> np.ndarray:
        """Return restored file values on the truth's scale."""
        values = restored.astype(np.float64)
        if not self.fitted:
            return self.slope * values + self.intercept
        design = np.stack([values.ravel(), np.ones(values.size)], 1)
        (slope, intercept), *_ = np.linalg.lstsq(design, self.truth.ravel(), rcond=None)
        return np.asarray(slope * values + intercept)


def simulated_fields(data: Path, photons: float) -> list[CameraField]:
    """Return fields as a simulated camera takes them, of light that no training used.

    Nuclei of `fluo_clean`'s split "val", densities of H&E tiles of other slides than the
    training's, and drawn specimens of other seeds than the training's.
    """
    fields = []
    for number, (name, light) in enumerate(_lights(data)):
        rng = np.random.default_rng([51, number, round(photons)])
        expected = photons * (0.04 + 0.96 * light)
        seen = GAIN * counted(expected, 1.0, READ_NOISE, rng) + OFFSET
        low, high = np.percentile(expected, (DARKEST, BRIGHTEST))
        slope = 255 / (high - low)
        fields.append(
            CameraField(
                name,
                name,
                np.clip(np.rint(seen), 0, 4095).astype(np.uint16),
                slope * (expected.astype(np.float64) - low),
                fitted=False,
                slope=slope / GAIN,
                intercept=-slope * (OFFSET / GAIN + low),
            )
        )
    return fields


def _lights(data: Path) -> list[tuple[str, np.ndarray]]:
    found = []
    with (data / "fluo_clean" / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        names = [row["file"] for row in csv.DictReader(lines) if row["split"] == "val"]
    for name in names[:4]:
        grey = np.asarray(Image.open(data / "fluo_clean" / name).convert("L"), np.float32)
        found.append((Path(name).stem, _centre(grey / max(float(grey.max()), 1.0))))
    for tile in sorted((data / "he_clean_val").glob("*.jpg"))[::22][:4]:
        od = density(np.asarray(Image.open(tile).convert("RGB"))).mean(-1)
        halved = od.reshape(od.shape[0] // 2, 2, od.shape[1] // 2, 2).mean((1, 3))
        low, high = np.percentile(halved, (1, 99.8))
        found.append((tile.stem, _centre(np.clip((halved - low) / (high - low), 0, 1))))
    for seed in range(4):
        found.append((f"drawn-{seed}", draw_specimen(np.random.default_rng([52, seed]), SIDE)))
    return found


def _centre(light: np.ndarray) -> np.ndarray:
    y, x = (max(0, (n - SIDE) // 2) for n in light.shape)
    return light[y : y + SIDE, x : x + SIDE]


def real_fields(folder: Path, *, crops: bool, only: str = "") -> list[CameraField]:
    """Return real pairs, whole or their centres of 256 px.

    Parameters
    ----------
    only : str
        Only images whose file begins so.
    """
    fields = []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if not row["noisy"].startswith(NOT_MEASURED)]
    for row in rows:
        if not row["noisy"].startswith(only):
            continue
        noisy, clean = (
            np.asarray(Image.open(folder / row[key]).convert("L")) for key in ("noisy", "clean")
        )
        if crops:
            noisy, clean = _centre(noisy), _centre(clean)
        low, high = np.percentile(clean, (DARKEST, BRIGHTEST))
        truth = (clean.astype(np.float64) - low) * 255 / max(high - low, 1)
        name = Path(row["noisy"]).stem
        group = field_of_view(row["noisy"])
        fields.append(CameraField(name, group, np.ascontiguousarray(noisy), truth, fitted=True))
    return fields
