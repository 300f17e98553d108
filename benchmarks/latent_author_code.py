"""LatentArtiFusion as its authors' code runs it, wrong on purpose, for comparison.

The artifact's own latent is where sampling starts, the clean latent is pasted without noise, the
mask is thinned to the nearest cell, everything passes the autoencoder, and the whole image's mean
and deviation are matched to the input's: clean pixels change. Used by ``latent_border.py``;
nothing to run here.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import FixedTrajectory, Step
from histomend.evaluate.restoration import Row
from histomend.methods.artifusion import ArtiFusion
from histomend.methods.sampling import sampling
from histomend.models import Model


class AuthorsRegional(ArtiFusion):
    """ArtiFusion denoising with the two faults of the authors' loop."""

    def __init__(self, latent: Tensor, mask: Tensor, schedule: Schedule, *, context: bool):
        super().__init__(latent, mask, schedule, context=context, shown=False)
        self.latent = latent

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the latent of the damaged image, where eq. 2 has noise."""
        return self.latent

    def before(self, x: Tensor, step: Step, noise: NoiseStream) -> Tensor:
        """Paste the clean latent as it is, where eq. 2 has it noised to t."""
        return self.known + x * self.mask


def author_row(name: str, model: Model) -> Row:
    """Return the row of the authors' variant, for fields that fit the model's window."""
    config, space = model.config, model.space
    chosen = sampling("paper", config)
    schedule = config.noise_schedule()

    @torch.inference_mode()
    def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        values = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
        latent = space.encode(values.to(model.device))
        masked = torch.from_numpy(mask.astype(np.float32))[None, None].to(model.device)
        nearest = F.interpolate(masked, size=latent.shape[-2:], mode="nearest")
        found = sample(
            model.denoiser,
            AuthorsRegional(latent, nearest, schedule, context=config.context),
            FixedTrajectory(chosen.times(schedule)),
            chosen.make_sampler(schedule, config.learned_variance),
            NoiseStream([NoiseField(seed)], [(0, 0)]),
            schedule,
        )
        height, width = mask.shape
        decoded = space.decode(found.x)[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        return colour_matched((decoded + 1) * 127.5, pixels)

    settings = {**asdict(chosen), "preset": "author_code", "device": str(model.device)}
    return Row(name, run, settings, config.sha256, chosen.nfe(schedule))


def colour_matched(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 with each channel's mean and deviation those of the reference."""
    wanted = reference.astype(np.float32)
    spread = wanted.std((0, 1)) / np.maximum(values.std((0, 1)), 1e-6)
    matched = (values - values.mean((0, 1))) * spread + wanted.mean((0, 1))
    return np.clip(np.round(matched), 0, 255).astype(np.uint8)
