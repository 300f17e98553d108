"""What LatentArtiFusion costs beside what it is compared with: the paper's Table 2.

    python benchmarks/latent_speed.py [--model latent-artifusion-he] [--threads N]

One 256×256 image on this machine, everything in one run. Networks of the papers' sizes have no
trained weights here; their speed needs none. Then the ratio that counts, LatentArtiFusion
`generate` against ArtiFusion `paper` with the full network, both end to end, and where the time
goes. Takes about ten minutes on two cores, half of them for 250 steps of the full network.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from histomend.api import restore
from histomend.damage.shapes import random_mask
from histomend.diffusion.space import LatentSpace
from histomend.evaluate.papers.costs import untrained
from histomend.evaluate.tables import Table, write_section
from histomend.methods.costs import cost
from histomend.methods.sampling import sampling
from histomend.models import Model, load_model
from histomend.networks.autoencoder import build_vae
from histomend.networks.critic import PatchDiscriminator
from histomend.networks.cyclegan import Generator
from latent_costs import SIZE, autoencoder_cost, networks_cost
from speed import MASKED, matmul_rate, median_s
from stopwatch import Stopwatch, synchronise

Figures = dict[str, Any]
GOAL = 20


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes
    ----------
    parameters : int
        All networks of the system, the autoencoder included.
    call_macs, other_macs : int
        Multiply-accumulates of one network call, and of the autoencoder once there and back.
    steps, calls : int
        Diffusion steps (0: none) and network calls.
    seconds : float
        Per image.
    whole : bool
        Whether restorations were timed from image to image; else network calls were, times
        their number.
    """

    name: str
    parameters: int
    call_macs: int
    other_macs: int
    steps: int
    calls: int
    seconds: float
    whole: bool

    def cells(self) -> tuple[str, ...]:
        total = self.call_macs * self.calls + self.other_macs
        return (
            self.name,
            f"{self.parameters / 1e6:.2f}",
            f"{self.call_macs / 1e9:.2f}",
            f"{self.other_macs / 1e9:.2f}" if self.other_macs else "–",
            f"{total / 1e9:,.0f}",
            str(self.steps or "–"),
            str(self.calls),
            f"{self.seconds:.2f}",
            "whole" if self.whole else "calls",
        )


def main() -> None:
    """Measure everything, print it, and write table and figures."""
    options = _options()
    torch.set_num_threads(options.threads)
    model = load_model(options.model, options.device)
    bench = Bench(model.device, options.repeats)
    rows = [bench.cyclegan()]
    for name, arch in (("U-Net", "unet"), ("Add", "add"), ("Full", "full")):
        rows.append(
            _told(bench.calls(f"ArtiFusion {name}, `paper`", untrained(arch, device=bench.device)))
        )
    small = load_model(options.artifusion, options.device)
    title = f"ArtiFusion {small.config.arch}, `generate`"
    rows.append(_told(bench.whole(title, small, "generate")))
    for name, space in (
        ("Stable Diffusion's autoencoder", LatentSpace(build_vae("paper", 4).to(bench.device))),
        ("our autoencoder", model.space),
    ):
        published = untrained("paper", space, bench.device)
        row = bench.whole(f"LatentArtiFusion paper, {name}, `paper`", published, "paper")
        rows.append(_told(row))
    for preset in ("paper", "generate"):
        name = f"LatentArtiFusion {model.config.arch}, `{preset}`"
        rows.append(_told(bench.whole(name, model, preset)))
    figures = bench.against(model, untrained("full", device=bench.device))
    _write(options, rows, figures)


