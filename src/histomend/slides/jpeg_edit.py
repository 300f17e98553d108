"""New pixels into a JPEG tile, in the DCT domain: MCUs without any of them stay bit for bit.

A tile that is decoded and encoded again changes everywhere. Here each step of the quantisation
table becomes a divisor of itself, so that old coefficients stay exact when multiplied by what was
divided out, and new ones are stored nearly without loss. The table goes into a slot that TIFF tag
347 leaves free: libtiff keeps the decoder's tables from tile to tile, and a redefined slot would
corrupt the tiles that follow.

Where colour is subsampled, a sample is changed only if every pixel that it reaches when it is
interpolated lies in the mask. So no pixel changes outside the mask grown to whole MCUs, and there
by one pixel more; without subsampling, by none.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from histomend.errors import UnsupportedImageError
from histomend.image.pixels import Pixels
from histomend.slides.jpeg_coefficients import write_tile
from histomend.slides.jpeg_stream import JpegTile

Mask = npt.NDArray[np.bool_]
_Float = npt.NDArray[np.float64]

# Row-major positions of the coefficients: along the anti-diagonals, up and down by turns.
_ZIGZAG = np.array(
    sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
)
# Orthonormal DCT of 8 samples: row u is basis function u (T.81, A.3.3).
_DCT = np.cos((2 * np.arange(8)[None, :] + 1) * np.arange(8)[:, None] * np.pi / 16) / 2
_DCT[0] /= np.sqrt(2)
# From the blocks of 8 x 8 pixels, flat, to coefficients in zigzag order, in one product.
_FORWARD = np.kron(_DCT, _DCT)[_ZIGZAG].T.copy()
_INVERSE = _FORWARD.T.copy()

YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
)
"""From R, G, B to Y, Cb - 128, Cr - 128 (JFIF 1.02)."""

_STEPS = (1, 2, 4, 8, 16, 32)


def edit_jpeg(tile: JpegTile, target: Pixels, mask: Mask, *, ycbcr: bool, where: str) -> bytes:
    """Return the stream of a tile in which the pixels of a mask are new.

    Parameters
    ----------
    tile : JpegTile
        As read; not changed.
    target : (height, width, components) uint8
        RGB, or one plane.
    mask : (height, width) bool
    ycbcr : bool
        The components are Y, Cb, Cr.
    where : str
        For messages.

    Raises
    ------
    UnsupportedImageError
        No tables that may be used can hold the new coefficients.
    """
    wanted = _wanted(tile, target, mask, ycbcr=ycbcr)
    free = [slot for slot in range(4) if ("q", slot) not in tile.reserved]
    # Coarser steps where a coefficient would not fit the format; at last the tile's own tables.
    for step in (*_STEPS, None) if free else (None,):
        edited = _requantised(tile, wanted, step, free)
        try:
            return write_tile(edited, _free_huffman(edited))
        except ValueError:
            continue
    raise UnsupportedImageError(
        f"{where}: the restored pixels do not fit the tables of this JPEG tile. "
        "Write a new pyramid instead."
    )


def touched_mcus(tile: JpegTile, mask: Mask) -> Mask:
    """Return (MCUs down, MCUs across): which of them hold a pixel of a mask."""
    (width, height), (across, down) = tile.mcu, tile.grid
    padding = (0, down * height - mask.shape[0]), (0, across * width - mask.shape[1])
    cells = np.pad(mask, padding).reshape(down, height, across, width)
    return np.asarray(cells.any((1, 3)))


def _wanted(
    tile: JpegTile, target: Pixels, mask: Mask, *, ycbcr: bool
) -> list[tuple[Mask, _Float]]:
    """Return which blocks of each component change, and their coefficients before quantisation."""
    (width, height), (across, down) = tile.mcu, tile.grid
    beyond = (0, down * height - mask.shape[0]), (0, across * width - mask.shape[1])
    mask = np.pad(mask, beyond, mode="edge")
    # Only whole MCUs around the mask are looked at.
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom = rows[0] // height, rows[-1] // height + 1
    left, right = columns[0] // width, columns[-1] // width + 1
    box = slice(top * height, bottom * height), slice(left * width, right * width)
    rgb = target[box].astype(np.float64)
    short = [(0, s.stop - s.start - n) for s, n in zip(box, rgb.shape[:2], strict=True)]
    rgb = np.pad(rgb, (*short, (0, 0)), mode="edge")
    out = []
    for index, c in enumerate(tile.components):
        fx, fy = width // (8 * c.h), height // (8 * c.v)
        changed = (mask if fx == fy == 1 else _reached(mask, fx, fy))[
            top * c.v * 8 : bottom * c.v * 8, left * c.h * 8 : right * c.h * 8
        ]
        plane = _averaged(_plane(rgb, index, ycbcr=ycbcr), fx, fy)
        inner = slice(top * c.v, bottom * c.v), slice(left * c.h, right * c.h)
        inside = _blocked(changed)
        touched = inside.any(2)
        old = (c.blocks[inner][touched] * tile.quantisers[c.quantiser]) @ _INVERSE
        new = np.where(inside[touched], _blocked(plane)[touched], old)
        blocks = np.zeros(c.blocks.shape[:2], np.bool_)
        blocks[inner] = touched
        out.append((blocks, new @ _FORWARD))
    return out


def _averaged(plane: _Float, fx: int, fy: int) -> _Float:
    if fx == fy == 1:
        return plane
    parts = [plane[dy::fy, dx::fx] for dy in range(fy) for dx in range(fx)]
    return np.asarray(sum(parts[1:], parts[0]) / len(parts))


def _reached(mask: Mask, fx: int, fy: int) -> Mask:
    """Return which subsampled values reach no pixel outside a mask.

    Decoders interpolate a factor of 2 by a triangle filter, which reaches one pixel beyond the
    cell, and repeat the value for other factors.
    """
    out = np.ones((mask.shape[0] // fy, mask.shape[1] // fx), np.bool_)
    padded = np.pad(mask, 1, mode="edge")
    for dy in range(fy + 2) if fy == 2 else range(1, 1 + fy):
        for dx in range(fx + 2) if fx == 2 else range(1, 1 + fx):
            out &= padded[dy : dy + mask.shape[0] : fy, dx : dx + mask.shape[1] : fx]
    return out


def _plane(rgb: _Float, index: int, *, ycbcr: bool) -> _Float:
    """Return one component of pixels, around zero."""
    if not ycbcr:
        return rgb[..., index] - 128.0
    r, g, b = YCBCR[index]
    plane = r * rgb[..., 0] + g * rgb[..., 1] + b * rgb[..., 2]
    return plane - 128.0 if index == 0 else plane


def _blocked(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Cut a plane into (rows, columns, 64)."""
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    return plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(rows, columns, 64)


