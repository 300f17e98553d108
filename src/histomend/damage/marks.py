"""Marks of any colour, and smears: richer than the inks and the debris of `histomend.damage.dirt`.

Renderers as described in `histomend.damage.optics`.
"""

from __future__ import annotations

import math

import numpy as np

from histomend.damage import shapes
from histomend.damage.dirt import INKS, margin_ink, pen
from histomend.damage.optics import (
    Mask,
    Picture,
    Pixels,
    density,
    depth,
    profile,
    ramp,
    soften,
    transmit,
)

# Optical density (RGB) of one layer of inks that margins are painted with beside the usual ones.
FURTHER_INKS = {
    "orange": (0.15, 0.9, 1.9),
    "brown": (0.7, 1.1, 1.7),
    "yellow": (0.05, 0.2, 1.3),
    "violet": (1.0, 1.7, 0.5),
}


def marker(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Mark with ink of any colour, red and green as often as blue, thin or thick."""
    inks = list((INKS | FURTHER_INKS).values())
    weights = np.array([3, 3, 4, 3, 1, 1.5, 0.7, 0.8])
    colour = np.array(inks[int(rng.choice(len(inks), p=weights / weights.sum()))], np.float32)
    colour *= np.exp(rng.normal(0, 0.15, 3) + rng.normal(0, 0.2)).astype(np.float32)
    draw = pen if rng.random() < 0.5 else margin_ink
    return draw(density(pixels), rng, area, um, colour)


def smear(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Leave mucus or dried mounting medium: a pale, bluish or grey film with folds and an edge."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    score = shapes.field(size, rng, area=area, family="blob")
    score = soften(score, 0.05 * math.sqrt(area) * min(size) + um)
    mask = shapes.cut(score, area)
    inside = depth(mask)
    wisps = shapes.noise(size, rng, cells=max(size) / (60 * um), octaves=4)
    # Folds of the film are thin crests of its own noise.
    crests = np.exp(-np.square(wisps / rng.uniform(0.08, 0.25)))
    rim = np.exp(-np.square((inside - 2 * um) / (2.5 * um))) * rng.uniform(0, 1)
    tint = np.array([0.9, 0.8, 0.6]) * rng.uniform(0.1, 0.5) + rng.normal(0, 0.03, 3)
    film = 0.5 + 0.3 * shapes.noise(size, rng, cells=5, octaves=2)
    film = np.clip(film + rng.uniform(0.2, 1.2) * crests + rim, 0.1, 3)
    film = film + 0.15 * shapes.grain(size, rng, sigma=um)
    body = soften(ramp(inside, 4 * um) * np.maximum(film, 0), 0.5 * um)
    return transmit(od * 0.9 + body[..., None] * np.maximum(tint, 0.02).astype(np.float32)), mask


def haze(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Veil part of the field: light scattered by dirt on the cover slip takes contrast away."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    score = shapes.field(size, rng, area=area, family=str(rng.choice(["blob", "bite"])))
    mask = shapes.cut(soften(score, 0.2 * math.sqrt(area) * min(size) + um), area)
    body = profile(depth(mask)) ** rng.uniform(0.4, 1.0)
    cloud = np.clip(1 + 0.2 * shapes.noise(size, rng, cells=4, octaves=2), 0.3, 1.5)
    strength = np.clip(rng.uniform(0.35, 0.8) * body * cloud, 0, 0.9)[..., None]
    # Scattered light is nearly white, and a little less of it arrives.
    light = 255.0 * rng.uniform(0.65, 0.95) * (1 + rng.normal(0, 0.02, 3))
    spread = np.stack(
        [soften(pixels[..., c].astype(np.float32), 0.8 * um) for c in range(3)], axis=-1
    )
    picture = pixels + np.minimum(2 * strength, 1) * (spread - pixels)
    return np.asarray(picture + strength * (light - picture), dtype=np.float32), mask
