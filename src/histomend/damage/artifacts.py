"""Simulate the artifacts of glass slides, with the exact place of the damage.

Nine kinds, modelled on real ones: what happens to the section (fold, streak), to the mounting
(bubble), what lies on or in it (ink, debris, dark_spot), and what microscope and laboratory do
(out_of_focus, illumination, stain). Further ones are for
detectors to learn from: `EVERY_KIND`. Each renderer draws a mask of the wanted area first and then
alters pixels under it, so the truth is known to the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.damage import air, dirt, imaging, marks, scanner, section
from histomend.damage.optics import Renderer
from histomend.errors import SettingError
from histomend.image import FINEST_MPP, MIN_SIDE, check_mpp, check_rgb

_RENDERERS: dict[str, Renderer] = {
    "fold": section.fold,
    "bubble": air.bubble,
    "ink": dirt.ink,
    "debris": dirt.debris,
    "dark_spot": dirt.dark_spot,
    "out_of_focus": imaging.out_of_focus,
    "streak": section.streak,
    "illumination": imaging.illumination,
    "stain": section.stain,
    "marker": marks.marker,
    "smear": marks.smear,
    "haze": marks.haze,
    "chatter": scanner.chatter,
    "stripes": scanner.stripes,
    "stitching": scanner.stitching,
}
EVERY_KIND = tuple(_RENDERERS)
# What a restoration is measured on. The others came later and follow, so that a seed still draws
# what it drew before.
KINDS = EVERY_KIND[:9]


@dataclass(frozen=True)
class Damaged:
    """An image with one simulated artifact.

    Attributes
    ----------
    pixels : (H, W, 3) uint8 RGB, byte-identical to the input wherever ``mask`` is False.
    mask : (H, W) bool, True where pixels may differ from the input.
    kind : one of `EVERY_KIND`.
    seed : the seed that it was drawn with.
    """

    pixels: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    kind: str
    seed: int


def simulate(
    pixels: npt.NDArray[np.uint8],
    kind: str,
    *,
    seed: int,
    area: float = 0.12,
    mpp: float = 0.5,
) -> Damaged:
    """Damage an image with one artifact.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 RGB, each side at least 64 px; it is not changed.
    kind : one of `EVERY_KIND`.
    seed : not negative; the same seed, kind and image give the same bytes.
    area : fraction of the image to be masked, greater than 0 and less than 1; met exactly.
    mpp : micrometres per pixel, 0.05 to 20; grain, rims and blur are sized by it.

    Returns
    -------
    Damaged
        The damaged pixels and the mask.

    Raises
    ------
    SettingError
        For an unknown kind, a negative seed or an impossible area.
    UnsupportedImageError
        When ``pixels`` is not an (H, W, 3) uint8 array.
    ImageSizeError
        When a side is shorter than 64 px.
    PixelSizeError
        When ``mpp`` is outside 0.05 to 20.
    """
    if kind not in _RENDERERS:
        raise SettingError(
            f"No artifact is called {kind!r}. Choose one of: {', '.join(EVERY_KIND)}."
        )
    check_rgb(
        pixels,
        "Drawing an artifact",
        hint="Repeat a grey image three times, drop an alpha channel, scale values to 0..255.",
        least=MIN_SIDE,
    )
    check_mpp(mpp, "mpp", least=FINEST_MPP)
    if seed < 0:
        raise SettingError(f"seed must not be negative, but is {seed}. Use 0 or more.")
    rng = np.random.default_rng((seed, EVERY_KIND.index(kind)))
    altered, mask = _RENDERERS[kind](pixels, rng, area, 1.0 / mpp)
    changed = np.clip(np.rint(altered), 0, 255).astype(np.uint8)
    return Damaged(np.where(mask[..., None], changed, pixels), mask, kind, seed)
