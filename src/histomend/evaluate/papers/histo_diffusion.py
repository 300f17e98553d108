"""Histo-Diffusion: Tables 2, 3 and 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from histomend.errors import SettingError
from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import Case, coarse_cases
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.goals import first_of, not_under, report_goals
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.papers.histo_diffusion_printed import (
    GENERAL,
    TABLE_2,
    TABLE_3,
    TABLE_5,
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
    model_hashes,
    pictures_of,
    standings,
)
from histomend.evaluate.papers.setting import Setting
from histomend.methods import method_named
from histomend.methods.loading import model_for
from histomend.train import EncoderOptions, IqaOptions, RrdbGanOptions, SwinirGanOptions

NAME = "histo-diffusion-he"
SCALE = 4
# The goal: how far PSNR may be under bicubic, in dB.
UNDER_DB = 1.5
WHY = (
    "The paper's tiles are of TCGA at 0.25 and 0.5 µm, its models were trained on 200,000 tiles "
    "for 205,000 iterations, and its GANs on photographs; ours are of other slides at 0.5 µm and "
    "other trainings, so no figure can be compared but in order and size. "
)


def cases_of(setting: Setting, scale: int = SCALE, degradation: str = "scanner") -> list[Case]:
    """Make the tiles of the scale coarser."""
    side = {"tiny": 64, "small": 256}.get(setting.scale.name, 512)
    return coarse_cases(
        setting.dataset("he_clean_val"),
        setting.scale.cases,
        scale=scale,
        degradation=degradation,
        size=side if scale < 8 else max(side, 128),
    )


def own(
    name: str, kind: str = "ours", *, model: Any = None, variant: str = "", **options: Any
) -> MethodRow:
    """Return a row of an upscaler of ours, by default the bundled one."""
    return MethodRow(name, kind, "upscale", "histo-diffusion", model, options, variant=variant)


def sampled(setting: Setting, preset: str) -> dict[str, Any]:
    """Return the options of a preset; at `tiny` with few steps."""
    few = setting.scale.calls if preset == "paper" else None
    return {"preset": preset} | ({"steps": few} if few else {})


def gans(setting: Setting) -> list[MethodRow]:
    """Train the GANs that stand for the published ones."""
    rows = []
    for method, title, kind in (
        ("rrdb-gan", "RRDB-GAN (ours, for Real-ESRGAN)", RrdbGanOptions),
        ("swinir-gan", "SwinIR-GAN (ours)", SwinirGanOptions),
    ):
        folder = setting.trained(method, kind, degradation="scanner", ema=0.99)
        model = model_for(method_named("upscale", method), folder, setting.device)
        rows.append(MethodRow(title, "other", "upscale", method, model))
    return rows


def published(setting: Setting) -> list[MethodRow]:
    """Return rows of weights as they were published, of those files that are named."""
    info = method_named("upscale", "published")
    return [
        MethodRow(title, "other", "upscale", "published", model_for(info, file, setting.device))
        for title, file in setting.published.items()
    ]


def rows_of(setting: Setting) -> list[Any]:
    """Return all rows of the tables."""
    return [
        MethodRow("bicubic", "other", "upscale", "bicubic"),
        MethodRow("lanczos", "other", "upscale", "lanczos"),
        *published(setting),
        *gans(setting),
        own("stage 1 alone", "stage 1", generation=0.0),
        own(f"{NAME}, fast", **sampled(setting, "fast")),
        own(f"{NAME}, paper", **sampled(setting, "paper")),
    ]


def fitting(rows: Sequence[Any], case: Case) -> list[Any]:
    """Return the rows that can enlarge by a case's scale."""
    able = []
    for row in rows:
        try:
            row.job(case)
        except SettingError:
            continue
        able.append(row)
    return able


def with_judges(setting: Setting) -> Setting:
    """Train the blur IQA and the encoder that are judges here, unless their places are named."""
    places = dict(setting.places)
    for blur in ("box", "gaussian"):
        if f"iqa_{blur}" not in places:
            folder = setting.trained(f"iqa-{blur}", IqaOptions, blur=blur)
            places[f"iqa_{blur}"] = str(folder)
    if "encoder" not in places:
        batch = setting.scale.batch if setting.is_tiny else 32
        places["encoder"] = str(setting.trained("encoder", EncoderOptions, batch=batch, crop=64))
    return replace(setting, places=places)


