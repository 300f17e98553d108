"""Tissue laid into other tissue, so that no dense band is taken for a fold for being one.

Epidermis lies in dermis as a dense dark band, keratin on it in smooth or peeling layers, and
lymphocytes in fat as islands. Clean tiles have few of them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from histomend.damage.optics import Field, Picture, density
from histomend.damage.shapes import noise, random_mask

Pixels = npt.NDArray[np.uint8]
Source = Callable[[np.random.Generator], Pixels]
"""Gives a square of clean tissue, (side, side, 3) uint8 at 1 um/px."""

# What is laid in: other tissue as it is or denser, something without cells, peeling keratin.
KINDS, KIND_SHARES = ("tissue", "without_cells", "keratin"), (0.6, 0.2, 0.2)
EOSIN, HEMATOXYLIN = np.array([0.2, 0.85, 0.5]), np.array([0.66, 0.68, 0.32])


def patched(pixels: Pixels, clean: Source, rng: np.random.Generator) -> Pixels:
    """Lay another tissue, or one without cells, into a scene: bands and islands that are no fold.

    Parameters
    ----------
    pixels : (side, side, 3) uint8, 1 um/px
    clean : function
    """
    side = pixels.shape[0]
    family = str(
        rng.choice(["band", "blob", "bite", "stroke", "specks"], p=[0.4, 0.2, 0.2, 0.1, 0.1])
    )
    area = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    mask = random_mask((side, side), rng, area=area, family=family).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 3.0))[..., None]
    od = density(pixels)
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    if kind == "tissue":
        # Denser than what is around it more often than not, and of a colour of its own: pigment
        # makes epidermis brown.
        tint = np.exp(rng.uniform(-0.1, 0.9) + rng.normal(0, 0.1, 3))
        other = density(clean(rng)) * tint
    elif kind == "without_cells":
        other = without_cells(side, rng)
    else:
        other = keratin(side, rng)
    mixed = od + soft * (np.asarray(other, np.float32) - od)
    return np.clip(np.rint(255 * np.exp(-mixed)), 0, 255).astype(np.uint8)


def without_cells(side: int, rng: np.random.Generator) -> Picture:
    """Draw fibrin, colloid, compact keratin or packed red cells: smooth or in layers, as density.

    Returns
    -------
    (side, side, 3) float32
    """
    coarse = noise((side, side), rng, cells=rng.uniform(3, 12), octaves=3)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    across = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(2, 12) * coarse
    layers = np.sin(across * rng.uniform(0.3, 1.5)) * rng.uniform(0, 0.35)
    thick = np.exp(
        0.2 * coarse * rng.uniform(0.2, 1.5) + layers + rng.normal(0, 0.06, (side, side))
    )
    tint = _tint(0.6 * rng.random() ** 1.5, rng)
    strength = rng.uniform(0.4, 1.6)
    return np.asarray(np.maximum(strength * thick[..., None] * tint, 0), np.float32)


def keratin(side: int, rng: np.random.Generator) -> Picture:
    """Draw keratin that peels: dark wavy strands, purple to red, with glass between some of them.

    Returns
    -------
    (side, side, 3) float32, optical density
    """
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    bend, drift = (
        rng.uniform(5, 28) * noise((side, side), rng, cells=rng.uniform(1.5, 5), octaves=2)
        for _ in range(2)
    )
    across = x * np.cos(angle) + y * np.sin(angle) + bend
    along = y * np.cos(angle) - x * np.sin(angle) + 0.4 * drift
    # Noise on a plane that is much longer along the strands than across them.
    strands = _noise_at(along / rng.uniform(6, 18), across / rng.uniform(0.8, 2.0), rng)
    bundles, shades = (
        noise((side, side), rng, cells=rng.uniform(2, 6), octaves=2) for _ in range(2)
    )
    thick = np.exp(rng.uniform(0.25, 0.6) * strands + 0.25 * bundles)
    gaps = rng.uniform(0, 0.6) * (rng.random() < 0.7)
    if gaps > 0:
        mixed = strands + rng.uniform(0.3, 1.5) * bundles
        level = np.quantile(mixed, gaps)
        thick = thick * np.clip(0.5 + (mixed - level) / rng.uniform(0.1, 0.5), 0, 1)
    redder = np.clip(0.5 + 0.35 * shades, 0, 1)[..., None]
    tint = redder * _tint(rng.uniform(0.0, 0.4), rng) + (1 - redder) * _tint(
        rng.uniform(0.3, 1.0), rng
    )
    return np.asarray(np.maximum(rng.uniform(0.5, 1.9) * thick[..., None] * tint, 0), np.float32)


def _noise_at(column: Field, row: Field, rng: np.random.Generator) -> Field:
    """Look up noise of unit variance, some 3 px fine, on a plane that repeats."""
    plane = noise((256, 256), rng, cells=64, octaves=2)
    return np.asarray(
        cv2.remap(
            plane,
            np.mod(column, 256).astype(np.float32),
            np.mod(row, 256).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        ),
        np.float32,
    )


def _tint(share: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the density of the channels of a mix of eosin and hematoxylin."""
    return np.asarray((1 - share) * EOSIN + share * HEMATOXYLIN + rng.normal(0, 0.04, 3))