def _requantised(
    tile: JpegTile, wanted: list[tuple[Mask, _Float]], step: int | None, free: list[int]
) -> JpegTile:
    """Return a tile with the wanted coefficients, and all others as they were."""
    out = copy.copy(tile)
    out.components = [copy.copy(c) for c in tile.components]
    out.huffman = dict(tile.huffman)
    if step is not None:
        out.quantisers = {free[0]: _divisors(tile, step)}
    for c, (blocks, values) in zip(out.components, wanted, strict=True):
        old = tile.quantisers[c.quantiser]
        if step is not None:
            c.quantiser = free[0]
        table = out.quantisers[c.quantiser]
        c.blocks = c.blocks * (old // table)
        c.blocks[blocks] = np.rint(values / table).astype(np.int32)
    return out


def _divisors(tile: JpegTile, step: int) -> npt.NDArray[np.int32]:
    """Return the largest common divisors, up to `step`, of the tables that a tile uses."""
    used = {c.quantiser for c in tile.components}
    common = np.gcd.reduce([tile.quantisers[slot] for slot in sorted(used)])
    largest = {
        value: max(d for d in range(1, step + 1) if value % d == 0)
        for value in set(common.tolist())
    }
    return np.array([largest[value] for value in common.tolist()], np.int32)


def _free_huffman(tile: JpegTile) -> dict[tuple[int, int], int] | None:
    """Return free slots for Huffman tables; without any, the tile keeps its own."""
    pairs = sorted({(c.dc, c.ac) for c in tile.components})
    free = [slot for slot in range(4) if ("h", slot) not in tile.reserved]
    if len(free) >= len(pairs):
        return dict(zip(pairs, free, strict=False))
    return dict.fromkeys(pairs, free[0]) if free else None
