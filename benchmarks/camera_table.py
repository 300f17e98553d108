"""Denoise images of cameras, simulated and real, and fill tables of docs/results/rscd.md.

Run from the repository root::

    python benchmarks/camera_table.py --model rscd-fluo

BM3D's rows are there where the package `bm3d` is installed. What was measured is kept in --store;
after a change to the code of a row, delete that file.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from skimage.metrics import structural_similarity

import histomend
from camera_fields import (
    BRIGHTEST,
    DARKEST,
    LEVELS,
    CameraField,
    real_fields,
    simulated_fields,
)
from camera_self import restored, trained_on
from filters import families, stabilised
from histomend.evaluate.harness.store import Lines, digest, pixels_digest
from histomend.evaluate.tables import Table, bootstrap, write_section

# A field -> the candidates of a row (the best counts), and the network calls of each.
Restores = Callable[[CameraField], tuple[list[np.ndarray], float]]


@dataclass(frozen=True)
class Figures:
    """What a row reaches on one field.

    Attributes
    ----------
    psnr : float
        In dB, for the range 0..255.
    ssim : float
    grid : float
        See `grid_of`.
    seconds, calls : float
    """

    psnr: float
    ssim: float
    grid: float
    seconds: float
    calls: float


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    model = histomend.load_model(chosen.model, "cpu")
    rows = _rows(model, chosen.presets)
    weights = [model.name, model.config.sha256, model.config.calibrator_sha256]
    kept = Lines(chosen.store)
    sets: dict[str, tuple[str, Sequence[CameraField]]] = {
        "camera-real": (
            "**Real widefield fields** (w2s, single exposures against the mean of 400), centre "
            "256×256 px",
            real_fields(chosen.real, crops=True, only="w2s"),
        ),
        "camera-real-whole": (
            "**All real pairs, whole fields**",
            real_fields(chosen.real, crops=False),
        ),
    }
    for photons in LEVELS:
        sets[f"camera-{photons}"] = (
            f"**Simulated camera, {photons} photons** at the brightest place: 12 bits in a file "
            "of 16, gain 2.2, offset 100, read noise 1.6 photons; nuclei, tissue densities and "
            "drawn specimens that no training used, 256×256 px, the scale of the camera known",
            simulated_fields(chosen.data, photons),
        )
    for key, (what, fields) in sets.items():
        if chosen.sets and key not in chosen.sets:
            continue
        found = {
            name: [_kept(kept, name, weights, row, field) for field in fields]
            for name, row in (rows | _self_trained(chosen, key, fields)).items()
        }
        write_section(chosen.out, key, _table(what, fields, found).markdown())
        print(f"wrote {key} of {chosen.out}", flush=True)


def _kept(kept: Lines, name: str, weights: list[str], row: Restores, field: CameraField) -> Figures:
    """Return what a row reaches on a field, measured once for the same code and weights."""
    of_model = weights if name.startswith(weights[0]) else []
    key = digest(name, of_model, pixels_digest(field.noisy), histomend.__version__)
    if key not in kept.known:
        kept.add(key, asdict(measure(row, field)))
    return Figures(**kept.known[key])


def measure(restore: Restores, field: CameraField) -> Figures:
    """Restore a field, and compare it with the truth."""
    began = time.process_time()
    candidates, calls = restore(field)
    seconds = (time.process_time() - began) / len(candidates)
    scored = [(_psnr(field.truth, field.compared(c)), c) for c in candidates]
    psnr, best = max(scored, key=lambda pair: pair[0])
    compared = field.compared(best)
    ssim = float(structural_similarity(field.truth, compared, data_range=255))
    return Figures(psnr, ssim, grid_of(best), seconds, calls)


def _psnr(truth: np.ndarray, compared: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((truth - compared) ** 2)))


def grid_of(pixels: np.ndarray) -> float:
    """Return how much a grid of 2 or 4 px stands out of an image's spectrum.

    The power at these periods, summed over all frequencies of the other direction, over that at
    neighbouring periods: the largest of four. It is the largest of four random numbers around 1
    where there is no grid.
    """
    values = pixels.astype(np.float64)
    height, width = values.shape
    # Without a window, the image's own borders would be structure of all periods.
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
    ratios = []
    for axis in (0, 1):
        line = power.sum(axis)
        for period in (2, 4):
            k = len(line) // period
            around = [line[(k + off) % len(line)] for off in (-4, -3, -2, 2, 3, 4)]
            ratios.append(line[k] / max(float(np.mean(around)), 1e-12))
    return float(max(ratios))


def _rows(model: histomend.Model, presets: Sequence[str]) -> dict[str, Restores]:
    rows: dict[str, Restores] = {"noisy": lambda field: ([field.noisy], 0.0)}
    for name, members in families().items():
        rows[name] = _filtered(members)
        rows[f"{name}, stabilised"] = _filtered([stabilised(member) for member in members])
    for preset in presets:
        rows[f"{model.name}, {preset}"] = _by_model(model, preset)
    return rows


def _self_trained(
    chosen: argparse.Namespace, key: str, fields: Sequence[CameraField]
) -> dict[str, Restores]:
    """Return the row of a network that learned from the noisy fields of a table alone."""
    if not chosen.self_steps:
        return {}
    folder = chosen.store.parent / f"camera-self-{chosen.self_steps}" / key
    model = trained_on(fields, folder, chosen.self_steps)

    def restore(field: CameraField) -> tuple[list[np.ndarray], float]:
        return [restored(field, model)], 1.0

    what = f"Neighbor2Neighbor, {chosen.self_steps} steps on these noisy fields alone"
    return {what: restore}


def _filtered(members: Sequence[Callable[[np.ndarray], np.ndarray]]) -> Restores:
    def restore(field: CameraField) -> tuple[list[np.ndarray], float]:
        # Settings of filters are meant for values that fill [0, 1].
        low, high = np.percentile(field.noisy, (DARKEST, BRIGHTEST))
        values = (field.noisy.astype(np.float64) - low) / max(high - low, 1)
        found = [np.asarray(member(values), np.float64) for member in members]
        return [low + (high - low) * one for one in found], 0.0

    return restore


def _by_model(model: histomend.Model, preset: str) -> Restores:
    def restore(field: CameraField) -> tuple[list[np.ndarray], float]:
        result = histomend.denoise(field.noisy, model=model, preset=preset)
        return [result.pixels], float(result.record.figures["nfe_mean"])

    return restore


def _table(
    what: str, fields: Sequence[CameraField], found: Mapping[str, Sequence[Figures]]
) -> Table:
    groups = [field.group for field in fields]
    clean = float(np.mean([grid_of(field.truth) for field in fields]))
    cells = []
    for name, figures in found.items():
        psnr, ssim = (
            bootstrap([getattr(f, key) for f in figures], groups=groups) for key in ("psnr", "ssim")
        )
        grid = float(np.mean([f.grid for f in figures]))
        seconds, calls = (
            float(np.mean([getattr(f, key) for f in figures])) for key in ("seconds", "calls")
        )
        cells.append(
            (name, psnr.text(2), ssim.text(3), f"{grid:.2f}", f"{calls:.1f}", f"{seconds:.2f}")
        )
    return Table(
        f"{what}: {len(fields)} fields.",
        shlex.join(["python", "benchmarks/camera_table.py", *sys.argv[1:]]),
        ("", "PSNR ↑", "SSIM ↑", "grid", "network calls", "s per image"),
        tuple(cells),
        (
            "“At its best”: the setting that the truth says is best for each image, which nobody "
            "can know. Stabilised: after the generalised Anscombe transform of the noise that is "
            "estimated from the image, and its unbiased inverse. Grid: power at periods of 2 and "
            "4 px over that at neighbouring ones, the largest of four, mean over fields; of the "
            f"clean images it is {clean:.2f}. Intervals: 95 %, drawing fields of view with "
            "replacement. Seconds: of processor time on one thread.",
        ),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="rscd-fluo", help="RSCD for one channel, a name or a folder")
    add("--presets", nargs="+", default=["fast", "paper"])
    add("--sets", nargs="*", default=[], help="camera-real, camera-real-whole, camera-8 ...")
    add("--self-steps", type=int, default=0, help="train Neighbor2Neighbor on each set")
    add("--data", type=Path, default=Path("../shared/data"), help="clean images")
    add("--real", type=Path, default=Path("../shared/data/microscopy_noisy"))
    add("--store", type=Path, default=Path("runs/camera-figures.jsonl"))
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
