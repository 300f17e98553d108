"""Presets: how the regional methods are sampled, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from histomend.diffusion.path import FixedPath, repaint_times
from histomend.diffusion.samplers import SAMPLERS, Sampler, Variance, ddpm, sampler_named
from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError
from histomend.models import ModelConfig
from histomend.networks.build import ARCHS


@dataclass(frozen=True)
class Sampling:
    """How a regional method samples.

    Parameters
    ----------
    preset : str
    steps : int
        Denoising steps from pure noise to the clean image, jumps not counted.
    sampler : str
    context : bool
        Show the network the visible pixels and the mask, if it was trained with them.
    jump_length, jumps : int
        RePaint's jumps; a single pass if `jumps` is 1.
    """

    preset: str
    steps: int
    sampler: str
    context: bool
    jump_length: int = 10
    jumps: int = 1

    def times(self, schedule: Schedule) -> list[int]:
        """Return the times the path visits."""
        times = schedule.spaced(self.steps)
        return repaint_times(times, self.jump_length, self.jumps) if self.jumps > 1 else times

    def nfe(self, schedule: Schedule) -> int:
        """Return the network calls per sample."""
        return FixedPath(self.times(schedule)).nfe

    def make_sampler(self, schedule: Schedule, learned_variance: bool) -> Sampler:
        """Return the sampler for a model."""
        if self.sampler == "ddpm":
            variance: Variance = "learned" if learned_variance else "posterior"
            return ddpm(schedule, variance)
        return sampler_named(self.sampler, schedule)


PRESETS = {
    "fast": "few calls with context; the default, chosen by measurement",
    "paper": "250 ancestral steps without context, as the paper describes",
    "author_code": "250 steps with RePaint jumps, as the authors' configuration runs: 2,410 calls",
}


def sampling(
    preset: str, config: ModelConfig, steps: int | None = None, sampler: str | None = None
) -> Sampling:
    """Return the settings of `preset` for a model, with what the user overrides.

    Raises
    ------
    SettingError
        If there is no such preset or sampler, or the schedule has fewer steps.
    """
    if preset == "fast":
        chosen = Sampling("fast", config.fast_steps, config.sampler, context=True)
    elif preset == "paper":
        chosen = Sampling("paper", min(250, config.steps), "ddpm", context=False)
    elif preset == "author_code":
        chosen = Sampling("author_code", min(250, config.steps), "ddpm", context=False, jumps=10)
    else:
        raise SettingError(f"No preset is called {preset!r}. There are {', '.join(PRESETS)}.")
    if steps is not None:
        chosen = replace(chosen, steps=steps)
    if sampler is not None:
        if sampler not in SAMPLERS:
            raise SettingError(
                f"No sampler is called {sampler!r}. There are {', '.join(SAMPLERS)}."
            )
        chosen = replace(chosen, sampler=sampler)
    config.noise_schedule().spaced(chosen.steps)
    return chosen


def cost(arch: str, context: bool, size: int = 256) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates of one call on a size × size RGB image).

    Counted on PyTorch's meta device, attention products included; nothing is computed.
    """
    chosen = ARCHS[arch]
    with torch.device("meta"):
        network = chosen.build(7 if context else 3, 6 if chosen.learned_variance else 3).eval()
        x = torch.zeros(1, 7 if context else 3, size, size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, torch.zeros(1, dtype=torch.int64))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def table(method: str | None = None) -> list[dict[str, Any]]:
    """Return one row per arch and preset: method, arch, preset, parameters, macs, steps, use.

    Raises
    ------
    SettingError
        If there is no such method.
    """
    if method not in (None, "artifusion"):
        raise SettingError(f"No method is called {method!r}. There is artifusion.")
    rows = []
    for arch, settings in ARCHS.items():
        papers = arch in ("full", "add", "unet")
        parameters, macs = cost(arch, context=not papers)
        config = ModelConfig(method="artifusion", arch=arch, context=not papers)
        for preset, use in PRESETS.items():
            rows.append(
                {
                    "method": "artifusion",
                    "arch": arch,
                    "preset": preset,
                    "parameters": parameters,
                    "macs": macs,
                    "steps": sampling(preset, config).nfe(config.noise_schedule()),
                    "use": f"{settings.use}; {use}",
                }
            )
    return rows
