"""Artifacts of cutting and staining the section: folds, knife streaks, altered stain.

Renderers as described in `histomend.damage.optics`. Sizes are micrometres on the slide, read off
real artifacts at 0.5 to 1 um/px.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

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

# Hematoxylin and eosin as RGB optical densities of unit length, as they come out on the slides of
# the Pathology Atlas; only used where an image has too little tissue to tell its own.
_USUAL_STAINS = ((0.66, 0.68, 0.32), (0.16, 0.85, 0.50))


def fold(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Lay the section over itself: two or three layers of displaced tissue, sharp edges."""
    od = density(pixels)
    size = pixels.shape[:2]
    reach = rng.uniform(0.6, 2.4)
    heading = rng.uniform(0, math.pi)
    score = shapes.place(
        tissue(od), area, lambda grid: _crease(grid, rng, area=area, reach=reach, heading=heading)
    )
    cells = max(score.shape) / shapes.GRID
    score = score + rng.uniform(0.6, 1.4) * um / cells * shapes.grain(size, rng, sigma=1.5 * um)
    mask = shapes.cut(score, area)
    inside = depth(mask)
    breadth = 2.0 * float(np.percentile(inside[mask], 95))

    second = _mirrored(od, heading, breadth, rng)
    layers = od + rng.uniform(0.8, 1.15) * defocus(second, rng.uniform(0.4, 0.8) * um)
    # A Z-fold has three layers in its middle, a simple overlap has two everywhere.
    if rng.random() < 0.7:
        third = _mirrored(od, heading, -1.6 * breadth, rng)
        rolled = inside > rng.uniform(0.1, 0.5) * breadth / 2
        core = soften(rolled.astype(np.float32), 0.5 * um) * ramp(inside, 1.5 * um)
        layers += rng.uniform(0.6, 1.0) * core[..., None] * defocus(third, um)
    # Where tissue is sparse the crease is still there: crumpled fibres of the tissue's own colour.
    solid = od[od.mean(axis=2) > 0.2]
    colour = np.median(solid, axis=0) if len(solid) else np.array([0.35, 0.75, 0.45])
    crumple = np.clip(0.7 + 0.7 * shapes.grain(size, rng, sigma=3 * um), 0, 3)
    layers += rng.uniform(0.15, 0.4) * crumple[..., None] * colour.astype(np.float32)
    # Both edges of the crease stand up and look darker than the rest.
    rim = np.exp(-np.square((inside - 1.2 * um) / (1.4 * um)))
    layers *= (1 + rng.uniform(0.0, 0.25) * rim)[..., None]
    return transmit(layers), mask


