"""RSCD's Figures 3 and 8: from less and more than the calibrated t, and by depth."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.errors import MissingDependencyError
from histomend.evaluate.harness.cases import Case, Pixels, optical_cases
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.rows import MethodRow, left_alone
from histomend.evaluate.harness.store import Restored, digest, pixels_digest
from histomend.evaluate.papers.reproduction import (
    INTERVALS,
    Picture,
    Reproduced,
    against_each,
    caveats,
    command,
)
from histomend.evaluate.papers.rscd import MODEL
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Interval, Table
from histomend.image import Intensity
from histomend.image.signals import fitted_range
from histomend.methods.rscd import by_calibration, calibrated_sampling
from histomend.models import Model, load_denoiser

SHARES = (0.25, 0.5, 1.0, 1.5, 2.0)
DEPTHS_UM = (0.0, 20.0, 40.0, 80.0)


@dataclass(frozen=True)
class StartRow:
    """RSCD from a share of the t that its calibrator tells, without asking again."""

    share: float
    model: Model
    kind: str = "ablation"

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"from {self.share:g} of the calibrated t"

    def key(self, case: Case) -> str:
        """Return a hash of weights, share and image."""
        config = self.model.config
        weights = [config.sha256, config.calibrator_sha256]
        return digest("start", self.share, weights, case.seed, pixels_digest(case.given))

    @torch.inference_mode()
    def restore(self, case: Case) -> Restored:
        """Restore from there, by the paper's steps."""
        sampling = calibrated_sampling("no_recalibration", self.model.config)
        x = as_x(case.given)
        restorer = by_calibration(self.model, sampling)
        told = float(restorer.calibrate(x)) if restorer.calibrate else 0.0
        t = start_at(told, self.share, self.model)
        noise = NoiseStream([NoiseField(case.seed)], [(0, 0)])
        found, calls = restorer(x, torch.tensor([float(t)]), noise)
        return Restored(as_pixels(found), 0.0, float(calls.float().mean()), float(t))


def start_at(t: float, share: float, model: Model) -> int:
    """Return the step at a share of t, within those that the denoiser knows."""
    return min(max(round(share * t), 0), model.config.trained_t)


def as_x(pixels: Pixels) -> Tensor:
    """Return an image (S, S, C) as a model sees it, (1, C, S, S) in [-1, 1]."""
    intensity = fitted_range(pixels, Intensity.for_dtype(pixels.dtype))
    return torch.from_numpy(intensity.encode(pixels)).permute(2, 0, 1)[None]


def as_pixels(x: Tensor) -> Pixels:
    """Return (1, C, S, S) in [-1, 1] as 8-bit pixels (S, S, C)."""
    eight = np.dtype(np.uint8)
    return np.asarray(Intensity.for_dtype(eight).decode(x[0].permute(1, 2, 0).numpy(), eight))


def fig3(setting: Setting) -> Reproduced:
    """Restore the same crops from t below, at and above the calibrated one."""
    scale = setting.scale
    model = load_denoiser(MODEL, setting.device)
    cases = optical_cases(setting.dataset("he_clean_val"), scale.cases, scale.size)
    shares = SHARES[1:3] if setting.is_tiny else SHARES
    rows: list[Any] = [left_alone("not restored"), *(StartRow(share, model) for share in shares)]
    judges, missing = setting.judges(("psnr", "ssim", "lpips", "st_lpips", "nuclei"))
    block = Experiment(cases, rows, judges).run(setting.store, setting.tell)
    line = command("rscd-fig3", setting)
    told = [float(r.t or 0) for r in block.restored["from 1 of the calibrated t"]]
    table = block.table(
        f"**Where the reverse process starts**: {len(cases)} crops degraded as under tissue, "
        f"restored by t ancestral steps. The calibrator tells t = {min(told):.0f} to "
        f"{max(told):.0f} of them.",
        line,
        [*missing, INTERVALS],
    )
    each = against_each(block, "from 1 of the calibrated t", line, ["psnr", "ssim"])
    best = max((n for n in block.found if n != "not restored"), key=_psnr(block.found))
    behind = []
    if best != "from 1 of the calibrated t":
        values = [block.found[n]["psnr"].value for n in ("from 1 of the calibrated t", best)]
        behind.append(
            f"PSNR: the calibrated t itself has {values[0]:.2f} dB, {best} {values[1]:.2f}; the "
            "paper says that t is the best to start from."
        )
    pictures = [
        Picture(
            f"{case.name}: degraded, from {', '.join(f'{s:g}' for s in shares)} of t, true",
            np.concatenate(
                [case.given, *(block.restored[r.name][k].pixels for r in rows[1:]), case.truth], 1
            ),
        )
        for k, case in enumerate(cases[:4])
    ]
    return Reproduced(
        "rscd-fig3",
        "RSCD, Figure 3: from less and more than the calibrated t",
        " ".join(
            [
                *caveats(setting),
                "The paper shows one image of stimulated Raman histology (t = 34) and prints no "
                "figures: too few steps leave noise, too many smooth and invent. Whether that is "
                "so can be compared, by the pictures and by PSNR.",
            ]
        ),
        tuple(behind),
        (table, *([each] if each else [])),
        tuple(pictures),
        setting.facts() | {"model": model.config.sha256},
    )


