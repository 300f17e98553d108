"""Histo-Diffusion's Tables 4 and 6: stage 1, degradations and lengths of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import DEGRADATIONS
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.papers.histo_diffusion import NAME, WHY, cases_of, own, with_judges
from histomend.evaluate.papers.histo_diffusion_printed import GENERAL, TABLE_4, TABLE_6
from histomend.evaluate.papers.reproduction import (
    INTERVALS,
    Printed,
    Reproduced,
    against_each,
    beside,
    caveats,
    command,
    losses,
    model_hashes,
    pictures_of,
)
from histomend.evaluate.papers.setting import Setting, first_tiles
from histomend.evaluate.tables import Table
from histomend.models.upscaler import Upscaler, load_upscaler
from histomend.train import ControlOptions, SwinirOptions

# Tiles that a branch learns from at the scale `small`: each is cleaned and encoded first, which
# takes a second or two of a core.
FEW_TILES = 32
PRIOR = "latent-artifusion-he"
_TISSUE = ("nuclei", "iqa_box", "iqa_gaussian")


def branch(
    setting: Setting, name: str, restoration: str | Path, degradation: str, steps: int
) -> Upscaler:
    """Train a control branch further from the bundled one."""
    data = setting.training_tiles()
    if setting.scale.name == "small":
        data = first_tiles(data, setting.cache / "tiles" / "few", FEW_TILES)
    folder = setting.trained(
        name,
        ControlOptions,
        data=data,
        prior=PRIOR,
        restoration=restoration,
        init=NAME,
        degradation=degradation,
        versions=1,
        steps=steps,
        crop=max(64, setting.scale.crop),
        lr=3e-4,
        ema=0.9,
    )
    return load_upscaler(folder, setting.device)


def cleaner(setting: Setting, degradation: str) -> Path:
    """Train a stage 1 for a degradation."""
    return setting.trained(
        f"swinir-{degradation}",
        SwinirOptions,
        arch="small-coarse",
        degradation=degradation,
        ema=0.9 if setting.is_tiny else 0.99,
    )


def table4(setting: Setting) -> Reproduced:
    """Steer the diffusion by the cleaned image, and by the enlarged one itself."""
    setting = with_judges(setting)
    model = load_upscaler(NAME, setting.device)
    # A stage 1 as it is before any training changes nothing.
    nothing = setting.trained(
        "swinir-nothing", SwinirOptions, arch="small-coarse", steps=1, lr=0.0, degradation="scanner"
    )
    steps = setting.scale.steps
    trained = branch(setting, "control-no-stage-1", nothing, "scanner", steps)
    untouched: Any = lambda x: x  # noqa: E731
    unsteered = replace(model, restoration=untouched)
    rows = [
        MethodRow("bicubic", "other", "upscale", "bicubic"),
        own("without stage 1, the same branch", "without", model=unsteered, variant="no stage 1"),
        own(f"without stage 1, trained so for {steps} steps", "without", model=trained),
        own("with stage 1", model=model),
    ]
    judges, missing = setting.judges((*GENERAL, *_TISSUE))
    block = Experiment(cases_of(setting), rows, judges).run(setting.store, setting.tell)
    note = (
        "The branch “trained so” goes on from the bundled one, which learned with stage 1. Preset "
        "`fast`."
    )
    return _reproduced(
        setting, 4, "with and without stage 1", block, TABLE_4, "with stage 1", [note, *missing]
    )


def table6(setting: Setting) -> Reproduced:
    """Train the branch on either degradation for two lengths, and enlarge tiles of both."""
    setting = with_judges(setting)
    name, line = "histo-diffusion-table6", command("histo-diffusion-table6", setting)
    lengths = [setting.scale.steps, 2 * setting.scale.steps]
    rows: list[MethodRow] = [
        MethodRow("bicubic", "other", "upscale", "bicubic"),
        own(f"{NAME}, as it ships", "bundled"),
    ]
    for degradation, title in (("real-esrgan", "Real-ESRGAN"), ("codeformer", "CodeFormer")):
        restoration = cleaner(setting, degradation)
        for steps in lengths:
            model = branch(setting, f"control-{degradation}", restoration, degradation, steps)
            rows.append(own(f"{title}, {steps} steps", "ours", model=model))
    judges, missing = setting.judges((*GENERAL, *_TISSUE))
    blocks: dict[str, Block] = {}
    for degradation in ("codeformer", "real-esrgan"):
        cases = cases_of(setting, degradation=degradation)
        blocks[degradation] = Experiment(cases, rows, judges).run(setting.store, setting.tell)
    tables: list[Table] = []
    behind: list[str] = []
    for degradation, block in blocks.items():
        caption = (
            f"**Trainings on tiles {DEGRADATIONS[degradation][1]}**, ×4, {len(block.pairs)} tiles. "
            "Rows are named after the degradation and the length of their training."
        )
        shown = beside(block, TABLE_6, caption, line, [*missing, INTERVALS])
        tables.append(shown)
        told = losses(block, block.named("ours"), block.named("other", "bundled"))
        behind += [f"{degradation}, {text}" for text in told]
    return Reproduced(
        name,
        "Histo-Diffusion, Table 6: degradations and lengths of training",
        " ".join(
            [
                *caveats(setting),
                f"{WHY}Its trainings have 60,000 to 205,000 iterations, these {lengths[0]} and "
                f"{lengths[1]} from the bundled branch: the question whether longer is better can "
                "be asked, but not answered, at this length.",
            ]
        ),
        tuple(behind),
        tuple(tables),
        pictures_of(blocks["codeformer"], rows[-1].name, "psnr"),
        setting.facts() | {"models": model_hashes(blocks["codeformer"])},
    )


def _reproduced(
    setting: Setting,
    number: int,
    about: str,
    block: Block,
    printed: Printed,
    reference: str,
    notes: list[str],
) -> Reproduced:
    name = f"histo-diffusion-table{number}"
    line = command(name, setting)
    size = block.pairs[0].truth.shape[0]
    caption = (
        f"**Enlarged ×4** to {size}×{size} px, {len(block.pairs)} tiles of "
        f"{setting.slides_of(block.pairs)}, {DEGRADATIONS['scanner'][1]}."
    )
    each = against_each(block, reference, line)
    return Reproduced(
        name,
        f"Histo-Diffusion, Table {number}: {about}",
        " ".join([*caveats(setting), WHY]),
        tuple(losses(block, [reference], block.named("without", "other"))),
        (beside(block, printed, caption, line, [*notes, INTERVALS]), *([each] if each else [])),
        pictures_of(block, reference, "psnr"),
        setting.facts() | {"models": model_hashes(block), "cases": [c.name for c in block.pairs]},
    )
