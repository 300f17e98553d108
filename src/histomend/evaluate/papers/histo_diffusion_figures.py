"""Histo-Diffusion's Figures 5, 10 and 11: the decoded control, side by side, several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from histomend.api import upscale
from histomend.evaluate import metrics
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.papers.histo_diffusion import (
    NAME,
    WHY,
    cases_of,
    fitting,
    own,
    rows_of,
    sampled,
)
from histomend.evaluate.papers.reproduction import (
    INTERVALS,
    Picture,
    Reproduced,
    caveats,
    command,
    losses,
)
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Table, bootstrap

Pixels = npt.NDArray[np.uint8]
SCALES = (2, 4, 8)


def fig5(setting: Setting) -> Reproduced:
    """Decode the latent that steers the diffusion, and lay it beside the cleaned image."""
    cases = cases_of(setting)
    psnr, ssim, shown = [], [], []
    for case in cases:
        setting.tell(case.name)
        told: dict[str, Any] = {"scale": case.scale, "seed": case.seed, "device": setting.device}
        cleaned = np.asarray(upscale(case.given, generation=0.0, **told).pixels)
        told |= sampled(setting, "fast")
        control = upscale(case.given, keep_control=True, **told).control
        decoded = np.asarray(control, dtype=np.uint8)
        psnr.append(metrics.psnr(cleaned, decoded))
        ssim.append(metrics.ssim(cleaned, decoded))
        given = nearest(case.given, cleaned.shape[0])
        shown.append(
            Picture(
                f"{case.name}: given, cleaned (I_RM), decoded from its latent (c_RM), true",
                np.concatenate([given, cleaned, decoded, case.truth], axis=1),
            )
        )
    groups = [case.group for case in cases]
    table = Table(
        f"**The control decoded against the cleaned image**, {len(cases)} tiles, "
        f"×{cases[0].scale}.",
        command("histo-diffusion-fig5", setting),
        ("", "PSNR ↑", "SSIM ↑"),
        (
            (
                "decoded control",
                bootstrap(psnr, groups=groups).text(2),
                bootstrap(ssim, groups=groups).text(3),
            ),
        ),
        (INTERVALS,),
    )
    return Reproduced(
        "histo-diffusion-fig5",
        "Histo-Diffusion, Figure 5: the control, decoded",
        " ".join(
            [
                *caveats(setting),
                "The paper prints no figure: its decoded images “closely resemble the restored "
                "ones”, by Stable Diffusion's autoencoder of 4 channels. Ours has "
                "8 and was trained on H&E; how close it comes is the table.",
            ]
        ),
        (),
        (table,),
        tuple(shown[:4]),
        setting.facts(),
    )


def nearest(pixels: Pixels, side: int) -> Pixels:
    """Return an image as large as others, its pixels as squares."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))


def fig10(setting: Setting) -> Reproduced:
    """Lay tiles enlarged by all rows side by side."""
    cases = cases_of(setting)[:3]
    rows = rows_of(setting)
    judges, _ = setting.judges(("psnr", "st_lpips"))
    block = Experiment(cases, rows, judges).run(setting.store, setting.tell)
    names = list(block.rows)
    shown = tuple(
        Picture(
            f"{case.name}: given, {', '.join(names)}, true",
            _sheet(case, [block.restored[name][k].pixels for name in names]),
        )
        for k, case in enumerate(cases)
    )
    table = block.table(
        f"**The tiles of the pictures**: {len(cases)}, ×{cases[0].scale}.",
        command("histo-diffusion-fig10", setting),
        [
            f"The GANs had {setting.scale.steps} steps of training. Of so few tiles the figures "
            "say which picture is which, and no more.",
            INTERVALS,
        ],
    )
    return Reproduced(
        "histo-diffusion-fig10",
        "Histo-Diffusion, Figure 10: side by side",
        " ".join([*caveats(setting), f"{WHY}The pictures have to be looked at, 1:1 or larger."]),
        tuple(losses(block, block.named("ours"), block.named("other", "stage 1"))),
        (table,),
        shown,
        setting.facts() | {"cases": [c.name for c in cases]},
    )


def _sheet(case: Case, made: Sequence[Pixels]) -> Pixels:
    side = case.truth.shape[0]
    return np.concatenate([nearest(case.given, side), *made, case.truth], axis=1)


def fig11(setting: Setting) -> Reproduced:
    """Enlarge by 2, 4 and 8 with one model."""
    line = command("histo-diffusion-fig11", setting)
    lines, shown, behind = [], [], []
    header: tuple[str, ...] = ()
    scales = SCALES[:2] if setting.is_tiny else SCALES
    for scale in scales:
        cases = cases_of(setting, scale)
        rows: list[Any] = fitting(
            [
                MethodRow("bicubic", "other", "upscale", "bicubic"),
                own(f"{NAME}, fast", **sampled(setting, "fast")),
            ],
            cases[0],
        )
        judges, _ = setting.judges(("psnr", "ssim", "nuclei", "efficientnet"))
        block = Experiment(cases, rows, judges).run(setting.store, setting.tell)
        table = block.table("", line, [])
        header = table.header
        side = cases[0].truth.shape[0]
        given = cases[0].given.shape[0]
        lines += [
            (f"×{scale}, {given} to {side} px: {name}", *cells) for name, *cells in table.rows
        ]
        told = losses(block, block.named("ours"), block.named("other"))
        behind += [f"×{scale}, {text}" for text in told]
        made = [block.restored[name][0].pixels for name in block.rows]
        shown.append(
            Picture(f"×{scale}: given, {', '.join(block.rows)}, true", _sheet(cases[0], made))
        )
    table = Table(
        f"**Several scales by one model**, {len(cases)} tiles each.",
        line,
        header,
        tuple(lines),
        (INTERVALS,),
    )
    return Reproduced(
        "histo-diffusion-fig11",
        "Histo-Diffusion, Figure 11: several scales",
        " ".join(
            [
                *caveats(setting),
                "The paper shows one tile and prints no figures: one model serves ×2, ×4 and ×8, "
                "and several input sizes. Ours does too; how well is the table.",
            ]
        ),
        tuple(behind),
        (table,),
        tuple(shown),
        setting.facts(),
    )
