"""Enlarging an image of any size: cleaned in tiles, diffused as one field, decoded in tiles.

Between the stages an image is kept in the numbers of its file, one byte or two for each value, so
that few floating-point copies of a large result exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.damage.capture import resized
from histomend.diffusion.denoiser import TiledDenoiser
from histomend.diffusion.loop import State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.path import FixedPath
from histomend.diffusion.samplers import Sampler
from histomend.image import Intensity
from histomend.models.upscaler import Upscaler
from histomend.recipes.colour import (
    HALO,
    adain_fixed,
    keep_between_pixels,
    moments,
    wavelet_fixed,
)
from histomend.recipes.controlled import Controlled
from histomend.tiles.field import Tile, blended, make_tiles

Pixels = npt.NDArray[Any]
Array = npt.NDArray[np.float32]
# Side in px of the tiles that the restoration module sees.
CLEANED = 512
# Fields are padded to a multiple of so many px, as Stable Diffusion's U-Net needs (the paper's
# Fig. 9); by reflection, as zeros would be a black border that the diffusion sees.
UNIT = 64
# Windows in one network call, a constant of the result (`TiledDenoiser`).
WINDOWS = 4
# Rows that are given their colours at once.
BAND = 256


@dataclass(frozen=True)
class Steering:
    """How the diffusion of an upscaler runs.

    Parameters
    ----------
    times : list of int
        From where it starts to 0.
    sampler : Sampler
    colour : of `histomend.recipes.colour.COLOUR_FIXES`
    grid : (height, width)
        Pixels of the source.
    gain : float
        By what a difference is multiplied.
    seed : int
    keep_control : bool
    """

    times: list[int]
    sampler: Sampler
    colour: str
    grid: tuple[int, int]
    gain: float
    seed: int
    keep_control: bool


def resized_to(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Enlarge by bicubic interpolation, as what the restoration module was trained on.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
    size : (height, width)

    Returns
    -------
    (height, width, 3) of the same type
    """
    intensity = Intensity.for_dtype(pixels.dtype)
    out = np.empty((*size, pixels.shape[2]), pixels.dtype)
    for channel in range(pixels.shape[2]):
        plane = torch.from_numpy(intensity.encode(pixels[..., channel]))
        larger = resized(plane[None], size, "bicubic")[0].clamp_(-1, 1)
        out[..., channel] = intensity.decode(larger.numpy(), pixels.dtype)
    return out


def deviation(source: Pixels, enlarged: Pixels) -> float:
    """Return by how much an enlarged image contradicts its source.

    The enlarged image is averaged over each pixel of the source, as a scanner with such pixels
    would have seen it.

    Parameters
    ----------
    source, enlarged : (h, w, C) and (H, W, C) uint8 or uint16

    Returns
    -------
    float
        Mean absolute difference, in levels of 8 bits.
    """
    total = 0.0
    for channel in range(source.shape[2]):
        plane = torch.from_numpy(enlarged[..., channel].astype(np.float32))
        seen = resized(plane[None], source.shape[:2], "area")[0].numpy()
        total += float(np.abs(seen - source[..., channel]).mean(dtype=np.float64))
    return total / source.shape[2] * 255 / np.iinfo(source.dtype).max


def in_tiles(
    pixels: Pixels,
    work: Callable[[Pixels], Array],
    side: int,
    scale: int,
    advance: Callable[[], None],
) -> Pixels:
    """Let a network see an image in overlapping tiles, and blend what it makes of them.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
    work : function of (h, w, 3) of that type -> (scale h, scale w, 3) float32 in [-1, 1]
    side : int
        Of the tiles.
    scale : int
        How much larger the result is.
    advance : called after each tile
    """
    height, width, channels = pixels.shape
    intensity = Intensity.for_dtype(pixels.dtype)
    tiles = make_tiles(height, width, side)

    def found() -> Iterator[Array]:
        for tile in tiles:
            yield work(pixels[tile.place])
            advance()

    larger = [
        Tile(t.x * scale, t.y * scale, t.down.repeat(scale), t.across.repeat(scale)) for t in tiles
    ]
    out = np.empty((height * scale, width * scale, channels), pixels.dtype)
    for top, band in blended(larger, found(), width * scale, channels):
        out[top : top + len(band)] = intensity.decode(band, pixels.dtype)
    return out


