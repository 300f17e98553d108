"""RSCD: Tables 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import Case, optical_cases
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.goals import not_under, report_goals
from histomend.evaluate.harness.rows import FunctionRow, MethodRow, left_alone
from histomend.evaluate.harness.store import Restores
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
from histomend.models import Model, load_denoiser
from histomend.models.calibrator import load_calibrator
from histomend.train import (
    CalibratorOptions,
    ConditionalOptions,
    CycleGanOptions,
    EncoderOptions,
    Noise2NoiseOptions,
    RscdOptions,
)

MODEL = "rscd-he"
# The goals: how near its PSNR is to the best, and `paper` to `fast`, in dB.
NEAR_DB, FAST_DB = 0.5, 0.3


def _printed(place: str, keys: tuple[str, ...], rows: Mapping[str, tuple[str, ...]]) -> Printed:
    names = {"fid": "FID", "cmmd": "CMMD", "psnr": "PSNR ↑", "ssim": "SSIM ↑", "lpips": "LPIPS ↓"}
    columns = {"fid": "FID (Inception) ↓", "cmmd": "CMMD (CLIP) ↓", "lpips": "LPIPS ↓"}
    return Printed(
        place,
        {name: dict(zip(keys, cells, strict=True)) for name, cells in rows.items()},
        {key: columns.get(key, names[key]) for key in keys if key not in ("psnr", "ssim")},
    )


TABLE_1 = _printed(
    "Table 1",
    ("fid", "cmmd"),
    {
        "original": ("53.22", "0.566"),
        "median blur": ("95.28", "1.099"),
        "Deep Image Prior": ("57.56", "0.570"),
        "synthetic noise": ("58.24", "0.356"),
        "CycleGAN": ("37.26", "0.196"),
        "conditional diffusion": ("47.66", "0.581"),
        "CCDF": ("43.21", "0.216"),
        "RRD": ("38.37", "0.337"),
        "RSCD": ("32.02", "0.128"),
        "no dynamic recalibration": ("34.62", "0.137"),
        "nonparametric noise estimator": ("35.53", "0.270"),
        "10 steps fixed": ("36.41", "0.174"),
        "50 steps fixed": ("42.06", "0.224"),
        "linear noise schedule": ("38.71", "0.150"),
        "unaugmented calibrator": ("33.14", "0.133"),
    },
)
# The row of RSCD has no LPIPS in the copy that was read; its text calls it the best.
TABLE_2 = _printed(
    "Table 2",
    ("fid", "cmmd", "psnr", "ssim", "lpips"),
    {
        "paired HQ images": ("0.00", "0.000", "100.00", "1.000", "0.000"),
        "original": ("47.64", "0.506", "26.97", "0.604", "0.598"),
        "median blur": ("72.71", "1.047", "28.87", "0.791", "0.336"),
        "Deep Image Prior": ("41.51", "0.385", "29.27", "0.806", "0.284"),
        "synthetic noise": ("77.43", "1.987", "22.94", "0.662", "0.464"),
        "CycleGAN": ("22.03", "0.185", "28.39", "0.779", "0.667"),
        "conditional diffusion": ("34.58", "0.332", "28.07", "0.740", "0.377"),
        "CCDF": ("30.80", "0.238", "28.04", "0.704", "0.359"),
        "RRD": ("23.37", "0.270", "27.89", "0.682", "0.459"),
        "RSCD": ("21.05", "0.104", "29.06", "0.791", "–"),
        "no dynamic recalibration": ("21.44", "0.111", "28.99", "0.781", "0.281"),
        "nonparametric noise estimator": ("22.77", "0.215", "27.90", "0.691", "0.418"),
        "10 steps fixed": ("22.58", "0.163", "28.29", "0.721", "0.357"),
        "50 steps fixed": ("29.72", "0.136", "29.05", "0.788", "0.335"),
        "linear noise schedule": ("32.71", "0.386", "29.06", "0.789", "0.283"),
        "unaugmented calibrator": ("21.15", "0.105", "29.03", "0.786", "0.284"),
    },
)
SETS = ("inception", "clip", "efficientnet", "own_encoder")
FIDELITY = ("psnr", "ssim", "lpips")
WHY = (
    "The paper restores stimulated Raman histology that is not public; these are crops of H&E, "
    "degraded as under tissue (scattering, blur, absorption, Poisson and read noise). {sets} So "
    "no figure can be compared, only the order of the rows."
)
SETS_DIFFER = (
    "Its FID and CMMD are of 12,000 images and of Inception's and CLIP's features, and both grow "
    "as sets become smaller; without those weights ours are of other networks."
)


def table1(setting: Setting) -> Reproduced:
    """Compare sets: what was restored with clean images."""
    block, missing = experiment(setting)
    keys = [c.key for c in block.columns() if c.key not in ("psnr", "ssim", "lpips")]
    printed, few = TABLE_1, []
    if not keys:
        few = [
            "With fewer than 8 images the distances between sets say nothing, so there are none "
            "here."
        ]
    return _reproduced(
        setting,
        "rscd-table1",
        "RSCD, Table 1: distance to clean images",
        (block, printed, keys),
        [*few, *missing],
    )


def table2(setting: Setting) -> Reproduced:
    """Compare pairs: fidelity, and distances between sets."""
    block, missing = experiment(setting)
    return _reproduced(
        setting,
        "rscd-table2",
        "RSCD, Table 2: pairs",
        (block, TABLE_2, [c.key for c in block.columns()]),
        missing,
    )


def _reproduced(
    setting: Setting,
    name: str,
    title: str,
    found: tuple[Block, Printed, list[str]],
    notes: list[str],
) -> Reproduced:
    block, printed, keys = found
    line = command(name, setting)
    ours = block.named("ours")
    size = block.pairs[0].truth.shape[0]
    caption = (
        f"**Degraded H&E restored**: {len(block.pairs)} crops of {size}×{size} px of "
        f"{len(set(block.groups))} clean tiles of {setting.slides_of(block.pairs)}. The clean "
        "versions of the same crops are what sets are compared with."
    )
    trained = (
        f"Baselines that learn, the linear schedule and the unaugmented calibrator had "
        f"{setting.scale.steps} steps of training; {MODEL} had 98 minutes of a core. Their rows "
        "say what they are after that, and no more."
    )
    others = block.named("degraded", "baseline", "ablation")
    aims = [
        not_under(ours[0], block.named("degraded", "baseline"), "psnr", NEAR_DB),
        not_under(ours[1], [ours[0]], "psnr", FAST_DB),
    ]
    said = [*standings(block, ours, others, keys), *report_goals(aims, block)]
    tables = [beside(block, printed, caption, line, [*said, trained, *notes, INTERVALS], keys)]
    each = against_each(block, ours[0], line, [key for key in keys if key in FIDELITY])
    tables += [each] if each else []
    return Reproduced(
        name,
        title,
        " ".join([*caveats(setting), WHY.format(sets=SETS_DIFFER)]),
        tuple(losses(block, ours, others, keys)),
        tuple(tables),
        pictures_of(block, ours[0], "psnr"),
        setting.facts() | {"models": model_hashes(block), "cases": [c.name for c in block.pairs]},
    )


def experiment(setting: Setting) -> tuple[Block, list[str]]:
    """Run all rows of both tables on the same crops."""
    scale = setting.scale
    cases = optical_cases(setting.dataset("he_clean_val"), scale.cases, scale.size)
    if not setting.is_tiny and "own_encoder" not in setting.places:
        encoder = setting.trained("encoder", EncoderOptions, batch=32, crop=64)
        setting = replace(setting, places={**setting.places, "own_encoder": str(encoder)})
    judges, missing = setting.judges((*FIDELITY, *SETS))
    block = Experiment(cases, rows(setting), judges).run(setting.store, setting.tell)
    return block, missing


def rows(setting: Setting) -> list[Restores[Any]]:
    """Return the rows, in the order of the papers' tables."""
    model = load_denoiser(MODEL, setting.device)
    found: list[Restores[Any]] = [
        left_alone(),
        FunctionRow("noise alone gone", "ideal", _without_noise, timed=False),
        MethodRow("median", "baseline", "denoise", "median"),
        *([] if setting.is_tiny else [_method("deep-image-prior", None)]),
        *baselines(setting),
        _method("ccdf", model),
        _method("rrd", model),
    ]
    if setting.is_tiny:
        found = [row for row in found if row.name not in ("ccdf", "rrd")]
    presets = {"fast": "ours", "paper": "ours", "no_recalibration": "ablation"}
    presets |= dict.fromkeys(("noise_estimate", "fixed_10", "fixed_50"), "ablation")
    for preset, kind in presets.items():
        found.append(_preset(f"RSCD, {preset}", kind, model, preset))
    found.append(_preset("RSCD, linear schedule", "ablation", linear(setting), "fixed_50"))
    found.append(_preset("RSCD, unaugmented calibrator", "ablation", unaugmented(setting), "fast"))
    return found


