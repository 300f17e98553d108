"""Run the demo: two fields of tissue, damaged on purpose, so that the truth is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import histomend
from histomend.api import restore, sample_field
from histomend.baselines.classical import telea
from histomend.damage.artifacts import simulate
from histomend.demo.page import Best, Field, Measure, build_page, draw_picture
from histomend.detect.threshold import Thresholds, detect
from histomend.evaluate.restoration import measure
from histomend.image import (
    check_target,
    make_folder,
    read_image,
    write_atomically,
    write_image,
    write_text,
)
from histomend.jobs.outputs import Output
from histomend.jobs.run import Result
from histomend.ledger import verify
from histomend.methods import METHODS
from histomend.models import Model, load_denoiser

SEED = 0
# Noise is keyed by seed and place: with the seed of the restoration the field's own noise would
# come again under the mask, and with it the truth.
FIELD_SEED = 20
H_AND_E_SIDE_PX = 512
_DAMAGED, _TELEA, _RESTORED = "Damaged", "Telea", "Restored"
# What `measure` gives and the page shows: key, name, unit, which figure is the best.
_SHOWN: tuple[tuple[str, str, str, Best], ...] = (
    ("l2", "L2 in the mask", "", "lowest"),
    ("psnr", "PSNR", "dB", "highest"),
    ("ssim", "SSIM", "", "highest"),
    ("fsim", "FSIM", "", "highest"),
    ("sre", "SRE", "dB", "highest"),
    ("ciede2000", "Mean colour in the mask", "CIEDE2000", "lowest"),
    ("laplacian_ratio", "Fine detail in the mask", "ratio to the truth", "closest to 1"),
)


# The defaults are for H&E; DAB is as dark as an artifact in H&E, and its stroma nearly grey.
_DAB = Thresholds(dark_offset=1.2, grey_chroma=0.06, ink_excess=0.2)


@dataclass(frozen=True)
class Scene:
    """A field of tissue, and how it is damaged.

    Attributes
    ----------
    name, title, about : as in `Field`.
    truth : (H, W, 3) uint8
    mpp : micrometres per pixel, None if nobody says.
    damages : (kind, share of the area, seed) of the artifacts, one after the other.
    thresholds : those that find artifacts in this stain.
    """

    name: str
    title: str
    about: str
    truth: np.ndarray
    mpp: float | None
    damages: Sequence[tuple[str, float, int]]
    thresholds: Thresholds

    def damage(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the damaged pixels (H, W, 3) uint8 and the mask (H, W) bool of the damage."""
        pixels, mask = self.truth, np.zeros(self.truth.shape[:2], bool)
        for kind, area, seed in self.damages:
            damaged = simulate(pixels, kind, seed=seed, area=area, mpp=self.mpp or 0.5)
            pixels, mask = damaged.pixels, mask | damaged.mask
        return pixels, mask


