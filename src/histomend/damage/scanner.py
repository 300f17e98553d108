"""What a scanner adds: stripes of a line camera, the grid of stitched fields, and knife chatter.

Regular patterns over a large part of the field, which no tissue has. Renderers as described in
`histomend.damage.optics`; a pattern covers a region with a straight edge, as a scan's strip does.
"""

from __future__ import annotations

import math

import numpy as np

from histomend.damage import shapes
from histomend.damage.optics import Field, Mask, Picture, Pixels, density, transmit


def stripes(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Draw the lines of an uncalibrated line camera: fixed gains per column, or a rippling lamp."""
    size = pixels.shape[:2]
    mask = _strip(size, rng, area)
    upright = bool(rng.integers(2))
    length = size[1] if upright else size[0]
    if rng.random() < 0.5:
        # Each sensor element has its own gain; neighbours share some of it.
        gain = shapes.grain((1, length), rng, sigma=rng.uniform(0.3, 1.5))[0]
    else:
        period = rng.uniform(4, 40) * um
        gain = np.sin(2 * math.pi * (np.arange(length) / max(period, 2.5) + rng.random()))
    gain = gain * rng.uniform(0.05, 0.15)
    table = np.exp(gain[:, None] * (1 + rng.normal(0, 0.15, 3))).astype(np.float32)
    factor = table[None] if upright else table[:, None]
    return np.asarray(pixels * factor, dtype=np.float32), mask


def stitching(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Stitch fields that darken towards their borders, each a little brighter or darker."""
    size = pixels.shape[:2]
    mask = _strip(size, rng, area)
    pitch = np.array([rng.uniform(50, 160), rng.uniform(50, 160)]) * um
    pitch = np.maximum(pitch, 12)
    start = rng.random(2) * pitch
    y, x = ((np.arange(n) + s) / p for n, s, p in zip(size, start, pitch, strict=True))
    fall = rng.uniform(0.12, 0.35)
    vignette = -fall * (np.square(2 * (y % 1) - 1)[:, None] + np.square(2 * (x % 1) - 1)[None]) / 2
    rows, columns = y.astype(int), x.astype(int)
    level = rng.normal(0, rng.uniform(0.0, 0.05), (rows.max() + 1, columns.max() + 1))
    gain = np.exp(vignette + level[rows][:, columns])
    return np.asarray(pixels * gain[..., None], dtype=np.float32), mask


def chatter(
    pixels: Pixels, rng: np.random.Generator, area: float, um: float
) -> tuple[Picture, Mask]:
    """Cut with a vibrating knife: parallel bands of thick and thin section."""
    od = density(pixels)
    size = (od.shape[0], od.shape[1])
    mask = _strip(size, rng, area)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    across = x * math.cos(angle) + y * math.sin(angle)
    period = rng.uniform(15, 70) * um
    across = across + 0.15 * period * shapes.noise(size, rng, cells=4, octaves=2)
    wave = np.sin(2 * math.pi * across / max(period, 4))
    thick = np.exp(rng.uniform(0.4, 0.8) * np.clip(1.5 * wave, -1, 1)).astype(np.float32)
    return transmit(od * thick[..., None]), mask


def _strip(size: tuple[int, int], rng: np.random.Generator, area: float) -> Mask:
    """Choose a region with a straight border that runs along the rows or the columns."""
    height, width = size
    across: Field = np.arange(width, dtype=np.float32) - rng.uniform(0, 1) * width
    if rng.random() < 0.5:
        plane = np.broadcast_to(-np.abs(across)[None], size)
    else:
        down = np.arange(height, dtype=np.float32) - rng.uniform(0, 1) * height
        plane = np.broadcast_to(-np.abs(down)[:, None], size)
    return shapes.cut(np.ascontiguousarray(plane), area)