def experiment(setting: Setting, measures: Sequence[str]) -> tuple[Block, list[str]]:
    """Enlarge and measure by all rows."""
    judges, missing = setting.judges(measures)
    block = Experiment(cases_of(setting), rows_of(setting), judges).run(setting.store, setting.tell)
    return block, missing


def table2(setting: Setting) -> Reproduced:
    """Enlarge ×4, measured by general measures."""
    block, missing = experiment(setting, (*GENERAL, "efficientnet"))
    why = f"{WHY}Measures without weights here have no column of ours."
    return _reproduced(setting, 2, "general measures", (block, TABLE_2), why, missing)


def table3(setting: Setting) -> Reproduced:
    """Enlarge ×4, measured by nuclei and blur."""
    setting = with_judges(setting)
    block, missing = experiment(setting, ("psnr", "nuclei", "iqa_box", "iqa_gaussian"))
    why = (
        f"{WHY}L1-texture depends on how grey levels are counted, which the paper leaves open, and "
        "its nuclei are HoverNet's; its blur IQA is a CLIP that learned blur, ours a small network."
    )
    return _reproduced(setting, 3, "measures of tissue", (block, TABLE_3), why, missing)


def table5(setting: Setting) -> Reproduced:
    """Enlarge ×4, measured by the similarity of embeddings."""
    setting = with_judges(setting)
    block, missing = experiment(setting, ("psnr", "uni", "plip", "encoder"))
    why = (
        f"{WHY}UNI and PLIP need weights under licences of their own (--weights uni=FOLDER); "
        "without them the similarity is that of our own small encoder, on another scale."
    )
    return _reproduced(setting, 5, "embedding similarity", (block, TABLE_5), why, missing)


def _as_published(setting: Setting) -> list[str]:
    if not setting.published:
        return ["No published GAN was named: --published NAME=FILE adds it as a row."]
    return [f"As published, and trained on photographs: {', '.join(setting.published)}."]


def _reproduced(
    setting: Setting,
    number: int,
    about: str,
    found: tuple[Block, Printed],
    why: str,
    missing: Sequence[str],
) -> Reproduced:
    block, printed = found
    name = f"histo-diffusion-table{number}"
    line = command(name, setting)
    size, small = block.pairs[0].truth.shape[0], block.pairs[0].given.shape[0]
    caption = (
        f"**Enlarged ×{SCALE}** from {small}×{small} to {size}×{size} px: {len(block.pairs)} tiles "
        f"of {setting.slides_of(block.pairs)}, coarser as a scanner with larger pixels would have "
        "taken them."
    )
    trained = (
        f"The GANs and the small judges had {setting.scale.steps} steps of training, {NAME} 200 "
        "minutes of a core: the GANs' rows say what is there after that, and no more."
    )
    ours = block.named("ours")
    keys = [c.key for c in block.columns()]
    others = block.named("other", "stage 1")
    aims = [
        *(first_of(ours, others, key) for key in ("l1_texture", "l1_intensity", "encoder")),
        *(not_under(name, ["bicubic"], "psnr", UNDER_DB) for name in ours),
    ]
    said = [*standings(block, ours, others, keys), *report_goals(aims, block)]
    notes = [*said, trained, *_as_published(setting), *missing, INTERVALS]
    tables = [beside(block, printed, caption, line, notes, keys)]
    each = against_each(block, ours[0], line, keys)
    tables += [each] if each else []
    pictures = pictures_of(block, ours[0], "psnr")
    return Reproduced(
        name,
        f"Histo-Diffusion, Table {number}: {about}",
        " ".join([*caveats(setting), why]),
        tuple(losses(block, ours, others, keys)),
        tuple(tables),
        pictures,
        setting.facts() | {"models": model_hashes(block), "cases": [c.name for c in block.pairs]},
    )
