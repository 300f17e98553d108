"""One prediction out of several: of the image shifted, turned and mirrored.

A denoiser with strides sees an image in cells, and what it makes of a place depends a little on
where the place lies in its cell. The mean over all shifts within a cell of 2×2 px does not (cycle
spinning, Coifman and Donoho 1995): no grid is left. That each shift is turned and mirrored
differently costs nothing more, and takes out what the network has learned of directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from histomend.diffusion.denoiser import NO_CONDITION, Condition, Denoises, Prediction
from histomend.errors import SettingError

# What is mirrored beyond the border, so that a shift needs no pixels that are not there.
MARGIN = 8


@dataclass(frozen=True)
class Pose:
    """A way to look at an image.

    Parameters
    ----------
    down, right : int
        Shift in px, at most `MARGIN`.
    quarters : int
        Quarter turns.
    mirrored : bool
    """

    down: int
    right: int
    quarters: int
    mirrored: bool

    def seen(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) in this pose, with a mirrored margin.

        Sides become even: only so does a pixel's place in its cell not depend on the size.
        """
        height, width = x.shape[-2:]
        pads = (
            *(MARGIN + self.right, MARGIN - self.right + width % 2),
            *(MARGIN + self.down, MARGIN - self.down + height % 2),
        )
        x = torch.rot90(F.pad(x, pads, mode="reflect"), self.quarters, (-2, -1))
        return (x.flip(-1) if self.mirrored else x).contiguous()

    def back(self, x: Tensor, height: int, width: int) -> Tensor:
        """Return what `seen` was given, of this size, without the margin."""
        x = torch.rot90(x.flip(-1) if self.mirrored else x, -self.quarters, (-2, -1))
        top, left = MARGIN + self.down, MARGIN + self.right
        return x[..., top : top + height, left : left + width]


# The cells of the first four begin at all places of 2×2 px, and so do those of the second four:
# turning and mirroring move them as well.
POSES = (
    Pose(0, 0, 0, False),
    Pose(1, 0, 1, True),
    Pose(0, 1, 2, False),
    Pose(1, 1, 3, True),
    Pose(0, 1, 1, False),
    Pose(0, 0, 0, True),
    Pose(0, 0, 3, False),
    Pose(0, 1, 2, True),
)


# How many there can be: one, or all places of a cell once or twice.
POSED = (1, 4, 8)


class PosedDenoiser:
    """Averages a denoiser's predictions over poses.

    Parameters
    ----------
    denoiser : Denoises
    count : 1, 4 or 8
        Poses, and so network calls for each prediction.
    """

    def __init__(self, denoiser: Denoises, count: int):
        if count not in POSED:
            raise SettingError(f"A prediction is averaged over 1, 4 or 8 poses, not {count}.")
        self.denoiser, self.count = denoiser, count

    def __call__(self, x: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Prediction:
        """Return the mean prediction for x (B, C, H, W) at times t (B,).

        Images with a side of at most `MARGIN` are predicted in one pose.
        """
        if self.count == 1 or min(x.shape[-2:]) <= MARGIN + 1:
            return self.denoiser(x, t, condition)
        size = x.shape[-2], x.shape[-1]
        x0, eps = torch.zeros_like(x), torch.zeros_like(x)
        mixes = []
        for pose in POSES[: self.count]:
            maps = None if condition.maps is None else pose.seen(condition.maps)
            found = self.denoiser(pose.seen(x), t, Condition(maps, condition.vectors))
            x0 += pose.back(found.x0, *size)
            eps += pose.back(found.eps, *size)
            if found.variance_mix is not None:
                mixes.append(pose.back(found.variance_mix, *size))
        mix = torch.stack(mixes).mean(0) if mixes else None
        return Prediction(x0 / self.count, eps / self.count, mix)