class Bench:
    """The image, its masks, and how they are timed."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device = device
        self.repeats = repeats
        rng = np.random.default_rng(0)
        self.image = rng.integers(150, 250, (SIZE, SIZE, 3), dtype=np.uint8)
        # A band from side to side needs the largest window, the whole image, as the paper's
        # networks always do; a blob, as most artifacts are, fits a smaller one.
        self.masks = {
            family: random_mask((SIZE, SIZE), rng, area=MASKED, family=family)
            for family in ("blob", "band")
        }

    def restore(self, model: Model, preset: str, mask: str, steps: int | None = None) -> None:
        restore(
            self.image,
            self.masks[mask],
            model=model,
            method=model.config.method,
            mpp=model.config.mpp,
            preset=preset,
            steps=steps,
        )

    def median_s(self, call: Callable[[], object]) -> float:
        """Return the median seconds of `call`, all that it started on the device included."""

        def complete() -> None:
            call()
            synchronise(self.device)

        return median_s(complete, self.repeats)

    def cyclegan(self) -> Cost:
        """Time one call of one generator, which restores an image."""
        with torch.device("meta"):
            networks: list[nn.Module] = [Generator(), Generator()]
            networks += [PatchDiscriminator(), PatchDiscriminator()]
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                networks[0](torch.zeros(1, 3, SIZE, SIZE))
        parameters = sum(p.numel() for network in networks for p in network.parameters())
        macs = counter.get_total_flops() // 2
        generator = Generator().eval().to(self.device)
        x = torch.randn(1, 3, SIZE, SIZE, device=self.device)
        with torch.inference_mode():
            seconds = self.median_s(lambda: generator(x))
        return _told(Cost("CycleGAN", parameters, macs, 0, 0, 1, seconds, False))

    def calls(self, name: str, model: Model) -> Cost:
        """Time network calls, and multiply them by those of the preset `paper`."""
        config = model.config
        parameters, macs = cost(config.arch, config.context, SIZE)
        x = torch.randn(1, 3, SIZE, SIZE, device=self.device)
        t = torch.ones(1, dtype=torch.int64, device=self.device)
        with torch.inference_mode():
            seconds = self.median_s(lambda: model.denoiser.network(x, t))
        chosen = sampling("paper", config)
        calls = chosen.nfe(config.noise_schedule())
        return Cost(name, parameters, macs, 0, chosen.steps, calls, calls * seconds, False)

    def whole(self, name: str, model: Model, preset: str) -> Cost:
        """Time restorations from image to image."""
        parameters, macs, other = networks_cost(model)
        chosen = sampling(preset, model.config)
        calls = chosen.nfe(model.config.noise_schedule())
        seconds = self.median_s(lambda: self.restore(model, preset, "band"))
        return Cost(name, parameters, macs, other, chosen.steps, calls, seconds, True)

    def against(self, model: Model, full: Model) -> Figures:
        """Time `generate` against the full network's `paper`, and where its time goes."""
        figures: Figures = {"matmul_gflop_s": matmul_rate(device=self.device) / 1e9}
        for mask in self.masks:
            ours = self.median_s(lambda mask=mask: self.restore(model, "generate", mask))
            self.restore(full, "paper", mask, steps=2)  # warms up
            began = time.perf_counter()
            self.restore(full, "paper", mask)
            synchronise(self.device)
            theirs = time.perf_counter() - began
            figures |= {
                f"latent_fast_{mask}_s": ours,
                f"full_paper_{mask}_s": theirs,
                f"times_faster_{mask}": theirs / ours,
            }
        figures["parts"] = self.parts(model)
        for part in figures["parts"].values():
            if "gflop_s" in part:
                part["share_of_matmul"] = part["gflop_s"] / figures["matmul_gflop_s"]
        return figures

    def parts(self, model: Model) -> dict[str, Figures]:
        """Split the time of `generate` on the band among autoencoder, network and the rest."""
        watch = Stopwatch(self.device)
        timed = watch.model(model)
        self.restore(timed, "generate", "band")
        watch.seconds.clear()
        watch.calls.clear()
        began = time.perf_counter()
        for _ in range(self.repeats):
            self.restore(timed, "generate", "band")
        total = time.perf_counter() - began
        _, network, _ = networks_cost(model)
        _, encode, decode = autoencoder_cost(model.space)
        macs = {"encode": encode, "network": network, "decode": decode}
        found: dict[str, Figures] = {}
        for part in ("encode", "network", "decode"):
            seconds, calls = watch.seconds[part], watch.calls[part]
            found[part] = {
                "calls": calls / self.repeats,
                "seconds": seconds / self.repeats,
                "share": seconds / total,
                "gflop_s": 2 * macs[part] * calls / seconds / 1e9,
            }
        rest = total - sum(watch.seconds.values())
        found["rest"] = {"seconds": rest / self.repeats, "share": rest / total}
        return found


