"""LatentArtiFusion (He et al. 2024, arXiv 2407.20172): Table 2, and what its summary asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from histomend.api import detect
from histomend.diffusion.space import LatentSpace
from histomend.evaluate.harness.cases import Case, damaged_cases
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.rows import FunctionRow, MethodRow, left_alone
from histomend.evaluate.harness.store import Restored
from histomend.evaluate.papers.artifusion import bundled, real_artifacts
from histomend.evaluate.papers.costs import (
    HEADER,
    calls_cost,
    cyclegan_cost,
    untrained,
    whole_cost,
)
from histomend.evaluate.papers.reproduction import (
    INTERVALS,
    Printed,
    Reproduced,
    against_each,
    beside,
    caveats,
    command,
    losses,
    pictures_of,
)
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Table, bootstrap
from histomend.image import read_image
from histomend.masks import load_mask
from histomend.models import Model, load_denoiser
from histomend.networks.autoencoder import build_vae

Pixels = npt.NDArray[np.uint8]
MODEL = "latent-artifusion-he"
NAME = "latent-artifusion-table2"
# How far masks are off, in px; below 0 too tight.
OFF_PX = (-4, 4, 12)
STEPS = (5, 10, 25)
PRINTED = Printed(
    "summary",
    {
        "ArtiFusion": {"l2": "0.4940", "ssim_paper": "0.9860", "fsim": "0.8216"},
        "LatentArtiFusion": {"l2": "0.4493", "ssim_paper": "0.9810", "fsim": "0.8913"},
    },
)
_TIMES = (
    ("CycleGAN", "–", "–"),
    ("ArtiFusion", "250", "30.71"),
    ("LatentArtiFusion", "50", "0.83"),
)


@dataclass(frozen=True)
class ChangedRow:
    """A row that is handed another case, but measured on the true one."""

    row: MethodRow
    change: Callable[[Case], Case]
    name: str
    kind: str = "ablation"

    def key(self, case: Case) -> str:
        """Return that of the row for the other case."""
        return self.row.key(self.change(case))

    def restore(self, case: Case) -> Restored:
        """Restore the other case."""
        return self.row.restore(self.change(case))


def table2(setting: Setting) -> Reproduced:
    """Time the systems, and look at what the paper's summary leaves open."""
    model = load_denoiser(MODEL, setting.device)
    line = command(NAME, setting)
    times, behind = timed(setting, model, line)
    quality, lost, pictures = fidelity(setting, line)
    tables = [
        times,
        *quality,
        reconstruction(setting, model, line),
        detection(setting, model, line),
    ]
    return Reproduced(
        NAME,
        "LatentArtiFusion, Table 2: time, and the questions that its summary leaves open",
        " ".join(
            [
                *caveats(setting),
                "Times are of other machines (the paper: a GPU), so only their ratio can be "
                "compared: the paper's is 37. Of the quality figures SSIM is in the paper's "
                "definition; L2 and FSIM cannot be compared, nor can tissue and artifacts. Human "
                "equivalence is asked by `histomend rate`.",
            ]
        ),
        (*behind, *lost),
        tuple(tables),
        pictures,
        setting.facts() | {"model": model.config.sha256, "vae": model.config.vae_sha256},
    )


def timed(setting: Setting, model: Model, line: str) -> tuple[Table, list[str]]:
    """Time CycleGAN, ArtiFusion and LatentArtiFusion."""
    rows = [cyclegan_cost(setting), calls_cost(setting, "ArtiFusion (full)", untrained("full"))]
    if not setting.is_tiny:
        setting.tell("timing the autoencoder of Stable Diffusion's size")
        space = LatentSpace(build_vae("paper", 4).eval().to(setting.device))
        big = untrained("paper", space, setting.device)
        rows.append(
            whole_cost(setting, "LatentArtiFusion of the paper's size, paper", big, "paper")
        )
    for preset in ("generate",) if setting.is_tiny else ("paper", "generate", "exemplar"):
        setting.tell(f"timing {MODEL}, {preset}")
        rows.append(whole_cost(setting, f"{MODEL}, {preset}", model, preset))
    pixels, latent = rows[1].seconds, rows[2].seconds
    printed = tuple(
        (f"paper, Table 2: {name}", "–", "–", steps, "–", seconds, "–")
        for name, steps, seconds in _TIMES
    )
    ratio = pixels / latent
    table = Table(
        f"**Time of one image**: {rows[2].name} is {ratio:.0f} times as fast as the pixels' 250 "
        "calls.",
        line,
        HEADER,
        (*(row.cells() for row in rows), *printed),
        ("The networks of the papers' sizes are untrained: speed needs none.",),
    )
    slower = rows[2].seconds > rows[0].seconds
    told = f"Seconds: {rows[2].name} takes {latent:.2f}, CycleGAN {rows[0].seconds:.2f}"
    return table, [f"{told}; in the paper it is the faster one."] if slower else []


