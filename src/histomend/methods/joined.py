"""Joining by diffusion: a filled hole, of which a band along the seams is drawn again."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.schedule import Schedule
from histomend.methods.artifusion import ArtiFusion

Mask = npt.NDArray[np.bool_]

# How far from a seam a pixel is drawn again, in px at the model's pixel size.
BAND_PX = 3.0


class Joined(ArtiFusion):
    """Draw a band again, from a filling noised to `t`; outside stays what it is (eq. 2).

    The start keeps as much of the filling as `t` leaves of it, so that pieces are joined where
    they meet, and nothing is invented far from there (SDEdit, Meng et al. 2022, in a region).

    Parameters
    ----------
    filled : (B, C, H, W) in [-1, 1]
        The image with its holes filled, in the space where diffusion happens.
    band : (B, 1, H, W)
        1 where it is drawn again.
    schedule : Schedule
    t : int
        The time to start from, that of the trajectory's first step.
    context, shown : bool
        As of `ArtiFusion`; the network is shown all but the band.
    """

    def __init__(
        self,
        filled: Tensor,
        band: Tensor,
        schedule: Schedule,
        t: int,
        *,
        context: bool,
        shown: bool = True,
    ):
        super().__init__(filled, band, schedule, context=context, shown=shown)
        self.filled = filled
        self.t = t

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the filling, noised to `t`."""
        t = torch.full((len(self.filled),), self.t)
        return self.schedule.noised(self.filled, t, noise.draw(self.filled))


def band(seams: Mask, mask: Mask, width_px: float = BAND_PX) -> Mask:
    """Return the masked pixels within `width_px` of a seam, (H, W) bool.

    Parameters
    ----------
    seams : (H, W) bool
        Masked pixels beside a seam: these are half a pixel from it.
    mask : (H, W) bool
    """
    if not seams.any():
        return np.zeros_like(mask)
    distance = cv2.distanceTransform((~seams).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(mask & (distance + 0.5 <= width_px), np.bool_)