def _without_noise(case: Case) -> Any:
    return case.given if case.without_noise is None else case.without_noise


def _method(name: str, model: Model | None) -> MethodRow:
    return MethodRow(name, "baseline", "denoise", name, model)


def _preset(name: str, kind: str, model: Model, preset: str) -> MethodRow:
    return MethodRow(name, kind, "denoise", "rscd", model, {"preset": preset})


def baselines(setting: Setting) -> list[MethodRow]:
    """Train what the paper compares with."""
    trained = {
        "noise2noise": setting.trained("noise2noise", Noise2NoiseOptions, ema=0.99),
        "cyclegan": setting.trained(
            "cyclegan-optical", CycleGanOptions, damage="optical", batch=1, ema=0.99
        ),
        "conditional": setting.trained("conditional", ConditionalOptions, ema=0.99),
    }
    titles = {"noise2noise": "synthetic noise (Noise2Noise)", "cyclegan": "CycleGAN"}
    return [
        MethodRow(
            titles.get(method, "conditional diffusion"),
            "baseline",
            "denoise",
            method,
            load_denoiser(folder, setting.device),
            {"steps": 3} if method == "conditional" and setting.is_tiny else {},
        )
        for method, folder in trained.items()
    ]


def linear(setting: Setting) -> Model:
    """Train RSCD with a linear schedule; without a calibrator of its own."""
    folder = setting.trained("rscd-linear", RscdOptions, schedule="linear", ema=0.99)
    return load_denoiser(folder, setting.device)


def unaugmented(setting: Setting) -> Model:
    """Return the bundled model with a calibrator that saw even noise alone."""
    folder = setting.trained("calibrator-even", CalibratorOptions, augmented=False, ema=0.99)
    model = load_denoiser(MODEL, setting.device)
    calibrator = load_calibrator(folder, setting.device)
    config = replace(model.config, calibrator_sha256=calibrator.config.sha256)
    return replace(model, calibrator=calibrator, config=config)
