"""Denoisers on pixels and on latents at equal noise: what one call makes of a clean crop.

The clean crop is noised inside a mask, in pixels for ArtiFusion and in the latent for
LatentArtiFusion, at the time where both have the same ratio of signal to noise; the estimate of
the clean signal after one call is decoded and compared with the truth. What was measured once is
kept under runs/. Run from the repository root::

    python benchmarks/latent_one_shot.py --limit 24
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from curves import draw
from experiment import INTERVAL, SYSTEMS, command, options, systems, tell, text, with_psnr_inside
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import Schedule
from histomend.evaluate.crops import crops
from histomend.evaluate.restoration import Row, evaluate_rows
from histomend.evaluate.summary import summarise
from histomend.evaluate.tables import Interval, Table, write_section
from histomend.methods.artifusion import ArtiFusion
from histomend.methods.windows import to_uint8
from histomend.models import Model, load_model
from histomend.tiles.seams import fill_smoothly

# 20·log10(alpha / sigma): from nearly pure noise to nearly clean.
SNR_DB = (-20, -15, -10, -5, 0, 5, 10, 15, 20)
PANELS = (
    ("psnr_inside", "PSNR inside the mask (dB)"),
    ("fsim", "FSIM of the whole image"),
    ("laplacian_ratio", "variance of the Laplacian, ratio to the truth"),
    ("nuclei", "number of nuclei, ratio to the truth"),
)
DIGITS = {"psnr_inside": 2, "fsim": 4, "laplacian_ratio": 2, "nuclei": 2}
CEILING = "autoencoder alone"
Found = dict[str, Interval]


def time_at(schedule: Schedule, snr_db: float) -> int:
    """Return the time whose ratio of signal to noise is nearest."""
    ratio = schedule.alpha[1:] / schedule.sigma[1:]
    return 1 + int((20 * ratio.log10() - snr_db).abs().argmin())


@torch.inference_mode()
def estimate(
    model: Model, truth: np.ndarray, mask: np.ndarray, seed: int, snr_db: float
) -> np.ndarray:
    """Return the truth with one call's estimate inside the mask."""
    space, schedule = model.space, model.denoiser.schedule
    values = truth.astype(np.float32) / 127.5 - 1
    # The network is shown what a restoration shows it: nothing of what lies under the mask.
    shown = fill_smoothly(values, mask) if space.factor > 1 else values
    known, clean = (space.encode(_tensor(pixels, model)) for pixels in (shown, values))
    inside = space.mask(torch.from_numpy(mask.astype(np.float32))[None, None].to(model.device))
    recipe = ArtiFusion(known, inside, schedule, context=model.config.context)
    t = torch.tensor([time_at(schedule, snr_db)])
    noise = NoiseStream([NoiseField(seed)], [(0, 0)]).draw(clean)
    x = schedule.noised(clean * inside + known * (1 - inside), t, noise)
    x0 = model.denoiser(x, t, recipe.condition).x0
    return _pasted(truth, mask, to_uint8(space.decode(recipe.finish(x0))))


def estimate_row(name: str, model: Model, snr_db: float) -> Row:
    """Return the row of one system at one level of noise."""

    def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        return estimate(model, pixels, mask, seed, snr_db)

    settings = {"one call at dB": snr_db, "device": str(model.device)}
    return Row(f"{name}, {snr_db} dB", run, settings, model.config.sha256, 1)


def ceiling_row(model: Model) -> Row:
    """Return the row of the autoencoder without noise and without denoiser."""

    @torch.inference_mode()
    def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        x = model.space.encode(_tensor(pixels.astype(np.float32) / 127.5 - 1, model))
        return _pasted(pixels, mask, to_uint8(model.space.decode(x)))

    return Row(CEILING, run, {"device": str(model.device)}, model.config.vae_sha256)


def main() -> None:
    """Measure, write table and picture."""
    parser = options(__doc__, records="runs/latent_one_shot.jsonl", limit=24)
    parser.add_argument("--plot", type=Path, default=Path("docs/results/latent-one-shot.png"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    # Nothing is damaged here: the damage only says where the noise goes.
    fields = [
        replace(field, damaged=field.truth)
        for field in crops(chosen.data, per_tile=1, limit=chosen.limit)
    ]

    def found(row: Row) -> Found:
        records = evaluate_rows([row], fields, chosen.records, report=tell)
        return summarise(with_psnr_inside(records, fields))

    models = {name: load_model(folder, chosen.device) for name, folder in systems(chosen).items()}
    curves: dict[str, dict[float, Found]] = {
        name: {db: found(estimate_row(name, model, db)) for db in SNR_DB}
        for name, model in models.items()
    }
    (_, latent) = models.values()
    ceiling = found(ceiling_row(latent))
    label = "signal to noise, 20·log10(α/σ) (dB)"
    draw(chosen.plot, PANELS, curves, label, lines={CEILING: ceiling})

    def cells(measured: Found) -> dict[str, str]:
        return {key: text(measured[key], digits) for key, digits in DIGITS.items()}

    rows = []
    for db in SNR_DB:
        pair = [cells(curve[db]) for curve in curves.values()]
        rows.append((f"{db} dB", *(each[key] for key in DIGITS for each in pair)))
    best = cells(ceiling)
    rows.append((CEILING, *(cell for key in DIGITS for cell in ("–", best[key]))))
    measures = ("PSNR inside", "FSIM", "Laplacian", "nuclei")
    table = Table(
        f"**One call on pixels and on latents**, {len(fields)} clean crops "
        f"(![Estimates at equal noise]({chosen.plot.name})). Inside a mask the crop, or its "
        "latent, is noised at the same ratio of signal to noise, 20·log10(α/σ), and the network's "
        "estimate of the clean signal is compared with the truth in pixels. The ratio is equal "
        "per value of x, of which a latent has fewer: at the same ratio it holds less of the "
        "image. The last row is the latent without noise: what the autoencoder itself takes away.",
        command(),
        ("", *(f"{measure}, {name}" for measure in measures for name in SYSTEMS)),
        tuple(rows),
        (INTERVAL,),
    )
    write_section(chosen.out, "one-shot", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


def _tensor(values: np.ndarray, model: Model) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None].to(model.device)


def _pasted(truth: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], inside, truth)


if __name__ == "__main__":
    main()
