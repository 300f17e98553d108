"""What is worked on where: windows around the masked regions, in a fixed order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.masks import regions

Region = tuple[int, int, int, int]

# Pixels of tissue that a window shows around an artifact, at the model's pixel size.
MARGIN = 32
# Sides of the windows for artifacts that fit one, at the model's pixel size. Few sizes keep
# shapes constant; small ones spare work.
SIDES = (128, 192, 256)
# Largest field that is sampled at once; larger artifacts are restored piece by piece, each
# piece seeing the finished ones before it. It bounds memory, not quality.
FIELD = 1024


@dataclass(frozen=True)
class Window:
    """A part of the image that is sampled at once.

    Parameters
    ----------
    field : (x, y, w, h)
        What the network sees, in the image's own pixels.
    core : (x, y, w, h)
        Inside which masked pixels are replaced, in the image's own pixels.
    work : (w, h)
        Size of the field at the model's pixel size.
    origin : (row, column)
        Corner of the field in cells of the model's space (its pixels, or those of its latent):
        where its noise is taken from.
    bare : bool
        Whether only bare glass is visible: then it is filled smoothly, without the model.
    """

    field: Region
    core: Region
    work: tuple[int, int]
    origin: tuple[int, int]
    bare: bool = False

    def record(self) -> dict[str, list[int] | bool]:
        """Return what the ledger says of the window."""
        return {
            "field": list(self.field),
            "core": list(self.core),
            "work": list(self.work),
            "bare_glass": self.bare,
        }


@dataclass(frozen=True)
class Plan:
    """All windows of an image.

    Parameters
    ----------
    chains : tuple of tuples of Window
        Chains may be worked on in any order and at the same time; the windows of one chain one
        after the other.
    scale : float
        The model's pixels per image pixel; 1 unless the pixel sizes differ too much.
    """

    chains: tuple[tuple[Window, ...], ...]
    scale: float

    @property
    def windows(self) -> list[Window]:
        """All windows in their order."""
        return [window for chain in self.chains for window in chain]


def make_plan(
    mask: npt.NDArray[np.bool_], window: int, scale: float = 1.0, factor: int = 1
) -> Plan:
    """Lay windows around the masked regions of an image.

    An artifact that fits a window of the model gets one, centred on it, so no seam can cross it.
    A larger one gets a field that the model is tiled over; one larger than `FIELD` gets several,
    in a chain. Regions too close for windows of their own share one.

    Parameters
    ----------
    mask : (H, W) bool
        True where the image is to be restored.
    window : int
        Side of the largest field the model takes at once, at the model's pixel size.
    scale : float
        The model's pixels per image pixel.
    factor : int
        Pixels per cell of the model's space. Fields begin on multiples of it where nothing is
        resampled, so that windows that overlap share their cells.
    """
    height, width = mask.shape
    margin = math.ceil(MARGIN / scale)
    fits = [side for side in SIDES if side <= window] or [window]
    sides = [math.ceil(side / scale) for side in fits]
    chains: list[tuple[Window, ...]] = []
    for box in _apart(regions(mask, merge_px=2 * margin)):
        x, y, w, h = box
        need = max(w, h) + 2 * margin
        fitting = [side for side in sides if side >= need]
        if fitting:
            field = _around(box, fitting[0], fitting[0], width, height)
            chains.append((_window(field, box, scale, factor),))
            continue
        limit = math.ceil(FIELD / scale) - 2 * margin
        chain: list[Window] = []
        for top in range(y, y + h, limit):
            for left in range(x, x + w, limit):
                core = (left, top, min(limit, x + w - left), min(limit, y + h - top))
                if mask[core[1] : core[1] + core[3], core[0] : core[0] + core[2]].any():
                    least = max(sides)
                    field = _around(
                        core,
                        max(least, core[2] + 2 * margin),
                        max(least, core[3] + 2 * margin),
                        width,
                        height,
                    )
                    chain.append(_window(field, core, scale, factor))
        chains.append(tuple(chain))
    return Plan(tuple(chains), scale)


def _apart(boxes: list[Region]) -> list[Region]:
    """Return the boxes, those that overlap joined: no masked pixel may be restored twice.

    The boxes of regions overlap where one lies in the other's bend.
    """
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes]).reshape(-1, 4)
    kept = np.ones(len(boxes), bool)
    for k in range(len(boxes)):
        while True:
            left, top, right, bottom = corners[k]
            earlier = corners[:k]
            meets = (earlier[:, :2] < (right, bottom)).all(1) & (earlier[:, 2:] > (left, top)).all(
                1
            )
            met = np.flatnonzero(meets & kept[:k])
            if not len(met):
                break
            kept[met] = False
            corners[k, :2] = np.minimum(corners[k, :2], earlier[met, :2].min(0))
            corners[k, 2:] = np.maximum(corners[k, 2:], earlier[met, 2:].max(0))
    return [(int(a), int(b), int(c - a), int(d - b)) for a, b, c, d in corners[kept]]


def _around(box: Region, w: int, h: int, width: int, height: int) -> Region:
    """Return a w × h field centred on `box`, moved and cut to lie inside the image."""
    w, h = min(w, width), min(h, height)
    x = min(max(box[0] + box[2] // 2 - w // 2, 0), width - w)
    y = min(max(box[1] + box[3] // 2 - h // 2, 0), height - h)
    return x, y, w, h


def _window(field: Region, core: Region, scale: float, factor: int) -> Window:
    x, y, w, h = field
    if scale == 1:
        x, w = _on_grid(x, w, core[0], core[2], factor)
        y, h = _on_grid(y, h, core[1], core[3], factor)
    work = (max(1, round(w * scale)), max(1, round(h * scale)))
    origin = (math.floor(y * scale) // factor, math.floor(x * scale) // factor)
    return Window((x, y, w, h), core, work, origin)


def _on_grid(start: int, length: int, core: int, size: int, factor: int) -> tuple[int, int]:
    """Return a side of a field that begins on a multiple of `factor` and still holds the core."""
    before = start - start % factor
    if core + size <= before + length:
        return before, length
    # At the far border of the image: rather a little shorter than more cells than fit a window.
    after = before + factor
    if core >= after:
        return after, start + length - after
    return before, start + length - before