def _psnr(found: Mapping[str, Mapping[str, Interval]]) -> Any:
    return lambda name: found[name]["psnr"].value


def fig8(setting: Setting) -> Reproduced:
    """Restore crops at several depths in simulated tissue."""
    scale = setting.scale
    folder = setting.dataset("he_clean_val")
    depths = DEPTHS_UM[1:3] if setting.is_tiny else DEPTHS_UM
    rows: list[Any] = [
        left_alone("original"),
        MethodRow("restored", "ours", "denoise", "rscd", None, {"preset": "fast"}),
    ]
    names = ("psnr", "ssim", "efficientnet", "inception", "own_encoder")
    judges, missing = setting.judges(names)
    lines: list[tuple[str, ...]] = []
    curves: dict[str, dict[float, Mapping[str, Interval]]] = {row.name: {} for row in rows}
    columns: list[Any] = []
    for depth in depths:
        cases = optical_cases(folder, scale.cases, scale.size, (depth, depth))
        setting.tell(f"{depth:g} µm")
        block = Experiment(cases, rows, judges).run(setting.store)
        columns = block.columns()
        for row in rows:
            found = block.found[row.name]
            curves[row.name][depth] = found
            cells = (found[c.key].text(c.digits) for c in columns)
            lines.append((f"{depth:g} µm, {row.name}", *cells))
    behind = [
        f"{c.name} at {depth:g} µm: restored is behind the original."
        for depth in depths
        for c in columns
        if c.ahead(curves["original"][depth][c.key], curves["restored"][depth][c.key])
    ]
    table = Table(
        f"**Quality by depth**: {scale.cases} crops under simulated tissue of each depth, as they "
        f"are and restored by {MODEL}, `fast`.",
        command("rscd-fig8", setting),
        ("", *(c.header for c in columns)),
        tuple(lines),
        (*missing, INTERVALS),
    )
    plots = [drawn(curves, column.key, column.header) for column in columns]
    return Reproduced(
        "rscd-fig8",
        "RSCD, Figure 8: quality by depth",
        " ".join(
            [
                *caveats(setting),
                "The paper plots FID of z-stacks of 425 specimens, without printing figures: it "
                "rises with depth, and restoring lowers it at each. Ours are simulated stacks of "
                "H&E; the direction can be compared.",
            ]
        ),
        tuple(behind),
        (table,),
        tuple(plot for plot in plots if plot is not None),
        setting.facts(),
    )


def drawn(
    curves: Mapping[str, Mapping[float, Mapping[str, Interval]]], key: str, title: str
) -> Picture | None:
    """Draw a measure over depth, with intervals; None without matplotlib."""
    try:
        pyplot = _pyplot()
    except MissingDependencyError:
        return None
    figure, axis = pyplot.subplots(figsize=(5, 3.4), layout="constrained")
    for name, curve in curves.items():
        places = sorted(curve)
        found = [curve[place][key] for place in places]
        (line,) = axis.plot(places, [f.value for f in found], marker="o", label=name)
        low, high = ([getattr(f, end) for f in found] for end in ("low", "high"))
        axis.fill_between(places, low, high, alpha=0.15, color=line.get_color())
    axis.set_xlabel("depth, µm")
    axis.set_ylabel(title)
    axis.legend()
    out = io.BytesIO()
    figure.savefig(out, dpi=130)
    pyplot.close(figure)
    return Picture(f"{title} by depth", np.asarray(Image.open(out).convert("RGB")))


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            "Plots need matplotlib: pip install 'histomend[bench]'"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
