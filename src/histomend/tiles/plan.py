"""What is worked on where: windows around the masked regions, in a fixed order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
# Side in px of the cells in which boxes are looked up.
CELL = 512


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
    after : tuple of str
        Keys of the earlier windows of its chain that reach into its field: they are restored
        first, and it sees what they became.
    """

    field: Region
    core: Region
    work: tuple[int, int]
    origin: tuple[int, int]
    bare: bool = False
    after: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A name that no other window of the plan has."""
        return f"x{self.core[0]}y{self.core[1]}"

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
                    piece = _window(field, core, scale, factor)
                    chain.append(replace(piece, after=_reaching(chain, piece)))
        chains.append(tuple(chain))
    return Plan(tuple(chains), scale)


def _reaching(chain: list[Window], window: Window) -> tuple[str, ...]:
    """Return the keys of the windows whose cores lie in the field of another one."""
    x, y, w, h = window.field
    found = []
    for other in reversed(chain):
        left, top, wide, high = other.core
        if top + high <= y:
            break  # Cores come row by row: all before this one end even higher.
        if top < y + h and left < x + w and left + wide > x:
            found.append(other.key)
    return tuple(reversed(found))


def _apart(boxes: list[Region]) -> list[Region]:
    """Return the boxes, those that overlap joined: no masked pixel may be restored twice.

    The boxes of regions overlap where one lies in the other's bend. Each box is known in the cells
    of a coarse grid that it touches, so that only its neighbours are looked at.
    """
    kept: dict[int, Region] = {}
    cells: dict[tuple[int, int], set[int]] = {}
    for number, box in enumerate(boxes):
        while True:
            near = {k for cell in _cells(box) for k in cells.get(cell, ())}
            met = [k for k in near if _overlap(kept[k], box)]
            if not met:
                break
            for k in met:
                joined = kept.pop(k)
                for cell in _cells(joined):
                    cells[cell].discard(k)
                box = _joined(box, joined)
        kept[number] = box
        for cell in _cells(box):
            cells.setdefault(cell, set()).add(number)
    return [kept[number] for number in sorted(kept)]


def _cells(box: Region) -> list[tuple[int, int]]:
    x, y, w, h = box
    return [
        (row, column)
        for row in range(y // CELL, (y + h - 1) // CELL + 1)
        for column in range(x // CELL, (x + w - 1) // CELL + 1)
    ]


def _overlap(one: Region, other: Region) -> bool:
    across = one[0] < other[0] + other[2] and other[0] < one[0] + one[2]
    return across and one[1] < other[1] + other[3] and other[1] < one[1] + one[3]


def _joined(one: Region, other: Region) -> Region:
    left, top = min(one[0], other[0]), min(one[1], other[1])
    right = max(one[0] + one[2], other[0] + other[2])
    bottom = max(one[1] + one[3], other[1] + other[3])
    return left, top, right - left, bottom - top


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
