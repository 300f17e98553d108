"""The table of archs and presets, with what each costs."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

from histomend.errors import SettingError
from histomend.methods import METHODS
from histomend.methods.costs import controlled_cost, cost, restoration_cost, vae_cost
from histomend.methods.counted import COUNTED, COUNTED_VAES
from histomend.methods.histo_diffusion import controlled_sampling
from histomend.methods.rscd import CALLS, calibrated_sampling
from histomend.methods.sampling import sampling
from histomend.models import ModelConfig
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.restoration import GANS, NETWORKS, STAGE_1
from histomend.models.stable_diffusion import StableDiffusion
from histomend.models.upscaler import UpscalerConfig
from histomend.networks.build import LATENT_ARCHS, METHOD_ARCHS
from histomend.networks.latent_unet import latent_unet

# The first stage of Histo-Diffusion goes by the verb that trains it.
LISTED = (*METHOD_ARCHS, STAGE_1, UPSCALER_METHOD, *GANS)

# With which autoencoder a latent arch is counted: the paper's has Stable Diffusion's.
_COUNTED_WITH = {"paper": ("paper", 4), StableDiffusion.arch: ("paper", 4)}
_OTHERS_COUNTED_WITH = ("small", 16)
# Networks of the papers, which are not shown what is visible.
_WITHOUT_CONTEXT = ("full", "add", "unet", "paper")


def table(method: str | None = None) -> list[dict[str, Any]]:
    """Return one row per arch and preset: method, arch, preset, parameters, macs, steps, use, how.

    `macs` are the multiply-accumulates of one call on 256×256 px, `use` says what the arch is,
    `how` what the preset does. Rows of "histo-diffusion" are its two stages: "swinir" and itself.

    Raises
    ------
    SettingError
        If there is no such method.
    """
    if method is not None and method not in LISTED:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(LISTED)}.")
    if method is None:
        chosen = LISTED
    else:
        chosen = (STAGE_1, method) if method == UPSCALER_METHOD else (method,)
    return [row for name in chosen for arch, use in _archs(name) for row in _rows(name, arch, use)]


def _archs(method: str) -> list[tuple[str, str]]:
    """Return the archs of a method, and what each is."""
    if method in NETWORKS:
        return [(arch, _restoration_use(method, arch)) for arch in NETWORKS[method][1]]
    if method == UPSCALER_METHOD:
        # A branch copies the first half of diffusers' U-Nets, and of no other network.
        priors = [arch for arch, network in LATENT_ARCHS.items() if network.make is latent_unet]
        return [
            *((arch, f"latent-artifusion's {arch} as prior, with its branch") for arch in priors),
            (StableDiffusion.arch, "the paper's network, Stable Diffusion 2.1 with a ControlNet"),
        ]
    return [(arch, network.use) for arch, network in METHOD_ARCHS[method].items()]


def _restoration_use(method: str, arch: str) -> str:
    make, archs = NETWORKS[method]
    usual = {name: each.default for name, each in signature(make).parameters.items()}
    chosen = usual | archs[arch]
    own = "smaller, for CPU"
    if arch == "paper":
        own = "the paper's network" if method == STAGE_1 else "for GPU"
    side = chosen["unshuffle"]
    return f"{own}, {make.__name__} of {chosen['channels']} channels on {side}×{side} patches"


def _rows(method: str, arch: str, use: str) -> list[dict[str, Any]]:
    channels = 0
    if method in ("latent-artifusion", UPSCALER_METHOD):
        vae, channels = _COUNTED_WITH.get(arch, _OTHERS_COUNTED_WITH)
        size, encode, decode = COUNTED_VAES.get((vae, channels)) or vae_cost(vae, channels)
        use += (
            f"; with an autoencoder of {channels} channels, {size / 1e6:.1f} M parameters, "
            f"{encode / 1e9:.1f} GMAC to encode and {decode / 1e9:.1f} to decode"
        )
    parameters, macs = COUNTED.get((method, arch)) or _cost(method, arch, channels)
    return [
        {
            "method": method,
            "arch": arch,
            "preset": preset,
            "parameters": parameters,
            "macs": macs,
            "steps": steps,
            "use": use,
            "how": how,
        }
        for preset, steps, how in _calls(method, arch, channels)
    ]


def _cost(method: str, arch: str, channels: int) -> tuple[int, int]:
    if method in NETWORKS:
        return restoration_cost(method, arch)
    if method == UPSCALER_METHOD:
        return controlled_cost(arch, _context(method, arch), channels)
    return cost(arch, _context(method, arch), method=method, latent_channels=channels)


def _context(method: str, arch: str) -> bool:
    """Return whether a network of ours for this method is shown what is visible."""
    shown = ("artifusion", "latent-artifusion", UPSCALER_METHOD)
    return method in shown and arch not in _WITHOUT_CONTEXT


def _calls(method: str, arch: str, channels: int) -> list[tuple[str, int | str, str]]:
    """Return each preset of a method, its network calls, and what it is."""
    if method in ("noise2noise", "cyclegan"):
        return [("fast", 1, "one call")]
    if method in NETWORKS:
        when = ", before the diffusion" if method == STAGE_1 else ""
        return [("any", 1, f"one call{when}")]
    config = ModelConfig(method, arch, context=_context(method, arch), latent_channels=channels)
    schedule = config.noise_schedule()
    if method == UPSCALER_METHOD:
        upscaler = UpscalerConfig("", arch, "", "", "")
        return [
            (preset, controlled_sampling(preset, upscaler, schedule).nfe(schedule), how)
            for preset, how in METHODS[method].presets.items()
        ]
    if method in ("rscd", "conditional"):
        config = replace(config, fast_steps=CALLS)
    if method == "rscd":
        return [
            (preset, calibrated_sampling(preset, config).calls or "as calibrated", how)
            for preset, how in METHODS[method].presets.items()
        ]
    return [
        (preset, sampling(preset, config).nfe(schedule), how)
        for preset, how in METHODS[method].presets.items()
    ]
