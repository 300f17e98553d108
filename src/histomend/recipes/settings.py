"""Presets: how methods from noise are sampled, and what all methods cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from histomend.diffusion.path import FixedPath, repaint_times
from histomend.diffusion.samplers import (
    SAMPLERS,
    Sampler,
    Variance,
    ddpm,
    dpmpp_2m_sde,
    sampler_named,
)
from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError
from histomend.models import ModelConfig
from histomend.networks.autoencoder import build_vae
from histomend.networks.build import METHOD_ARCHS, arch_named
from histomend.recipes.calibrated import CALIBRATED_PRESETS, CALLS, calibrated_sampling
from histomend.recipes.counted import COUNTED, COUNTED_VAES


@dataclass(frozen=True)
class Sampling:
    """How a method samples that starts from noise.

    Parameters
    ----------
    preset : str
    steps : int
        Denoising steps from pure noise to the clean image, jumps not counted.
    sampler : str
    context : bool
        Show the network the visible pixels and the mask, if it was trained with them.
    variance : "posterior" or "beta"
        Of the sampler `ddpm`, unless the network has learned one.
    extra_noise : float
        Of the sampler `dpmpp_2m_sde`; the others have no use for it.
    jump_length, jumps : int
        RePaint's jumps; a single pass if `jumps` is 1.
    """

    preset: str
    steps: int
    sampler: str
    context: bool
    variance: Variance = "posterior"
    extra_noise: float = 0.0
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
            return ddpm(schedule, "learned" if learned_variance else self.variance)
        if self.sampler == "dpmpp_2m_sde":
            return dpmpp_2m_sde(schedule, self.extra_noise)
        return sampler_named(self.sampler, schedule)


PRESETS = {
    "fast": "few calls with context; the default, chosen by measurement",
    "paper": "250 ancestral steps without context, as the paper describes",
    "author_code": "250 steps with RePaint jumps, as the authors' configuration runs: 2,410 calls",
}
LATENT_PRESETS = {
    "fast": "at most ten calls with context; the default, chosen by measurement",
    "paper": "50 ancestral steps without context, as the paper describes",
}
CONDITIONAL_PRESETS = {
    "fast": "few calls; the default",
    "paper": "100 ancestral steps of variance beta, the kind of SR3",
}
METHOD_PRESETS = {
    "artifusion": PRESETS,
    "latent-artifusion": LATENT_PRESETS,
    "conditional": CONDITIONAL_PRESETS,
}
# Ancestral steps of the preset `paper`.
_PAPER_STEPS = {"artifusion": 250, "latent-artifusion": 50, "conditional": 100}


def sampling(
    preset: str, config: ModelConfig, steps: int | None = None, sampler: str | None = None
) -> Sampling:
    """Return the settings of `preset` for a model, with what the user overrides.

    Raises
    ------
    SettingError
        If there is no such preset of the model's method, no such sampler, or the schedule has
        fewer steps.
    """
    presets = METHOD_PRESETS[config.method]
    if config.method == "latent-artifusion" and preset == "author_code":
        raise SettingError(
            f"The preset {preset} does not exist for {config.method}, whose authors' code changes "
            f"clean pixels; it is run for comparison in benchmarks/ only. Use "
            f"{' or '.join(presets)}."
        )
    if preset not in presets:
        raise SettingError(
            f"No preset of {config.method} is called {preset!r}. There are {', '.join(presets)}."
        )
    if preset == "fast":
        steps_of = min(config.fast_steps, 10) if config.latent_channels else config.fast_steps
        chosen = Sampling(
            "fast", steps_of, config.sampler, context=True, extra_noise=config.extra_noise
        )
    elif preset == "paper":
        chosen = Sampling(
            "paper",
            min(_PAPER_STEPS[config.method], config.steps),
            "ddpm",
            context=False,
            variance="beta" if config.method == "conditional" else "posterior",
        )
    else:
        chosen = Sampling("author_code", min(250, config.steps), "ddpm", context=False, jumps=10)
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


def cost(
    arch: str,
    context: bool,
    size: int = 256,
    *,
    method: str = "artifusion",
    latent_channels: int = 0,
) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates of one call on a size × size RGB image).

    Counted on PyTorch's meta device, attention products included; nothing is computed.

    Parameters
    ----------
    latent_channels : int
        Of the autoencoder, whose cells are 8×8 pixels; 0 where the method works on pixels.
    """
    chosen = arch_named(arch, method)
    config = ModelConfig(
        method,
        arch,
        context=context,
        learned_variance=chosen.learned_variance,
        latent_channels=latent_channels,
    )
    side = size // 8 if latent_channels else size
    with torch.device("meta"):
        network = config.network().eval()
        x = torch.zeros(1, config.in_channels, side, side)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, torch.zeros(1, dtype=torch.int64))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def vae_cost(arch: str, latent_channels: int, size: int = 256) -> tuple[int, int, int]:
    """Return (parameters, multiply-accumulates to encode, to decode) of an autoencoder."""
    with torch.device("meta"):
        vae = build_vae(arch, latent_channels).eval()
        with FlopCounterMode(display=False) as encoding, torch.no_grad():
            latent = vae.encode(torch.zeros(1, 3, size, size)).latent_dist.mean
        with FlopCounterMode(display=False) as decoding, torch.no_grad():
            vae.decode(latent)
    macs = (counter.get_total_flops() // 2 for counter in (encoding, decoding))
    return sum(p.numel() for p in vae.parameters()), *macs


# With which autoencoder a latent arch is counted: the paper's has Stable Diffusion's.
_COUNTED_WITH = {"paper": ("paper", 4)}
_OTHERS_COUNTED_WITH = ("small", 16)


def table(method: str | None = None) -> list[dict[str, Any]]:
    """Return one row per arch and preset: method, arch, preset, parameters, macs, steps, use.

    Raises
    ------
    SettingError
        If there is no such method.
    """
    if method is not None and method not in METHOD_ARCHS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHOD_ARCHS)}.")
    chosen = [method] if method is not None else list(METHOD_ARCHS)
    return [row for name in chosen for arch in METHOD_ARCHS[name] for row in _rows(name, arch)]


