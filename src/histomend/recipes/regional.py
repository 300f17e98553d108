"""Regional denoising: ArtiFusion, and with other spaces LatentArtiFusion."""

from __future__ import annotations

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.path import Step
from histomend.diffusion.schedule import Schedule


class Regional(Recipe):
    """Denoise inside a mask, from pure noise; outside stays what it was.

    Before each call at t the clean region is pasted in, noised to t (ArtiFusion, eq. 2), so that
    the network always sees a consistent x_t.

    Parameters
    ----------
    known : (B, C, H, W) in [-1, 1]
        The image in the space where diffusion happens. What lies under the mask is never read.
    mask : (B, 1, H, W)
        1 where the image is to be restored.
    schedule : Schedule
    context : bool
        Whether the network has channels for the visible part and the mask.
    shown : bool
        Whether they are filled. If not, a network with context works as an unconditional one,
        which is told that everything is masked.
    """

    def __init__(
        self,
        known: Tensor,
        mask: Tensor,
        schedule: Schedule,
        *,
        context: bool,
        shown: bool = True,
    ):
        self.mask = mask
        self.known = known * (1 - mask)
        self.schedule = schedule
        if context:
            visible = self.known if shown else torch.zeros_like(known)
            told = mask if shown else torch.ones_like(mask)
            self.condition = Condition(torch.cat([visible, told], 1))

    def start(self, noise: NoiseStream) -> Tensor:
        """Return pure noise; the first `before` pastes the clean region."""
        return noise.draw(self.known)

    def before(self, x: Tensor, step: Step, noise: NoiseStream) -> Tensor:
        """Paste the clean region, noised to step.t with fresh noise (eq. 2)."""
        alpha, sigma = self.schedule.at(step.t, x)
        sampled = alpha * self.known + sigma * noise.draw(x, step.down)
        return sampled * (1 - self.mask) + x * self.mask

    def finish(self, x: Tensor) -> Tensor:
        """Return x with the clean region as it was (the paper's final composite)."""
        return self.known + x * self.mask
