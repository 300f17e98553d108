"""What networks cost: Table 2 of ArtiFusion and Table 2 of LatentArtiFusion."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from histomend.api import restore
from histomend.damage.shapes import random_mask
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.space import LatentSpace, PixelSpace, Space
from histomend.evaluate.papers.reproduction import Printed, Reproduced, command
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Table
from histomend.methods.costs import cost
from histomend.methods.sampling import sampling
from histomend.models import Model, ModelConfig, load_denoiser
from histomend.networks.build import arch_named
from histomend.networks.critic import PatchDiscriminator
from histomend.networks.cyclegan import Generator

SIZE, MASKED = 256, 0.15


def _row(parameters: str, macs: str, seconds: str) -> dict[str, str]:
    return {"parameters": parameters, "macs": macs, "seconds": seconds}


TABLE_2 = Printed(
    "Table 2",
    {
        "CycleGAN": _row("28.28", "60.04", "1.065"),
        "ArtiFusion (U-Net)": _row("108.41", "247.01", "112.37"),
        "ArtiFusion (Add)": _row("27.74", "7.69", "30.14"),
        "ArtiFusion (full)": _row("29.67", "7.73", "30.71"),
    },
)


@dataclass(frozen=True)
class Cost:
    """What restoring one image takes.

    Attributes
    ----------
    parameters, macs : int
        Of all networks; multiply-accumulates of one call.
    steps, calls : int
        Diffusion steps, and network calls.
    seconds : float
        Of one image.
    whole : bool
        Restorations were timed; else a call was, times their number.
    """

    name: str
    parameters: int
    macs: int
    steps: int
    calls: int
    seconds: float
    whole: bool

    def cells(self) -> tuple[str, ...]:
        """Write a row of a table."""
        return (
            self.name,
            f"{self.parameters / 1e6:.2f}",
            f"{self.macs / 1e9:.2f}",
            str(self.steps or "–"),
            str(self.calls),
            f"{self.seconds:.2f}",
            "whole" if self.whole else "calls",
        )


HEADER = (
    "", "parameters, M", "GMAC per call", "diffusion steps", "network calls", "s per image",
    "timed",
)  # fmt: skip


def table2(setting: Setting) -> Reproduced:
    """Count the papers' networks, and time their calls."""
    rows = [cyclegan_cost(setting)]
    archs = {"unet": "U-Net", "add": "Add", "full": "full"}
    for arch, title in archs.items():
        setting.tell(f"timing ArtiFusion {title}")
        rows.append(calls_cost(setting, f"ArtiFusion ({title})", untrained(arch)))
    bundled = load_denoiser("artifusion-he", setting.device)
    for preset in ("generate", "exemplar"):
        rows.append(whole_cost(setting, f"artifusion-he, {preset}", bundled, preset))
    printed = tuple(
        (f"paper, {TABLE_2.place}: {name}", c["parameters"], c["macs"], "–", "–", c["seconds"], "–")
        for name, c in TABLE_2.rows.items()
    )
    slowest, quickest = rows[3], rows[-1]
    table = Table(
        f"**Cost of one {SIZE}×{SIZE} image**, {_machine(setting)}. `calls`: one call of the "
        "network was timed and multiplied by the calls of an image; `whole`: from image to "
        "restored image, with a mask across it. The networks of the paper's sizes are untrained: "
        "speed needs none.",
        command("artifusion-table2", setting),
        HEADER,
        (*(row.cells() for row in rows), *printed),
        (
            "The paper's FLOPs are multiply-accumulates without the products of attention, which "
            "ours count: 8.06 for its 7.73.",
            "“exemplar” copies tissue of the image first, on the processor, and calls the network "
            "along seams alone.",
        ),
    )
    behind = []
    if quickest.seconds > rows[0].seconds:
        behind.append(
            f"Seconds: {quickest.name} takes {quickest.seconds:.2f} and CycleGAN "
            f"{rows[0].seconds:.2f}, as it does in the paper."
        )
    return Reproduced(
        "artifusion-table2",
        "ArtiFusion, Table 2: parameters, multiplications and time",
        " ".join(
            [
                "Parameters and multiplications can be compared, and agree but for CycleGAN's "
                "multiplications, whose networks the paper does not describe. Seconds cannot: the "
                "paper's are of an RTX A4000 and very probably of RePaint's 2,410 calls, though it "
                f"says 250. Here 250 calls of the full network take {slowest.seconds:.1f} s."
            ]
        ),
        tuple(behind),
        (table,),
        (),
        setting.facts(),
    )


