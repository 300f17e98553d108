"""ArtiFusion, and in the latent of an autoencoder LatentArtiFusion: diffusion inside a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition, TiledDenoiser
from histomend.diffusion.loop import Recipe, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import FixedTrajectory, Step
from histomend.errors import MaskError, ModelMismatchError
from histomend.jobs.job import Geometry, Job, Mask, Options, RestoreOptions, Stage
from histomend.methods.pixel_size import differs
from histomend.methods.sampling import GENERATE, sampling
from histomend.models import Model
from histomend.slides.source import ArraySource
from histomend.tiles.plan import make_plan
from histomend.tiles.seams import bare_notice, mark_bare


class ArtiFusion(Recipe):
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
        which sees everything as masked.
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
            masked = mask if shown else torch.ones_like(mask)
            self.condition = Condition(torch.cat([visible, masked], 1))

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


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Lay windows around what is masked; each is sampled, and pasted under the mask.

    Raises
    ------
    MaskError, ModelMismatchError, SettingError
    """
    from histomend.methods.windows import GROUP, WindowStage, grouped_by_shape

    if mask is None or not isinstance(options, RestoreOptions) or not isinstance(model, Model):
        raise MaskError("ArtiFusion restores what a mask marks: name one.")
    config = model.config
    if config.channels != 3:
        raise ModelMismatchError(
            f"The model {model.name} is for {config.channels} channels, and restoring is for RGB. "
            "Choose another --model."
        )
    chosen = sampling(options.preset, config, options.steps, options.sampler)
    scale, notices = scale_to(source.mpp, config.mpp)
    plan = make_plan(mask, config.window, scale, config.factor)
    plan = mark_bare(plan, source, mask)
    windows = plan.windows
    bare = sum(window.bare for window in windows)
    if bare:
        notices = (*notices, bare_notice(bare, len(windows)))
    size = 1 if model.device.type == "cpu" else min(GROUP, options.batch)
    groups = grouped_by_shape(plan, config.window, size)
    calls = chosen.nfe(config.noise_schedule()) * options.samples * (len(windows) - bare)

    def restoring(_: Any) -> WindowStage:
        return WindowStage(
            source,
            mask,
            model,
            chosen,
            plan,
            groups,
            options.seed,
            options.samples,
            options.trace,
        )

    stages: tuple[Callable[[Any], Stage], ...] = (restoring,)
    parts = calls
    if chosen.joins:
        from histomend.methods.joining import Joining

        stages = Joining(source, mask, model, chosen, plan, size, options).stages()
        # Each sample is filled before the model draws anything.
        parts = calls + options.samples
    return Job(
        "restore",
        source,
        Geometry.of(source),
        options,
        stages,
        parts=parts,
        units=len(windows),
        device=model.device,
        model=model.record(),
        settings={
            "steps": chosen.steps,
            "sampler": chosen.sampler,
            "extra_noise": chosen.extra_noise,
            "context": chosen.context and config.context,
            "jump_length": chosen.jump_length if chosen.jumps > 1 else None,
            "jumps": chosen.jumps,
            "start": chosen.start,
            "samples": options.samples,
            "detected": options.detected,
            "scale": scale,
            "model_mpp": config.mpp,
            "group": size,
        },
        mask=mask,
        windows=tuple(window.record() for window in windows),
        nfe=calls,
        notices=notices,
    )


def scale_to(mpp: float | None, model_mpp: float) -> tuple[float, tuple[str, ...]]:
    """Return the model's pixels per pixel of an image, and what is to be said of it."""
    if mpp is None:
        return 1.0, (
            f"The image does not say its pixel size; it is taken to be the model's, {model_mpp:g} "
            "um. Name it with --mpp if it is another.",
        )
    if not differs(mpp, model_mpp):
        return 1.0, ()
    return mpp / model_mpp, (
        f"The image has {mpp:g} um per pixel and the model {model_mpp:g}: what is restored "
        "is resampled to the model's pixel size and back.",
    )


def sample_field(size: int, seed: int, model: Model) -> Tensor:
    """Return a field (1, 3, size, size) of tissue in [-1, 1] that the model made up."""
    config = model.config
    chosen = sampling(GENERATE, config)
    cells = -(-size // config.factor)
    known = torch.zeros(1, config.x_channels, cells, cells, device=model.device)
    schedule = config.noise_schedule()
    recipe = ArtiFusion(known, torch.ones_like(known[:, :1]), schedule, context=config.context)
    side = config.window // config.factor
    x = sample(
        TiledDenoiser(model.denoiser, side, side // 4),
        recipe,
        FixedTrajectory(chosen.times(schedule)),
        chosen.make_sampler(schedule, config.learned_variance),
        NoiseStream([NoiseField(seed)], [(0, 0)]),
        schedule,
    ).x
    with torch.inference_mode():
        return model.space.decode(x)[..., :size, :size]
