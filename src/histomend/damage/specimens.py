"""Fluorescent specimens drawn from scratch: filaments, puncta, membranes, mitochondria.

Nuclei alone teach a denoiser nuclei. These fields hold the other structures of a cell, seen
through the point-spread function of a widefield or a confocal microscope.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Light = npt.NDArray[np.float32]
# Bits of cv2's fixed-point coordinates.
_SHIFT = 4


def draw_specimen(rng: np.random.Generator, size: int) -> Light:
    """Return a noise-free field of light, (size, size) float32 in [0, 1].

    One or two kinds of structure, over a dim haze where the cells are, blurred by a point-spread
    function: a Gaussian core of 0.7 to 2.5 px and, as of widefield, a halo of out-of-focus light.
    """
    kinds = rng.choice(len(_KINDS), size=1 + int(rng.random() < 0.35), replace=False)
    cells = _cells(rng, size)
    light = np.zeros((size, size), np.float32)
    for kind in kinds:
        layer = _KINDS[kind](rng, size, cells)
        light += layer * np.float32(rng.uniform(0.4, 1) / max(float(layer.max()), 1e-6))
    light += np.float32(rng.uniform(0, 0.25)) * cells * _clouds(rng, size, size / 6)
    light = _through_microscope(light, rng)
    top = float(np.percentile(light, 99.8))
    return np.asarray(np.clip(light / max(top, 1e-6), 0, 1), np.float32)


def _through_microscope(light: Light, rng: np.random.Generator) -> Light:
    core = float(np.exp(rng.uniform(np.log(0.7), np.log(2.5))))
    sharp = cv2.GaussianBlur(light, (0, 0), core)
    if rng.random() < 0.4:
        return np.asarray(sharp, np.float32)
    halo = cv2.GaussianBlur(light, (0, 0), core * float(rng.uniform(3, 8)))
    share = float(rng.uniform(0.1, 0.6))
    return np.asarray((1 - share) * sharp + share * halo, np.float32)


def _clouds(rng: np.random.Generator, size: int, scale: float) -> Light:
    """Return smooth random light in [0, 1] whose clouds are about `scale` px wide."""
    coarse = max(2, round(size / scale))
    field = cv2.resize(
        rng.random((coarse, coarse), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(np.clip(field, 0, 1), np.float32)


def _cells(rng: np.random.Generator, size: int) -> Light:
    """Return where cells lie: soft-edged patches, (size, size) in [0, 1]."""
    clouds = _clouds(rng, size, rng.uniform(40, 130))
    edge = np.quantile(clouds, rng.uniform(0.05, 0.6))
    return np.asarray(1 / (1 + np.exp(-(clouds - edge) / 0.03)), np.float32)


def _walk(
    rng: np.random.Generator, start: npt.NDArray[np.float64], steps: int, step: float, bend: float
) -> npt.NDArray[np.float64]:
    """Return the points (steps, 2) of a worm-like chain: its heading wanders by `bend` a step."""
    curvature = np.cumsum(rng.normal(0, bend / 4, steps)) * 0.3
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, steps) + curvature * 0.2)
    moves = step * np.stack([np.cos(heading), np.sin(heading)], 1)
    return np.asarray(start + np.cumsum(moves, 0))


def _curve(points: npt.NDArray[np.float64], size: int, width: int) -> Light:
    """Return a smooth-edged curve of brightness 1, (size, size)."""
    # cv2 draws smooth-edged lines on 8 bits only.
    layer = np.zeros((size, size), np.uint8)
    fixed = np.rint(points * 2**_SHIFT).astype(np.int32)[:, None, :]
    cv2.polylines(layer, [fixed], False, 255, width, cv2.LINE_AA, _SHIFT)
    return np.asarray(layer.astype(np.float32) / np.float32(255), np.float32)


def _filaments(rng: np.random.Generator, size: int, cells: Light) -> Light:
    light = np.zeros((size, size), np.float32)
    bend = float(np.exp(rng.uniform(np.log(0.01), np.log(0.2))))
    for _ in range(int(rng.integers(15, 140))):
        points = _walk(rng, rng.uniform(-20, size + 20, 2), int(rng.integers(10, 80)), 4.0, bend)
        curve = _curve(points, size, int(rng.integers(1, 3)))
        light += curve * np.float32(rng.uniform(0.2, 1))
    return np.asarray(light * (0.1 + 0.9 * cells), np.float32)


def _mitochondria(rng: np.random.Generator, size: int, cells: Light) -> Light:
    light = np.zeros((size, size), np.float32)
    width = int(rng.integers(2, 6))
    for _ in range(int(rng.integers(20, 200))):
        points = _walk(rng, rng.uniform(0, size, 2), int(rng.integers(2, 14)), 3.0, 0.35)
        curve = _curve(points, size, width)
        light = np.maximum(light, curve * np.float32(rng.uniform(0.3, 1)))
    return np.asarray(light * cells, np.float32)


def _puncta(rng: np.random.Generator, size: int, cells: Light) -> Light:
    light = np.zeros((size, size), np.float32)
    count = int(np.exp(rng.uniform(np.log(30), np.log(2500))))
    places = rng.integers(0, size, (count, 2))
    np.add.at(light, tuple(places.T), rng.lognormal(0, 0.7, count).astype(np.float32))
    radius = float(rng.uniform(0, 2.5))
    if radius > 0.4:
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), radius), np.float32)
    return np.asarray(light * (0.05 + 0.95 * cells), np.float32)


def _membranes(rng: np.random.Generator, size: int, cells: Light) -> Light:
    """Return outlines of touching cells: the borders of a jittered Voronoi diagram."""
    count = int(rng.integers(6, 90))
    seeds = rng.uniform(-0.1 * size, 1.1 * size, (count, 2)).astype(np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wobble = 0.12 * size / np.sqrt(count)
    x = x + np.float32(wobble) * (2 * _clouds(rng, size, size / 8) - 1)
    y = y + np.float32(wobble) * (2 * _clouds(rng, size, size / 8) - 1)
    distances = np.hypot(x[None] - seeds[:, :1, None], y[None] - seeds[:, 1:, None])
    nearest = np.partition(distances, 1, axis=0)[:2]
    gap = nearest[1] - nearest[0]
    width = float(rng.uniform(0.8, 2.5))
    light = np.exp(-((gap / width) ** 2)) * (0.3 + 0.7 * _clouds(rng, size, 40))
    return np.asarray(light, np.float32)


_KINDS: tuple[Callable[[np.random.Generator, int, Light], Light], ...] = (
    _filaments,
    _mitochondria,
    _puncta,
    _membranes,
)