def _machine(setting: Setting) -> str:
    if setting.device == "cpu":
        return f"CPU, threads: {torch.get_num_threads()}, fp32, processor time"
    return torch.cuda.get_device_name()


def untrained(arch: str, space: Space | None = None, device: str | torch.device = "cpu") -> Model:
    """Return a model of the papers' sizes with fresh weights, on pixels or on a latent."""
    if isinstance(space, LatentSpace):
        config = ModelConfig(
            "latent-artifusion",
            arch,
            prediction="epsilon",
            schedule="scaled_linear",
            context=False,
            latent_channels=space.vae.config.latent_channels,
            factor=space.factor,
            vae_scaling=space.scaling,
        )
    else:
        config = ModelConfig(
            "artifusion",
            arch,
            prediction="epsilon",
            schedule="linear",
            steps=250,
            context=False,
            learned_variance=arch_named(arch).learned_variance,
        )
    network = config.network().eval().requires_grad_(False).to(device)
    denoiser = Denoiser(network, config.noise_schedule(), config.prediction)
    return Model(f"untrained {arch}", config, denoiser, torch.device(device), space or PixelSpace())


def median_s(setting: Setting, call: Callable[[], object]) -> float:
    """Return the median seconds of a call, after one that warms up; at `tiny` of one call."""
    if setting.is_tiny:
        return _seconds(call)
    call()
    return float(np.median([_seconds(call) for _ in range(3)]))


def _seconds(call: Callable[[], object]) -> float:
    """Return the processor's time, or the clock's where a GPU works."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    began = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - began


def cyclegan_cost(setting: Setting) -> Cost:
    """Count two generators and two critics, and time one call of one generator."""
    with torch.device("meta"):
        networks: list[nn.Module] = [Generator(), Generator()]
        networks += [PatchDiscriminator(), PatchDiscriminator()]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            networks[0](torch.zeros(1, 3, SIZE, SIZE))
    parameters = sum(p.numel() for network in networks for p in network.parameters())
    generator = Generator().eval().to(setting.device)
    x = torch.randn(1, 3, SIZE, SIZE, device=setting.device)
    with torch.inference_mode():
        seconds = median_s(setting, lambda: generator(x))
    return Cost("CycleGAN", parameters, counter.get_total_flops() // 2, 0, 1, seconds, False)


def calls_cost(setting: Setting, name: str, model: Model) -> Cost:
    """Time one call, and multiply it by those of the preset `paper`."""
    config = model.config
    parameters, macs = cost(config.arch, config.context, SIZE)
    network = model.denoiser.network.to(setting.device)
    x = torch.randn(1, config.channels, SIZE, SIZE, device=setting.device)
    t = torch.ones(1, dtype=torch.int64, device=setting.device)
    with torch.inference_mode():
        seconds = median_s(setting, lambda: network(x, t))
    chosen = sampling("paper", config)
    calls = chosen.nfe(config.noise_schedule())
    return Cost(name, parameters, macs, chosen.steps, calls, calls * seconds, False)


def whole_cost(setting: Setting, name: str, model: Model, preset: str) -> Cost:
    """Time restorations from image to image, of a mask across all of it."""
    rng = np.random.default_rng(0)
    image = rng.integers(150, 250, (SIZE, SIZE, 3), dtype=np.uint8)
    mask = random_mask((SIZE, SIZE), rng, area=MASKED, family="band")
    calls = 0

    def run() -> None:
        nonlocal calls
        calls = restore(
            image, mask, model=model, method=model.config.method, mpp=model.config.mpp,
            preset=preset, device=setting.device,
        ).record.nfe  # fmt: skip

    seconds = median_s(setting, run)
    config = model.config
    parameters, macs = cost(
        config.arch,
        config.context,
        SIZE,
        method=config.method,
        latent_channels=config.latent_channels,
    )
    steps = sampling(preset, config).steps
    return Cost(name, parameters, macs, steps, calls, seconds, True)