def run(
    out: Path,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Damage, detect, restore and measure; write pictures, ledgers and the page.

    Parameters
    ----------
    out : folder to write to.
    model : bundled name or folder of weights, by default the bundled one.
    device : as in `histomend.restore`.
    force : replace an earlier demo.
    report : told what is being done.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        Before anything is computed, if the folder holds a demo already or cannot be written.
    ModelError, DeviceError
    """
    began = time.monotonic()
    page = out / "index.html"
    make_folder(out)
    check_target(page, force=force)
    loaded = load_denoiser(model or METHODS["artifusion"].default[3], device)
    report("Drawing a field of H&E tissue with the model")
    fields = []
    for scene in _scenes(loaded):
        report(f"{scene.title}: damage, detect, restore, measure")
        fields.append(_show(scene, loaded, out))
    seconds = time.monotonic() - began
    text = build_page(
        fields,
        lead="Two fields of tissue were damaged on purpose, so that the truth is known. Histomend "
        "found the damage by thresholds, restored it with its diffusion model, and kept a ledger "
        "of every pixel that it changed.",
        footer=f"Made by histomend {histomend.__version__} with `histomend demo` in "
        f"{seconds:.0f} s on {loaded.device.type}. The artifacts are simulated; how the model does "
        "on more of them, and where it fails, is in its card: `histomend models "
        f"{loaded.name}`.",
    )
    write_text(page, text, force=True)
    figures = {
        field.name: {row.name: dict(row.values) for row in field.measures} for field in fields
    }
    write_text(out / "figures.json", json.dumps(figures, indent=2) + "\n", force=True)
    return page


def _scenes(model: Model) -> list[Scene]:
    from skimage.data import immunohistochemistry

    return [
        Scene(
            "h-and-e",
            "H&E, drawn by the model itself",
            "No photograph: the bundled model drew this field from noise. It was then damaged "
            "with a simulated fold and a pen stroke. Figures of a model on its own drawing flatter "
            "it; those on real tissue are in the documentation.",
            sample_field(H_AND_E_SIDE_PX, FIELD_SEED, model),
            model.config.mpp,
            (("fold", 0.06, 0), ("ink", 0.05, 0)),
            Thresholds(),
        ),
        Scene(
            "ihc",
            "Colonic glands, immunohistochemistry",
            "A real field, stained with DAB and haematoxylin, which comes with scikit-image. It "
            "was damaged with a simulated dark spot and a pen stroke, which were looked for with "
            "thresholds set for DAB.",
            immunohistochemistry(),
            None,
            (("dark_spot", 0.04, 0), ("ink", 0.05, 0)),
            _DAB,
        ),
    ]


def _show(scene: Scene, model: Model, out: Path) -> Field:
    damaged, damage = scene.damage()
    write_image(out / f"{scene.name}.truth.png", scene.truth, mpp=scene.mpp, force=True)
    source = out / f"{scene.name}.damaged.png"
    write_image(source, damaged, mpp=scene.mpp, force=True)
    found = detect(damaged, mpp=scene.mpp, thresholds=scene.thresholds)
    result = restore(source, found, model=model, seed=SEED)
    output = Output(out / f"{scene.name}.restored.png", source)
    output.write(result, force=True)
    restored = result.pixels
    columns = {
        _DAMAGED: damaged,
        _TELEA: telea(damaged, found),
        _RESTORED: restored,
    }
    measured = {
        name: measure(scene.truth, pixels, damage, mpp=scene.mpp or model.config.mpp)
        for name, pixels in columns.items()
    }
    field = Field(
        name=scene.name,
        title=scene.title,
        about=scene.about,
        truth=scene.truth,
        damaged=damaged,
        restored=restored,
        mask=found,
        measures=[
            Measure(name, unit, {column: found[key] for column, found in measured.items()}, best)
            for key, name, unit, best in _SHOWN
        ],
        notes=["Telea is OpenCV's inpainting on the same mask.", _detection(damage, found)],
        changes=_changes(result, output.image),
    )
    picture = draw_picture(field)
    write_atomically(out / f"{scene.name}.picture.png", lambda file: picture.save(file, "PNG"))
    return field


def _detection(damage: np.ndarray, found: np.ndarray) -> str:
    """Say in a sentence how much of the damage was found."""
    hit = (damage & found).sum()
    extra = (found & ~damage).sum() / max(1, found.sum())
    return (
        f"The detection marked {hit / damage.sum():.0%} of the damaged pixels; {extra:.0%} of "
        "what it marked was sound tissue, which was restored with the rest."
    )


def _changes(result: Result, output: Path) -> list[tuple[str, str]]:
    """Return the ledger's figures in the words of the page."""
    record, totals = result.record, result.record.figures
    proven = verify(record, read_image(output), result.source)
    area = f"{totals['area_px']:,} px ({totals['share']:.1%})"
    if totals["area_um2"] is not None:
        area += f", {totals['area_um2']:,.0f}\u00a0µm²"
    settings = record.settings
    rows = [
        ("Model", f"{(record.model or {})['name']}, {(record.model or {})['sha256'][:12]}…"),
        ("Sampling", f"{settings['preset']}, {settings['sampler']}, {settings['steps']} steps"),
        ("Network calls", f"{record.nfe}"),
        ("Windows sampled", f"{len(record.windows)}"),
        ("Seed", f"{record.seed}"),
        ("Regions changed", f"{totals['regions']}"),
        ("Area changed", area),
    ]
    if totals["mean_change"] is not None:
        rows.append(("Mean change there", f"{totals['mean_change']:.1f} of 255"))
    rows.append(("Pixels changed elsewhere", "none, verified" if proven.ok else "NOT VERIFIED"))
    return rows
