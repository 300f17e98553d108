"""Where damage lies: irregular regions of a given area, drawn from a seeded generator.

Every family of shapes is a *score field*, high in the middle of the shape and falling outwards,
roughened with fractal noise. Thresholding the field at the quantile that belongs to the wanted
area gives a mask of exactly that area, whatever the family, without trial and error. Fields are
computed on a grid of at most `GRID` cells along the longer side and enlarged, so that a mask of a
large image costs hardly more than one of a small image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import ImageSizeError, SettingError

Field = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

GRID = 160


def random_mask(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    area: float,
    family: str | None = None,
) -> Mask:
    """Draw an irregular region like those that artifacts cover.

    Parameters
    ----------
    shape : (height, width) in px, each at least 2.
    rng : source of all randomness; the same state gives the same mask.
    area : wanted fraction of the image, greater than 0 and less than 1.
    family : one of `FAMILIES` (blob, band, stroke, specks, bite), or None to draw one.

    Returns
    -------
    mask : (H, W) bool, True inside; ``round(area * H * W)`` pixels, at least one and never all.

    Raises
    ------
    SettingError
        For an area outside (0, 1) or an unknown family.
    ImageSizeError
        When a side is shorter than 2 px.
    """
    if family is None:
        family = str(rng.choice(_NAMES, p=_WEIGHTS))
    elif family not in FAMILIES:
        raise SettingError(
            f"No mask family is called {family!r}. Choose one of: {', '.join(FAMILIES)}."
        )
    return cut(field(shape, rng, area=area, family=family), area)


def field(shape: tuple[int, int], rng: np.random.Generator, *, area: float, family: str) -> Field:
    """Draw the score field of one family at full size: (H, W) float32, higher is further inside."""
    height, width = shape
    if min(height, width) < 2:
        raise ImageSizeError(
            f"A mask needs at least 2 px on each side, but the image is {width}x{height} px. "
            "Use a larger image."
        )
    _check_area(area)
    return enlarge(FAMILIES[family](coarse(shape), rng, area), shape)


def coarse(shape: tuple[int, int]) -> tuple[int, int]:
    """Give the size of the grid that fields of an image of this shape are drawn on."""
    height, width = shape
    scale = min(1.0, GRID / max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def enlarge(drawn: Field, shape: tuple[int, int]) -> Field:
    """Bring a field from the coarse grid to full size, in the units that it was drawn in."""
    if drawn.shape == shape:
        return drawn
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def place(
    weight: Field, area: float, draw: Callable[[tuple[int, int]], Field], *, tries: int = 6
) -> Field:
    """Draw a field a few times and keep the one whose mask lies on the most weight.

    A fold or a blur over empty glass would be a mask around nothing, so tissue is the weight.

    Parameters
    ----------
    weight : (H, W) float32, not negative.
    draw : gives a score field for the grid size (height, width) that it is handed.

    Returns
    -------
    (H, W) float32 score field.
    """
    height, width = coarse((weight.shape[0], weight.shape[1]))
    small = cv2.resize(weight, (width, height), interpolation=cv2.INTER_AREA)
    drawn = [draw((height, width)) for _ in range(tries)]
    best = max(drawn, key=lambda score: float(small[cut(score, area)].mean()))
    return enlarge(best, (weight.shape[0], weight.shape[1]))


def cut(score: Field, area: float) -> Mask:
    """Threshold a score field so that exactly the wanted fraction of the pixels is inside."""
    _check_area(area)
    flat = score.ravel()
    count = min(max(round(area * flat.size), 1), flat.size - 1)
    # Ties (flat stretches of a distance field) are broken by position, so the area stays exact.
    inside = np.argpartition(flat, flat.size - count)[flat.size - count :]
    mask = np.zeros(flat.size, dtype=np.bool_)
    mask[inside] = True
    return mask.reshape(score.shape)


def noise(shape: tuple[int, int], rng: np.random.Generator, *, cells: float, octaves: int) -> Field:
    """Draw smooth fractal noise of zero mean and unit variance.

    Parameters
    ----------
    shape : (height, width) in px.
    cells : bumps of the coarsest octave along the longer side.
    octaves : number of octaves, each with twice the cells and 0.55 of the amplitude before it.

    Returns
    -------
    (H, W) float32.
    """
    height, width = shape
    total: Field = np.zeros(shape, dtype=np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(octaves):
        pitch = max(height, width) / cells
        rows, columns = max(2, math.ceil(height / pitch) + 1), max(2, math.ceil(width / pitch) + 1)
        coarse = rng.standard_normal((rows, columns), dtype=np.float32)
        total = total + amplitude * cv2.resize(
            coarse, (width, height), interpolation=cv2.INTER_CUBIC
        )
        power += amplitude**2
        amplitude *= 0.55
        cells *= 2
    # Cubic interpolation of white noise keeps roughly half of its variance.
    return total / math.sqrt(0.5 * power)


def grain(shape: tuple[int, int], rng: np.random.Generator, *, sigma: float) -> Field:
    """Draw fine isotropic texture: white noise blurred by ``sigma`` px, unit variance, (H, W)."""
    sigma = max(sigma, 0.3)
    # The pattern repeats at worst every 512 px, which spares most of the time on large images.
    rows, columns = min(shape[0], 512), min(shape[1], 512)
    tile: Field = rng.standard_normal((rows, columns), dtype=np.float32)
    # Blurring the periodic continuation leaves no seam where the tile repeats.
    margin = min(math.ceil(4 * sigma), rows, columns)
    wrapped = cv2.copyMakeBorder(tile, margin, margin, margin, margin, cv2.BORDER_WRAP)
    blurred = cv2.GaussianBlur(wrapped, (0, 0), sigma)[margin:-margin, margin:-margin]
    smooth = np.asarray(blurred / max(float(blurred.std()), 1e-6), dtype=np.float32)
    repeats = (-(-shape[0] // rows), -(-shape[1] // columns))
    return np.tile(smooth, repeats)[: shape[0], : shape[1]]


def curve(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    bends: float,
    reach: float = 1.0,
    heading: float | None = None,
) -> npt.NDArray[np.float32]:
    """Draw a smooth open curve through the image, as a fold or a pen would run.

    Parameters
    ----------
    bends : how far the heading wanders along the curve, radians (standard deviation).
    reach : length as a fraction of the image diagonal; 1.3 and more runs off both sides.
    heading : direction in the middle of the curve, radians; None draws one.

    Returns
    -------
    (N, 2) float32 points as (x, y) in px; some may lie outside the image.
    """
    height, width = shape
    steps = 48
    length = reach * math.hypot(height, width)
    wander = noise((1, steps), rng, cells=3, octaves=2)[0] * bends
    middle = rng.uniform(0, math.pi) if heading is None else heading
    turns = middle + wander - wander[steps // 2]
    path = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / steps)
    points = np.cumsum(path, axis=0)
    centre = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height])
    return np.asarray(points - points[steps // 2] + centre, dtype=np.float32)


def distance_to(lines: list[npt.NDArray[np.float32]], shape: tuple[int, int]) -> Field:
    """Measure the distance in px from every pixel to the nearest of some curves."""
    canvas = np.full(shape, 255, dtype=np.uint8)
    # Four fractional bits: coordinates in sixteenths of a pixel keep gentle slopes straight.
    drawn = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(canvas, drawn, False, 0, 1, cv2.LINE_8, 4)
    if canvas.all():
        canvas[shape[0] // 2, shape[1] // 2] = 0
    return np.asarray(cv2.distanceTransform(canvas, cv2.DIST_L2, 3), dtype=np.float32)


def _check_area(area: float) -> None:
    if not 0 < area < 1:
        raise SettingError(
            f"area is the masked fraction of the image and must lie between 0 and 1, not {area!r}."
        )


def _blob(shape: tuple[int, int], rng: np.random.Generator, area: float) -> Field:
    height, width = shape
    side = math.sqrt(area * height * width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    score = np.full(shape, -np.inf, dtype=np.float32)
    centre = np.array([rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width])
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, math.pi)
        stretch = math.exp(rng.uniform(-0.6, 0.6))
        u = (x - centre[1]) * math.cos(angle) + (y - centre[0]) * math.sin(angle)
        v = (y - centre[0]) * math.cos(angle) - (x - centre[1]) * math.sin(angle)
        np.maximum(score, -np.hypot(u / stretch, v * stretch), out=score)
        centre = centre + rng.normal(0, 0.6 * side, 2)
    rough = rng.uniform(0.06, 0.3) * side
    cells = rng.uniform(1.5, 3.0) * max(height, width) / max(side, 4.0)
    return score + rough * noise(shape, rng, cells=cells, octaves=3)


def _band(shape: tuple[int, int], rng: np.random.Generator, area: float) -> Field:
    count = int(rng.choice([1, 1, 2]))
    lines = [curve(shape, rng, bends=rng.uniform(0.05, 0.5), reach=2.4) for _ in range(count)]
    breadth = area * min(shape) / count
    swell = np.exp(0.35 * noise(shape, rng, cells=3, octaves=1))
    rough = rng.uniform(0.05, 0.25) * breadth * noise(shape, rng, cells=6, octaves=4)
    return np.asarray(rough - distance_to(lines, shape) * swell, dtype=np.float32)


def _stroke(shape: tuple[int, int], rng: np.random.Generator, area: float) -> Field:
    count = int(rng.integers(1, 4))
    lines = [
        curve(shape, rng, bends=rng.uniform(0.5, 2.0), reach=rng.uniform(0.5, 1.2))
        for _ in range(count)
    ]
    rough = 0.04 * area * min(shape) * noise(shape, rng, cells=10, octaves=3)
    return np.asarray(rough - distance_to(lines, shape), dtype=np.float32)


def _specks(shape: tuple[int, int], rng: np.random.Generator, area: float) -> Field:
    height, width = shape
    count = int(rng.integers(4, 26))
    radius = math.sqrt(area * height * width / (math.pi * count))
    spread = rng.uniform(0.1, 0.5)
    centre = rng.uniform(0.2, 0.8, 2)
    canvas = np.zeros(shape, dtype=np.uint8)
    for _ in range(count):
        at = (centre + rng.normal(0, spread, 2)) * (width, height)
        size = radius * math.exp(rng.normal(0, 0.5))
        axes = (max(1, round(size * rng.uniform(0.5, 1.3))), max(1, round(size)))
        where = (int(at[0]), int(at[1]))
        cv2.ellipse(canvas, where, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    if canvas.all() or not canvas.any():
        canvas[:] = 0
        canvas[height // 2, width // 2] = 1
    inside = cv2.distanceTransform(canvas, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - canvas, cv2.DIST_L2, 3)
    cells = 2.0 * max(height, width) / max(radius, 2.0)
    rough = 0.15 * radius * noise(shape, rng, cells=min(cells, max(shape) / 2), octaves=2)
    return np.asarray(inside - outside + rough, dtype=np.float32)


def _bite(shape: tuple[int, int], rng: np.random.Generator, area: float) -> Field:
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    rough = rng.uniform(0.03, 0.15) * min(shape) * noise(shape, rng, cells=2.5, octaves=5)
    return np.asarray(x * math.cos(angle) + y * math.sin(angle) + rough, dtype=np.float32)


FAMILIES: dict[str, Callable[[tuple[int, int], np.random.Generator, float], Field]] = {
    "blob": _blob,
    "band": _band,
    "stroke": _stroke,
    "specks": _specks,
    "bite": _bite,
}
_NAMES = list(FAMILIES)
_WEIGHTS = [0.35, 0.2, 0.15, 0.15, 0.15]