def _rows(method: str, arch: str) -> list[dict[str, Any]]:
    use, channels = arch_named(arch, method).use, 0
    if method == "latent-artifusion":
        vae, channels = _COUNTED_WITH.get(arch, _OTHERS_COUNTED_WITH)
        counted = COUNTED_VAES.get((vae, channels))
        size, encode, decode = counted or vae_cost(vae, channels)
        use += (
            f"; with an autoencoder of {channels} channels, {size / 1e6:.1f} M parameters, "
            f"{encode / 1e9:.1f} GMAC to encode and {decode / 1e9:.1f} to decode"
        )
    papers = arch in ("full", "add", "unet", "paper")
    context = method in ("artifusion", "latent-artifusion") and not papers
    parameters, macs = COUNTED.get((method, arch)) or cost(
        arch, context, method=method, latent_channels=channels
    )
    config = ModelConfig(method, arch, context=context, latent_channels=channels)
    return [
        {
            "method": method,
            "arch": arch,
            "preset": preset,
            "parameters": parameters,
            "macs": macs,
            "steps": steps,
            "use": f"{use}; {how}",
        }
        for preset, steps, how in _calls(config)
    ]


def _calls(config: ModelConfig) -> list[tuple[str, int | str, str]]:
    """Return each preset of the model's method, its network calls, and what it is."""
    if config.method in ("noise2noise", "cyclegan"):
        return [("fast", 1, "one call")]
    if config.method == "rscd":
        config = replace(config, fast_steps=CALLS)
        return [
            (preset, calibrated_sampling(preset, config).calls or "as calibrated", how)
            for preset, how in CALIBRATED_PRESETS.items()
        ]
    if config.method == "conditional":
        config = replace(config, fast_steps=CALLS)
    schedule = config.noise_schedule()
    return [
        (preset, sampling(preset, config).nfe(schedule), how)
        for preset, how in METHOD_PRESETS[config.method].items()
    ]