def streak(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Draw the lines that a nicked or vibrating knife, or dust near the scanner, leaves behind."""
    draw = rng.random()
    if draw < 0.45:
        return knife(pixels, rng, area, um)
    if draw < 0.8:
        return shadow(pixels, rng, area, um)
    return scan_lines(pixels, rng, area)


def stain(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Change how much of each stain a patch took up, by colour deconvolution."""
    od = density(pixels)
    mask = patch(od, rng, area)
    soft = ramp(depth(mask), rng.uniform(10, 25) * um)
    stains = stain_vectors(od)
    residual = np.cross(stains[0], stains[1])
    basis = np.stack([*stains, residual / np.linalg.norm(residual)])
    amounts = od.reshape(-1, 3) @ np.linalg.inv(basis)
    # Of the two stains at least one is off by a quarter or more, either way.
    gains = np.exp(rng.uniform(-0.3, 0.3, 2))
    gains[int(rng.integers(2))] = math.exp(rng.choice([-1.0, 1.0]) * rng.uniform(0.35, 0.8))
    turned = basis.copy()
    turned[:2] *= np.exp(rng.normal(0, 0.06, (2, 3)))
    altered = (amounts * np.array([*gains, 1.0])) @ turned
    altered = altered.reshape(od.shape).astype(np.float32)
    return transmit(od + soft[..., None] * (altered - od), darkest=3.5), mask


def patch(od: Picture, rng: np.random.Generator, area: float) -> Mask:
    """Choose a smooth-edged region on tissue."""

    def draw(grid: tuple[int, int]) -> Field:
        family = str(rng.choice(["blob", "bite"], p=[0.7, 0.3]))
        score = shapes.field(grid, rng, area=area, family=family)
        return soften(score, 0.12 * math.sqrt(area) * min(grid))

    return shapes.cut(shapes.place(tissue(od), area, draw), area)


def stain_vectors(od: Picture) -> npt.NDArray[np.float64]:
    """Estimate the two stains of an image, the bluer one first.

    Macenko et al., "A method for normalizing histology slides for quantitative analysis", 2009:
    the extreme directions in the plane of the two main components of the optical densities.

    Returns
    -------
    (2, 3) unit vectors in RGB optical density; the usual hematoxylin and eosin where the image has
    less than 500 px of tissue or hardly any difference in hue.
    """
    usual = np.array(_USUAL_STAINS)
    usual /= np.linalg.norm(usual, axis=1, keepdims=True)
    flat = od.reshape(-1, 3)
    flat = flat[(flat > 0.15).all(axis=1) & (flat < 2.5).all(axis=1)].astype(np.float64)
    if len(flat) < 500:
        return usual
    flat = flat[:: max(1, len(flat) // 50_000)]
    plane = np.linalg.eigh(np.cov(flat.T))[1][:, :0:-1]
    # Eigenvectors have no sign of their own; densities are positive.
    plane = plane * np.where(plane[:, :1].sum() < 0, -1.0, 1.0)
    angle = np.arctan2(flat @ plane[:, 1], flat @ plane[:, 0])
    low, high = np.percentile(angle, [1, 99])
    ends = np.stack([plane @ np.array([math.cos(a), math.sin(a)]) for a in (low, high)])
    ends = np.clip(ends, 0.01, None)
    ends /= np.linalg.norm(ends, axis=1, keepdims=True)
    if float(ends[0] @ ends[1]) > 0.995:
        return usual
    return np.asarray(ends[np.argsort(-ends[:, 0])], dtype=np.float64)


def _crease(
    grid: tuple[int, int], rng: np.random.Generator, *, area: float, reach: float, heading: float
) -> Field:
    """Score a long band that runs out in points where it ends inside the image."""
    line = shapes.curve(grid, rng, bends=rng.uniform(0.03, 0.35), reach=reach, heading=heading)
    y, x = np.mgrid[: grid[0], : grid[1]].astype(np.float32)
    middle = line[len(line) // 2]
    diagonal = math.hypot(*grid)
    away = np.hypot(x - middle[0], y - middle[1]) / (0.5 * reach * diagonal)
    breadth = area * grid[0] * grid[1] / (min(reach, 1.0) * diagonal)
    rough = rng.uniform(0.05, 0.16) * breadth * shapes.noise(grid, rng, cells=4, octaves=5)
    return np.asarray(rough - shapes.distance_to([line], grid) * (1 + 1.5 * away**2), np.float32)


def _mirrored(od: Picture, heading: float, offset: float, rng: np.random.Generator) -> Picture:
    """Reflect tissue across a line along the fold, slightly warped as it buckles."""
    height, width = od.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    normal = (-math.sin(heading), math.cos(heading))
    across = 2 * ((x - width / 2) * normal[0] + (y - height / 2) * normal[1] - offset)
    buckle = [
        0.02 * min(height, width) * shapes.noise((height, width), rng, cells=4, octaves=2)
        for _ in range(2)
    ]
    move_x = x - across * normal[0] + buckle[0]
    move_y = y - across * normal[1] + buckle[1]
    moved = cv2.remap(
        od,
        move_x.astype(np.float32),
        move_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, dtype=np.float32)


def knife(pixels: Pixels, rng: np.random.Generator, area: float, um: float) -> tuple[Picture, Mask]:
    """Tear the section along parallel lines: open gaps with frayed, darker borders."""
    od = density(pixels)
    size = pixels.shape[:2]
    count = int(np.clip(area * min(size) / (rng.uniform(7, 16) * um), 1, 14))
    distance = _parallel(size, rng, count=count, gap=0.9 * min(size) / (count + 1))
    # A tear opens and closes along its line.
    breaks = shapes.noise(size, rng, cells=6, octaves=2)
    fray = shapes.noise(size, rng, cells=max(size) / (18 * um), octaves=3)
    fray = fray + 0.4 * shapes.grain(size, rng, sigma=1.2 * um)
    breadth = area * min(size) / count
    score = np.asarray(0.45 * breadth * breaks + 0.2 * breadth * fray - distance, np.float32)
    mask = shapes.cut(score, area)
    inside = depth(mask)
    glass = np.percentile(od.reshape(-1, 3), 0.5, axis=0).clip(0.03, 0.12).astype(np.float32)
    # Frayed fibres reach from the border into the gap.
    border = 2.5 * um * np.clip(1 + 0.6 * fray, 0.3, 2)
    gap = soften((inside > border).astype(np.float32), 0.5 * um)[..., None]
    heaped = od * (1 + 0.35 * np.exp(-inside / (1.5 * um))[..., None])
    return transmit(heaped + gap * (glass - heaped)), mask


def _parallel(size: tuple[int, int], rng: np.random.Generator, *, count: int, gap: float) -> Field:
    """Measure the distance to the nearest of several nearly parallel lines."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    across = (x - width / 2) * -math.sin(angle) + (y - height / 2) * math.cos(angle)
    across += 0.01 * min(size) * shapes.noise(size, rng, cells=2, octaves=2)
    start = rng.uniform(-0.3, 0.3) * min(size)
    lines = start + gap * (np.arange(count) - (count - 1) / 2) * rng.uniform(0.8, 1.2, count)
    distance = np.full(size, np.inf, dtype=np.float32)
    for line in lines:
        np.minimum(distance, np.abs(across - np.float32(line)), out=distance)
    return distance


def shadow(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Cast a grey, blurred band: a fibre or a scratch on the cover slip, far from focus."""
    od = density(pixels)
    size = pixels.shape[:2]

    def draw(grid: tuple[int, int]) -> Field:
        line = shapes.curve(grid, rng, bends=rng.uniform(0.02, 0.3), reach=2.4)
        return -shapes.distance_to([line], grid)

    mask = shapes.cut(soften(shapes.place(tissue(od), area, draw), 2 * um), area)
    body = profile(depth(mask))
    fibrous = 1 + 0.15 * shapes.noise(size, rng, cells=4, octaves=2)
    fibrous = fibrous + 0.06 * shapes.grain(size, rng, sigma=2 * um)
    grey = rng.uniform(0.18, 0.5) * (body * fibrous)[..., None]
    veiled = 0.9 * defocus(od, rng.uniform(0.8, 2.2) * um)
    seen = od + body[..., None] * (veiled - od)
    return transmit(seen + grey * np.array([1.0, 0.95, 0.98], np.float32)), mask


def scan_lines(pixels: Pixels, rng: np.random.Generator, area: float) -> tuple[Picture, Mask]:
    """Misread straight rows or columns, as a line scanner with a dirty sensor does."""
    size = pixels.shape[:2]
    upright = bool(rng.integers(2))
    length = size[1] if upright else size[0]
    count = int(np.clip(max(1.0, area * length) / rng.uniform(2, 12), 1, 40))
    lines = rng.uniform(0, length, count)
    distance = np.min(np.abs(np.arange(length)[:, None] - lines), axis=1)
    score = -(distance + 0.3 * np.exp(rng.normal(0, 0.4, length))).astype(np.float32)
    plane = np.broadcast_to(score[None, :] if upright else score[:, None], size)
    mask = shapes.cut(np.ascontiguousarray(plane), area)
    gain = 1 + rng.choice([-1.0, 1.0], length) * rng.uniform(0.08, 0.3, length)
    table = (gain[:, None] * (1 + rng.normal(0, 0.06, (length, 3)))).astype(np.float32)
    factor = table[None, :, :] if upright else table[:, None, :]
    return np.asarray(pixels * factor, dtype=np.float32), mask
