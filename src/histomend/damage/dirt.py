"""What lies in or on the section and does not belong there: ink, debris, pigment.

Renderers as described in `histomend.damage.optics`.
"""

from __future__ import annotations

import math

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
    profile,
    ramp,
    soften,
    tissue,
    transmit,
)

# Optical density (RGB) of one layer of margin ink or felt pen, as they look on real slides.
INKS = {
    "blue": (1.9, 1.3, 0.6),
    "green": (1.7, 0.75, 1.35),
    "black": (2.0, 2.1, 2.25),
    "red": (0.25, 1.7, 1.3),
}


def ink(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Mark with ink: pen strokes on the glass, or margin ink caught in the tissue."""
    colour = np.array(INKS[str(rng.choice(list(INKS), p=[0.35, 0.2, 0.3, 0.15]))], np.float32)
    colour *= np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.5:
        return pen(density(pixels), rng, area, um, colour)
    return margin_ink(density(pixels), rng, area, um, colour)


def debris(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Drop dirt on the slide: granular clumps, a blurred fibre, or a stray squamous cell."""
    draw = rng.random()
    if draw < 0.45:
        return crumbs(pixels, rng, area, um)
    if draw < 0.75:
        return fibre(pixels, rng, area, um)
    return squame(pixels, rng, area, um)


def dark_spot(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Drop pigment or precipitate: rough black lumps in focus, or dark haze above the focus."""
    od = density(pixels)
    size = pixels.shape[:2]
    if rng.random() < 0.35:
        return cloud(pixels, rng, area, um)
    family = "blob" if rng.random() < 0.5 else "specks"
    score = shapes.field(size, rng, area=area, family=family)
    # Lumps are compact; only their outline, a few micrometres deep, is rough.
    score = soften(score, 0.12 * math.sqrt(area) * min(size) if family == "blob" else um)
    fine = shapes.grain(size, rng, sigma=1.2 * um)
    mask = shapes.cut(score + 1.2 * um * fine * _slope(score), area)
    inside = depth(mask)
    body = ramp(inside, 2.5 * um) * rng.uniform(1.7, 2.8)
    body *= np.clip(1 + 0.12 * fine + 0.1 * shapes.grain(size, rng, sigma=4 * um), 0.4, 1.6)
    colour = np.array([1.0, 1.03, 1.0], np.float32) + rng.normal(0, 0.03, 3).astype(np.float32)
    # The lump is thicker than the depth of focus, so its edge is soft.
    return transmit(od + soften(body, 0.6 * um)[..., None] * colour), mask


def pen(
    od: Picture, rng: np.random.Generator, area: float, um: float, colour: Picture
) -> tuple[Picture, Mask]:
    """Draw felt-pen strokes on the glass: even, semi-transparent, with a slightly soft edge."""
    size = (od.shape[0], od.shape[1])
    score = shapes.field(size, rng, area=area, family=str(rng.choice(["stroke", "band"])))
    score = soften(score, 1.5 * um)
    mask = shapes.cut(score, area)
    inside = depth(mask)
    # Wetter and drier zones, and a darker border where the ink ran together.
    pool = np.exp(-np.square((inside - 5 * um) / (3 * um)))
    wet = 1 + 0.18 * shapes.noise(size, rng, cells=5, octaves=3) + 0.25 * pool
    wet = wet + 0.06 * shapes.grain(size, rng, sigma=1.5 * um)
    body = ramp(inside, rng.uniform(2.0, 6.0) * um) * np.clip(wet, 0.3, 2.0)
    return transmit(od + rng.uniform(0.4, 1.0) * body[..., None] * colour), mask


def margin_ink(
    od: Picture, rng: np.random.Generator, area: float, um: float, colour: Picture
) -> tuple[Picture, Mask]:
    """Soak tissue in ink: granular, dense where the tissue is, with gaps left open."""
    size = (od.shape[0], od.shape[1])
    family = str(rng.choice(["band", "blob", "bite"]))
    score = shapes.place(
        tissue(od), area, lambda grid: shapes.field(grid, rng, area=area, family=family), tries=4
    )
    texture = soften(np.minimum(od.mean(axis=2), 1.2).astype(np.float32), 0.6 * um)
    texture = (texture - texture.mean()) / max(float(texture.std()), 1e-3)
    clots = shapes.grain(size, rng, sigma=6 * um)
    fine = shapes.grain(size, rng, sigma=1.0 * um)
    rough = 0.5 * clots + 0.35 * fine + 0.5 * texture
    mask = shapes.cut(np.asarray(score + 0.45 * float(score.std()) * rough, np.float32), area)
    inside = depth(mask)
    load = np.clip(0.6 + 0.35 * clots + 0.25 * fine + 0.25 * texture, 0.06, 1.7)
    body = soften(ramp(inside, 2.5 * um) * load, 0.3 * um)
    return transmit(od + rng.uniform(0.7, 1.2) * body[..., None] * colour), mask


def crumbs(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Pile up dark grains: an olive-black clump with thin places and crumbs around it."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    score = shapes.field(size, rng, area=area, family=str(rng.choice(["specks", "blob"])))
    coarse = shapes.grain(size, rng, sigma=5 * um)
    fine = shapes.grain(size, rng, sigma=1.0 * um)
    rough = 3.0 * coarse + 2.0 * fine
    mask = shapes.cut(score + um * rough * _slope(score), area)
    inside = depth(mask)
    load = np.clip(0.75 + 0.35 * coarse + 0.3 * fine, 0.12, 2.0) * ramp(inside, 2.0 * um)
    olive = np.array([1.0, 1.0, 1.1], np.float32) * rng.uniform(1.3, 2.2)
    return transmit(od + soften(load, 0.4 * um)[..., None] * olive), mask


def fibre(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Lay a grey fibre above the focus: a smooth tube, darker in parts of it."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    grid = shapes.coarse(size)
    line = shapes.curve(grid, rng, bends=rng.uniform(0.2, 0.9), reach=rng.uniform(0.4, 1.4))
    score = shapes.enlarge(-shapes.distance_to([line], grid), size)
    mask = shapes.cut(soften(score, 3 * um), area)
    body = profile(depth(mask), 0.2)
    along = np.clip(0.75 + 0.4 * shapes.noise(size, rng, cells=2, octaves=1), 0.2, 1.5)
    grey = np.array([1.0, 0.98, 0.97], np.float32) * rng.uniform(0.35, 1.1)
    # What is seen through the fibre loses its detail.
    seen = od + body[..., None] * (0.85 * defocus(od, 3 * um) - od)
    return transmit(seen + (body * along)[..., None] * grey), mask


def squame(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Drop a cell from somebody's skin: flat, eosinophilic, with a crisp and curled edge."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    score = soften(shapes.field(size, rng, area=area, family="blob"), 2 * um)
    mask = shapes.cut(score, area)
    inside = depth(mask)
    tint = np.array([0.16, 0.85, 0.50]) * rng.uniform(0.5, 1.1)
    tint = tint + np.array([0.66, 0.68, 0.32]) * rng.uniform(0.0, 0.35)
    wrinkle = 1 + 0.15 * shapes.noise(size, rng, cells=max(size) / (40 * um), octaves=3)
    wrinkle = wrinkle + 0.06 * shapes.grain(size, rng, sigma=um)
    rim = np.exp(-np.square((inside - 1.5 * um) / um))
    body = ramp(inside, 0.8 * um) * np.clip(wrinkle, 0.3, 2) * (1 + 0.5 * rim)
    under = defocus(od, rng.uniform(0.5, 1.5) * um)
    return transmit(under + body[..., None] * tint.astype(np.float32)), mask


def cloud(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Hold a dark body above the focus: a grey cloud with an olive cast and no edge."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    score = shapes.field(size, rng, area=area, family="blob")
    mask = shapes.cut(soften(score, 0.3 * math.sqrt(area) * min(size) + um), area)
    inside = depth(mask)
    body = profile(inside) ** rng.uniform(0.8, 1.4)
    cloud = np.clip(1 + 0.12 * shapes.noise(size, rng, cells=4, octaves=2), 0.4, 1.6)
    grey = np.array([1.0, 0.97, 1.04], np.float32) * rng.uniform(0.7, 1.7)
    blurred = 0.8 * defocus(od, 2.5 * um)
    seen = od + profile(inside)[..., None] * (blurred - od)
    return transmit(seen + (body * cloud)[..., None] * grey), mask


def _slope(score: Field) -> float:
    """Give the typical change of a score field per px, to add roughness measured in px."""
    down, across = np.gradient(score)
    return float(np.median(np.hypot(down, across)))