def fidelity(setting: Setting, line: str) -> tuple[list[Table], list[str], tuple[Any, ...]]:
    """Compare both systems, several steps, and masks that are off."""
    scale = setting.scale
    cases = damaged_cases(setting.dataset("he_clean_val"), scale.cases, max(128, scale.size))
    presets = ("generate",) if setting.is_tiny else ("exemplar", "generate", "paper")
    rows: list[Any] = [left_alone("damaged", "damaged")]
    rows += [replace(bundled(setting, preset), kind="baseline") for preset in presets[:2]]
    rows += [latent_row(preset) for preset in presets]
    counts = (2,) if setting.is_tiny else STEPS
    rows += [latent_row("paper", steps) for steps in counts]
    drawn = latent_row("generate")
    rows += [
        ChangedRow(
            drawn, _moved(off), f"generate, mask {abs(off)} px too {'wide' if off > 0 else 'tight'}"
        )
        for off in (OFF_PX[1:2] if setting.is_tiny else OFF_PX)
    ]
    names = ("psnr", "l2", "ssim_paper", "fsim", "laplacian", "border", "colour", "nuclei_inside")
    judges, missing = setting.judges(names)
    block = Experiment(cases, rows, judges).run(setting.store, setting.tell)
    size = cases[0].truth.shape[0]
    caption = (
        f"**Latent against pixels, steps, and masks that are off**: {len(cases)} crops of "
        f"{size}×{size} px of {setting.slides_of(cases, trains=False)}, damaged on purpose."
    )
    found = [beside(block, PRINTED, caption, line, [*missing, INTERVALS])]
    each = against_each(block, drawn.name, line, ["psnr", "fsim", "laplacian", "colour"])
    lost = losses(block, block.named("ours"), block.named("damaged", "baseline"))
    return [*found, *([each] if each else [])], lost, pictures_of(block, drawn.name, "psnr")


def latent_row(preset: str, steps: int | None = None) -> MethodRow:
    """Return a row of the bundled model."""
    name = f"{MODEL}, {preset}" + (f", {steps} steps" if steps else "")
    told: dict[str, Any] = {"preset": preset} | ({"steps": steps} if steps else {})
    kind = "ablation" if steps else "ours"
    return MethodRow(name, kind, "restore", "latent-artifusion", None, told)


def _moved(off: int) -> Callable[[Case], Case]:
    """Return what makes the mask of a case wider (or tighter) by pixels."""

    def change(case: Case) -> Case:
        if case.mask is None:
            return case
        of = ndimage.binary_dilation if off > 0 else ndimage.binary_erosion
        mask = np.asarray(of(case.mask, iterations=abs(off)), np.bool_)
        return replace(case, mask=mask if mask.any() else case.mask)

    return change


@torch.inference_mode()
def through(model: Model, pixels: Pixels) -> Pixels:
    """Return what the autoencoder alone makes of an image whose sides are multiples of 8."""
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    seen = model.space.decode(model.space.encode(x.to(model.device)))[0].clamp(-1, 1)
    return np.asarray(((seen.cpu().permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())


def reconstruction(setting: Setting, model: Model, line: str) -> Table:
    """Measure what the autoencoder keeps of clean tissue."""
    scale = setting.scale
    cases = [
        replace(case, given=case.truth, mask=None)
        for case in damaged_cases(
            setting.dataset("he_clean_val"), scale.cases, max(128, scale.size)
        )
    ]
    judges, _ = setting.judges(("psnr", "ssim", "laplacian", "colour"))
    row = FunctionRow("encoded and decoded", "ours", lambda case: through(model, case.given))
    block = Experiment(cases, [row], judges).run(setting.store)
    return block.table(
        f"**What the autoencoder keeps** of {len(cases)} clean crops ({MODEL}, "
        f"{model.config.latent_channels} channels): all that restoring in its latent can reach.",
        line,
        [INTERVALS],
    )


def detection(setting: Setting, model: Model, line: str) -> Table:
    """Detect artifacts in images as they are, and after the autoencoder."""
    shown: Sequence[Any] = ()
    if setting.made_up or setting.data.has("he_artifacts"):
        count = 1 if setting.is_tiny else 14
        shown = real_artifacts(setting.dataset("he_artifacts"), count)
    told: dict[str, list[float]] = {"as they are": [], "encoded and decoded": []}
    for _, file, mask_file in shown:
        pixels = np.asarray(read_image(file).pixels)
        pixels = pixels[: pixels.shape[0] // 8 * 8, : pixels.shape[1] // 8 * 8]
        mask = load_mask(mask_file, read_image(file).pixels.shape[:2]).mask
        mask = mask[: pixels.shape[0], : pixels.shape[1]]
        for name, image in zip(told, (pixels, through(model, pixels)), strict=True):
            found = detect(np.ascontiguousarray(image), mpp=0.5)
            told[name].append(_dice(found, mask))
    rows = tuple(
        (name, bootstrap(values).text(2) if values else "–", str(len(values)))
        for name, values in told.items()
    )
    return Table(
        "**Detection before and after compression**: Dice overlap of what `histomend detect` finds "
        "in real artifacts with masks drawn by hand.",
        line,
        ("", "Dice ↑", "images"),
        rows,
        () if shown else ("No data set he_artifacts is at hand.",),
    )


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
