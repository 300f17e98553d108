"""Air under the cover slip: a pocket with a refractive rim, or drying "cornflakes".

Renderers as described in `histomend.damage.optics`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from histomend.damage import shapes
from histomend.damage.optics import (
    Field,
    Mask,
    Picture,
    Pixels,
    defocus,
    density,
    depth,
    ramp,
    soften,
    transmit,
)


def bubble(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Trap air: one pocket with a dark rim, or a crust of small refractive blisters."""
    od = density(pixels)
    size = pixels.shape[:2]
    if rng.random() < 0.55:
        mask = shapes.cut(_scalloped(size, rng, area, um), area)
        return _cornflakes(od, mask, rng, um), mask
    score = shapes.field(size, rng, area=area, family="blob")
    mask = shapes.cut(soften(score, 0.1 * math.sqrt(area) * min(size)), area)
    return _pocket(od, mask, rng, um), mask


def pale_pocket(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Trap a thin film of air: a faint rim, often scalloped, and hardly any shade inside."""
    od = density(pixels)
    size = pixels.shape[:2]
    if rng.random() < 0.6:
        score = _scalloped(size, rng, area, 0.6 * um)
    else:
        score = shapes.field(size, rng, area=area, family="blob")
    mask = shapes.cut(soften(score, rng.uniform(0.5, 3) * um), area)
    inside = depth(mask)
    width = rng.uniform(0.7, 1.6) * um
    strength = rng.uniform(0.15, 1.0)
    rim = np.exp(-np.square((inside - 1.2 * width) / width)) * strength
    # Fringes of light run along the rim.
    fringe = np.exp(-np.square((inside - 3.5 * width) / width)) * rng.uniform(0, 0.15)
    uneven = np.clip(1 + 0.4 * shapes.noise(size, rng, cells=8, octaves=2), 0.1, 2)
    blend = ramp(inside, 1.2 * um)
    grey = np.array([1.0, 1.0, 1.0]) + rng.normal(0, 0.05, 3)
    shade = rng.uniform(0.01, 0.12) * blend
    faded = od * (1 - rng.uniform(0.0, 0.3) * blend)[..., None]
    film = ((rim - fringe) * uneven + shade)[..., None] * grey.astype(np.float32)
    return transmit(faded + film), mask


def _pocket(od: Picture, mask: Mask, rng: np.random.Generator, um: float) -> Picture:
    """Look through air: blurred, pale, greyish tissue behind a thin dark and bright rim."""
    inside = depth(mask)
    pale = defocus(od, rng.uniform(1.0, 4.0) * um) * rng.uniform(0.3, 0.8)
    pale = pale + rng.uniform(0.02, 0.12)
    width = rng.uniform(0.7, 1.3) * um
    rim_at = 1.6 * width
    rim = np.exp(-np.square((inside - rim_at) / width)) * rng.uniform(1.2, 2.2)
    rim *= np.clip(1 + 0.3 * shapes.noise(mask.shape, rng, cells=5, octaves=2), 0.2, 1.6)
    # Light that the rim bends away from the dark line comes back just inside it.
    glow = np.exp(-np.square((inside - rim_at - 3.2 * width) / (1.5 * width)))
    shade = 0.35 * np.exp(-inside / (9 * um))
    blend = ramp(inside, 1.2 * um)
    seen = od + blend[..., None] * (pale * (1 - 0.8 * glow)[..., None] - od)
    return transmit(seen + (rim + shade * blend)[..., None])


def _cornflakes(od: Picture, mask: Mask, rng: np.random.Generator, um: float) -> Picture:
    """Fill the mask with blisters: dark outlines, a bright fringe inside, olive haze between."""
    size = (mask.shape[0], mask.shape[1])
    inside = depth(mask)
    within = ramp(inside, 2 * um)
    dark = 0.7 * np.exp(-np.square((inside - 1.6 * um) / (0.9 * um)))
    light = np.zeros(size, dtype=np.float32)
    area_um2 = float(mask.sum()) / (um * um)
    for low, high, pitch, weight in ((9, 26, 1100.0, 1.0), (4, 10, 300.0, 0.9), (2, 4, 120.0, 0.7)):
        count = int(np.clip(area_um2 / pitch, 4, 4000))
        discs = _discs(mask, rng, count=count, low=low * um, high=high * um, within=True)
        edge = depth(discs)
        edge = np.where(discs, edge + 0.7 * um * shapes.grain(size, rng, sigma=2 * um), 0)
        line = rng.uniform(0.8, 1.3) * um
        ring = np.exp(-np.square((edge - 1.4 * um) / line)) * discs
        dark = np.maximum(dark, weight * ring)
        light = np.maximum(light, np.exp(-np.square((edge - 3.6 * um) / (1.6 * line))) * discs)
    # Worm-like lines: crests between neighbouring blisters.
    crest = shapes.grain(size, rng, sigma=rng.uniform(2.5, 5.0) * um) > 0
    ridge = np.minimum(depth(crest) + depth(~crest), 20 * um)
    thin = np.exp(-np.square(ridge / (1.1 * um)))
    patchy = np.clip(shapes.noise(size, rng, cells=5, octaves=2), 0, 1)
    dark = np.maximum(dark, 0.6 * thin * patchy)
    swell = np.clip(1 + 0.35 * shapes.noise(size, rng, cells=12, octaves=2), 0.3, 1.5)
    haze = rng.uniform(0.0, 0.25) * np.clip(1 + shapes.grain(size, rng, sigma=0.8 * um), 0, 3)
    blisters = od * rng.uniform(0.6, 1.0)
    blisters = blisters * (1 - 0.8 * light)[..., None]
    olive = np.array([1.0, 1.02, 1.14], np.float32)
    shade = rng.uniform(1.7, 2.4) * soften(dark * swell, 0.25 * um) + haze * (1 - light)
    full = blisters + np.maximum(shade, 0)[..., None] * olive
    return transmit(od + within[..., None] * (full - od))


def _scalloped(size: tuple[int, int], rng: np.random.Generator, area: float, um: float) -> Field:
    """Outline a drying front: a region whose border bulges in small round bays."""
    family = str(rng.choice(["blob", "bite", "specks"], p=[0.45, 0.35, 0.2]))
    core = shapes.cut(shapes.field(size, rng, area=area, family=family), area)
    count = int(np.clip(core.sum() / (60 * um * um), 8, 2000))
    bays = _discs(core, rng, count=count, low=3 * um, high=12 * um, within=False)
    bays |= core
    return np.asarray(depth(bays) - depth(~bays), dtype=np.float32)


def _discs(
    mask: Mask, rng: np.random.Generator, *, count: int, low: float, high: float, within: bool
) -> Mask:
    """Scatter ellipses with centres in the mask; ``within``: none of them leaves it."""
    canvas = np.zeros(mask.shape, dtype=np.uint8)
    room = depth(mask)
    places = np.argwhere(mask)
    for row, column in places[rng.integers(0, len(places), count)]:
        radius = low * (high / low) ** rng.random()
        if within:
            radius = min(radius, float(room[row, column]) - 1)
        if radius < 1:
            continue
        axes = (max(1, round(radius * rng.uniform(0.5, 1.0))), max(1, round(radius)))
        angle = rng.uniform(0, 180)
        cv2.ellipse(canvas, (int(column), int(row)), axes, angle, 0, 360, 1, -1)
    return np.asarray(canvas > 0, dtype=np.bool_)
