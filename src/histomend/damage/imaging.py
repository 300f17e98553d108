"""Artifacts of the microscope: blur and uneven light.

Renderers as described in `histomend.damage.optics`.
"""

from __future__ import annotations

import numpy as np

from histomend.damage import shapes
from histomend.damage.optics import (
    Mask,
    Picture,
    Pixels,
    defocus,
    density,
    depth,
    profile,
    ramp,
)
from histomend.damage.section import patch


def out_of_focus(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Leave part of the field out of focus, fading in from a soft edge."""
    mask = patch(density(pixels), rng, area)
    soft = ramp(depth(mask), rng.uniform(12, 35) * um)[..., None]
    picture = pixels.astype(np.float32)
    radius = rng.uniform(1.5, 4.5) * um
    # Half-way to full blur the disc is smaller, not mixed with a sharp image: two steps do.
    near, far = defocus(picture, 0.45 * radius), defocus(picture, radius)
    blurred = np.where(
        soft < 0.5,
        picture + 2 * soft * (near - picture),
        near + (2 * soft - 1) * (far - near),
    )
    # Out of the focal plane the section often lifts off the glass: a faint grey, uneven veil.
    uneven = np.clip(shapes.noise(pixels.shape[:2], rng, cells=3, octaves=2), 0, 2)
    veil = rng.uniform(0.0, 0.12) * uneven
    return np.asarray(blurred * np.exp(-veil[..., None] * soft), dtype=np.float32), mask


def illumination(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Light part of the field unevenly: low-frequency shading with a slight cast."""
    mask = patch(density(pixels), rng, area)
    soft = profile(depth(mask))
    level = -rng.uniform(0.3, 0.8) if rng.random() < 0.7 else rng.uniform(0.15, 0.35)
    uneven = 1 + 0.2 * shapes.noise(pixels.shape[:2], rng, cells=2, octaves=1)
    cast = 1 + rng.normal(0, 0.08, 3)
    change = (level * soft * uneven)[..., None] * cast
    return np.asarray(pixels * np.exp(change), dtype=np.float32), mask
