"""A picture of where restored pixels came from."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.exemplar.provenance import COPIED, DRAWN, Provenance

DRAWN_COLOUR = (255, 255, 255)
# How much of a colour lies over copies, over mixtures of copies, and over their sources.
_COPY, _MIXED, _SOURCE = 0.7, 0.35, 0.3


def picture(provenance: Provenance, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a grey image with each piece and its source in a colour of their own, (H, W, 3).

    Strong where it is copied, pale where copies are mixed and at the source; what the model drew
    is white.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
        The restored image.
    """
    highest = np.iinfo(pixels.dtype).max
    grey = pixels.mean(2, keepdims=True) * (255 / highest)
    out = np.repeat(grey, 3, 2).astype(np.float32)

    def tint(where: Any, colour: tuple[float, ...], share: float) -> None:
        out[where] += share * (np.array(colour, np.float32) - out[where])

    number = 0
    for part in provenance.parts:
        x, y = part.box[:2]
        for k, piece in enumerate(part.pieces):
            # Steps of the golden ratio around the circle of hues: neighbours never look alike.
            colour = tuple(255 * v for v in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.9, 0.9))
            number += 1
            for mixed, share in ((0, _COPY), (1, _MIXED)):
                rows, columns = np.nonzero(part.origin == COPIED + 2 * k + mixed)
                tint((rows + y, columns + x), colour, share)
                tint(piece.source(rows + y, columns + x), colour, _SOURCE)
        rows, columns = np.nonzero(part.origin == DRAWN)
        tint((rows + y, columns + x), DRAWN_COLOUR, 1)
    return np.asarray(np.rint(out), np.uint8)