@torch.inference_mode()
def cleaned(
    pixels: Pixels,
    restoring: Callable[[Tensor], Tensor],
    device: torch.device,
    advance: Callable[[], None],
) -> Pixels:
    """Return an image that was enlarged after a restoration module, of the same size and type.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
    restoring : RestorationModule, or another function of (1, 3, h, w) in [0, 1] to the same
    device : torch.device
        On which it works.
    advance : called after each tile
    """
    intensity = Intensity.for_dtype(pixels.dtype)

    def work(tile: Pixels) -> Array:
        x = _tensor(intensity.encode(tile)).to(device)
        return _array(restoring((x + 1) / 2) * 2 - 1)

    return in_tiles(pixels, work, CLEANED, 1, advance)


@torch.inference_mode()
def steered(
    image: Pixels, model: Upscaler, steering: Steering, advance: Callable[[], None]
) -> tuple[Pixels, Pixels | None]:
    """Return what the diffusion makes of a cleaned image, and the decoded control if it is kept.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16
    advance : called after each step
    """
    intensity = Intensity.for_dtype(image.dtype)
    height, width = image.shape[:2]
    control = model.space.encode(_padded(image, intensity).to(model.device))
    kept = None
    if steering.keep_control:
        shown = model.space.decode(control)[0, :, :height, :width]
        kept = np.empty_like(image)
        for rows in _bands(height):
            kept[rows] = intensity.decode(_array(shown[None, :, rows]), image.dtype)
        del shown
    schedule = model.denoiser.schedule
    side = model.config.window // model.space.factor
    tiled = TiledDenoiser(model.denoiser, side, side // 4, WINDOWS)

    def stepped(_: State) -> None:
        advance()

    x = sample(
        tiled,
        Controlled(control, steering.times[0], schedule),
        FixedPath(steering.times),
        steering.sampler,
        NoiseStream([NoiseField(steering.seed)], [(0, 0)]),
        schedule,
        stepped,
    ).x
    if steering.colour == "difference":
        # Of a large image the difference is the largest thing held; of 8 bits, half will do.
        held = torch.float16 if image.dtype == np.uint8 else torch.float32
        field = model.space.decode_difference(x, control, held)[0, :, :height, :width]
        keep_between_pixels(field, steering.grid)
        field *= steering.gain
    else:
        field = model.space.decode(x)[0, :, :height, :width]
    out = np.empty_like(image)
    for rows, band in _coloured(field, image, intensity, steering.colour):
        out[rows] = intensity.decode(_array(band[None]), image.dtype)
    return out, kept


def _padded(image: Pixels, intensity: Intensity) -> Tensor:
    """Return an image as (1, 3, H, W) in [-1, 1], with sides that are multiples of `UNIT`.

    It is padded in the numbers of its file, and filled in by bands: of a large one a second
    floating-point copy would not fit.
    """
    after = [(0, -side % UNIT) for side in image.shape[:2]]
    wide = np.pad(image, [*after, (0, 0)], mode="reflect")
    out = torch.empty(1, wide.shape[2], *wide.shape[:2])
    for rows in _bands(len(wide)):
        out[:, :, rows] = _tensor(intensity.encode(wide[rows]))
    return out


def _coloured(
    field: Tensor, image: Pixels, intensity: Intensity, colour: str
) -> Iterator[tuple[slice, Tensor]]:
    """Yield a decoded field, or a difference, (3, H, W) band by band with the image's colours."""
    height = field.shape[1]

    def reference(rows: slice) -> Tensor:
        return _tensor(intensity.encode(image[rows]))[0].to(field.device)

    if colour == "adain":
        own = moments(field[:, rows] for rows in _bands(height))
        wanted = moments(reference(rows) for rows in _bands(height))
    for rows in _bands(height):
        if colour == "wavelet":
            wide = slice(max(0, rows.start - HALO), min(height, rows.stop + HALO))
            fixed = wavelet_fixed(field[None, :, wide], reference(wide)[None])[0]
            yield rows, fixed[:, rows.start - wide.start : rows.stop - wide.start]
        elif colour == "difference":
            yield rows, reference(rows) + field[:, rows]
        elif colour == "adain":
            yield rows, adain_fixed(field[:, rows], own, wanted)
        else:
            yield rows, field[:, rows]


def _bands(height: int) -> list[slice]:
    return [slice(top, min(top + BAND, height)) for top in range(0, height, BAND)]


def _tensor(values: Array) -> Tensor:
    """Return (H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def _array(x: Tensor) -> Array:
    """Return (1, 3, H, W) as (H, W, 3)."""
    return x[0].permute(1, 2, 0).float().cpu().numpy()