def _told(row: Cost) -> Cost:
    print(*row.cells(), sep="  ", flush=True)
    return row


def _write(options: argparse.Namespace, rows: list[Cost], figures: Figures) -> None:
    where = f"{options.threads} CPU threads"
    if options.device != "cpu":
        where = torch.cuda.get_device_name()
    command = shlex.join(["python", "benchmarks/latent_speed.py", *sys.argv[1:]])
    columns = (
        "",
        "parameters, M",
        "GMAC per call",
        "GMAC, autoencoder",
        "GMAC per image",
        "diffusion steps",
        "NFE",
        "s per image",
        "timed",
    )
    speed = Table(
        f"**Cost of one 256×256 image** ({where}, fp32, all in one run; median of "
        f"{options.repeats} after one that warms up), as in the paper's Table 2. `whole`: timed "
        "from image to restored image, with a mask across it, so that the window is the whole "
        "image. `calls`: a few calls of the network were timed and multiplied by its calls per "
        "image. CycleGAN has two generators and two discriminators, one call of one generator "
        "restores an image. The networks of the papers' sizes are untrained: speed needs no "
        "training. MAC: multiply-accumulates, attention products included.",
        command,
        columns,
        tuple(row.cells() for row in rows),
        (
            "Printed in the paper, for its own GPU: ArtiFusion 30.71 s, LatentArtiFusion 0.83 s. "
            "Its network has 113,675,524 parameters with four latent channels, those of Stable "
            "Diffusion's autoencoder.",
        ),
    )
    parts = Table(
        f"**LatentArtiFusion `generate` against ArtiFusion `paper` with the full network**, both "
        f"from image to restored image, in the same run ({where}): "
        f"**{figures['times_faster_band']:.1f} times faster** for a band across the image "
        f"({figures['latent_fast_band_s']:.2f} s against {figures['full_paper_band_s']:.1f} s) and "
        f"{figures['times_faster_blob']:.1f} times for a blob that fits a smaller window "
        f"({figures['latent_fast_blob_s']:.2f} s against {figures['full_paper_blob_s']:.1f} s); "
        f"the goal is {GOAL}. The 250 steps were run once, `generate` is a median of "
        f"{options.repeats}. Where its time goes, for the band; a matrix product reaches "
        f"{figures['matmul_gflop_s']:.0f} GFLOP/s here.",
        command,
        ("part", "calls", "s", "share", "GFLOP/s", "of the matrix product's"),
        tuple(
            (
                name,
                f"{part['calls']:.0f}" if "calls" in part else "–",
                f"{part['seconds']:.3f}",
                f"{part['share']:.0%}",
                f"{part['gflop_s']:.0f}" if "gflop_s" in part else "–",
                f"{part['share_of_matmul']:.2f}" if "gflop_s" in part else "–",
            )
            for name, part in figures["parts"].items()
        ),
    )
    suffix = "" if options.device == "cpu" else "-gpu"
    for name, table in (("speed", speed), ("speed-parts", parts)):
        write_section(options.out, name + suffix, table.markdown())
        print(table.markdown(), end="\n\n")
    data = {
        "command": command,
        "where": where,
        **figures,
        "rows": [vars(row) for row in rows],
    }
    options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {options.json} and {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="latent-artifusion-he", help="bundled name or folder")
    add("--artifusion", default="artifusion-he", help="bundled name or folder")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--repeats", type=int, default=5)
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--json", type=Path, default=Path("docs/results/latent-speed.json"))
    add("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
