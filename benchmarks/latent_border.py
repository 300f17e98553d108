"""Does a restoration agree with its surround? Colours along the mask's border, and clean pixels.

Both systems, and LatentArtiFusion as its authors' code runs it. What was measured once is kept
under runs/. Run from the repository root::

    python benchmarks/latent_border.py --limit 24
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab

from experiment import INTERVAL, command, options, tell, text
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.restoration import Record, Row, measure, read_records
from histomend.evaluate.rows import damaged_row, model_row
from histomend.evaluate.summary import summarise
from histomend.evaluate.tables import Table, write_section
from histomend.models import load_model
from latent_author_code import author_row

# Width of the bands inside and outside the border, and side of the parts it is divided into:
# colours are compared part by part, so that errors do not cancel out along the border.
BAND_PX = 4
PART_PX = 16
# Pixels that each band must have in a part.
LEAST_PX = 16
BORDER = (
    ("inside the border, ΔE00 ↓", "band", 2, 1.0),
    ("step across it, ΔE00", "step", 2, 1.0),
    ("the truth's step", "step_of_truth", 2, 1.0),
    ("step − truth's", "step_excess", 2, 1.0),
    ("pixel step, ratio", "border_step", 2, 1.0),
)
CLEAN = (
    ("clean pixels changed, %", "clean_changed", 1, 100.0),
    ("mean change, of 255", "clean_mean", 2, 1.0),
    ("largest change", "clean_largest", 0, 1.0),
    ("L2 ×10⁴ ↓", "l2", 3, 1e-4),
    ("PSNR ↑", "psnr", 2, 1.0),
    ("FSIM ↑", "fsim", 4, 1.0),
    ("Laplacian", "laplacian_ratio", 2, 1.0),
)


def border(truth: np.ndarray, restored: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Compare the mean colours of the bands along the border, part by part.

    Returns
    -------
    dict
        ``band``: CIEDE2000 of the band inside, restored against truth. ``step``: of the bands
        inside and outside in the restored image, ``step_of_truth`` the same in the truth, and
        ``step_excess`` their difference. Means over parts; NaN if no part has enough of both.
    """
    inner = mask & (ndimage.distance_transform_edt(mask) <= BAND_PX)
    outer = ~mask & (ndimage.distance_transform_edt(~mask) <= BAND_PX)
    colours = rgb2lab(np.stack([truth, restored]))
    found = []
    for y in range(0, mask.shape[0], PART_PX):
        for x in range(0, mask.shape[1], PART_PX):
            part = np.s_[y : y + PART_PX, x : x + PART_PX]
            bands = inner[part], outer[part]
            if min(band.sum() for band in bands) < LEAST_PX:
                continue
            (true_in, true_out), (seen_in, seen_out) = (
                [lab[part][band].mean(0) for band in bands] for lab in colours
            )
            found.append(
                (
                    deltaE_ciede2000(seen_in, true_in),
                    deltaE_ciede2000(seen_in, seen_out),
                    deltaE_ciede2000(true_in, true_out),
                )
            )
    band, step, true = np.mean(found, axis=0) if found else [np.nan] * 3
    return {
        "band": float(band),
        "step": float(step),
        "step_of_truth": float(true),
        "step_excess": float(step - true),
    }


def clean(damaged: np.ndarray, restored: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return which share of the pixels outside the mask changed, and by how many grey levels."""
    change = np.abs(restored[~mask].astype(np.float64) - damaged[~mask])
    return {
        "clean_changed": float(change.any(-1).mean()),
        "clean_mean": float(change.mean()),
        "clean_largest": float(change.max()),
    }


def measured(row: Row, field: Crop, key: str) -> Record:
    """Restore a crop and measure it."""
    began = time.perf_counter()
    restored = row.restore(field.damaged, field.mask, field.seed)
    seconds = time.perf_counter() - began
    found = measure(field.truth, restored, field.mask, mpp=field.mpp)
    found |= border(field.truth, restored, field.mask)
    found |= clean(field.damaged, restored, field.mask)
    tell(f"{row.name}: {field.name} {seconds:.2f} s {found['psnr']:.2f} dB")
    features: dict[str, list[float]] = {"true": [], "true_2": []}
    return Record(
        key, row.name, field.name, field.tile, field.slide, field.kind, seconds, found, features
    )


def evaluated(rows: list[Row], fields: list[Crop], path: Path) -> dict[str, list[Record]]:
    """Return the records of each row, and keep new ones in a file of JSON lines."""
    known = {record.key: record for record in read_records(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Record]] = {row.name: [] for row in rows}
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            for field in fields:
                parts = [row.name, row.model, dict(row.settings), field.sha256()]
                key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
                if key not in known:
                    known[key] = measured(row, field, key)
                    file.write(json.dumps(asdict(known[key])) + "\n")
                    file.flush()
                found[row.name].append(known[key])
    return found


def main() -> None:
    """Restore, measure, write both tables."""
    parser = options(__doc__, records="runs/latent_border.jsonl", limit=24)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    fields = crops(chosen.data, per_tile=1, limit=chosen.limit)
    device = chosen.device
    rows = [
        damaged_row(),
        model_row("ArtiFusion, `fast`", chosen.artifusion, device=device),
        model_row("LatentArtiFusion, `fast`", chosen.latent, device=device),
        model_row("LatentArtiFusion, `paper`", chosen.latent, preset="paper", device=device),
        author_row("LatentArtiFusion, the authors' variant", load_model(chosen.latent, device)),
    ]
    found = {
        name: summarise(records)
        for name, records in evaluated(rows, fields, chosen.records).items()
    }
    tables = {
        "border": (
            f"**Colours along the mask's border**, {len(fields)} crops. In parts of "
            f"{PART_PX}×{PART_PX} px, the mean colour of a band of {BAND_PX} px inside the border "
            "against the truth's, and the step from the band outside to the one inside, in the "
            "restored image and in the truth. Pixel step: of neighbouring pixels across the "
            "border, ratio to the truth, texture included.",
            BORDER,
        ),
        "authors-variant": (
            f"**Clean pixels, and the authors' variant**, the same {len(fields)} crops. The "
            "variant starts from the artifact's own latent, pastes the clean latent without "
            "noise, decodes the whole image and matches its mean and deviation to the input's, "
            f"with {rows[-1].calls} calls of the same network. L2 is measured inside the mask, "
            "PSNR and FSIM on the whole image.",
            CLEAN,
        ),
    }
    for name, (caption, columns) in tables.items():
        table = Table(
            caption,
            command(),
            ("", *(title for title, *_ in columns)),
            tuple(
                (row, *(text(figures[key], digits, unit) for _, key, digits, unit in columns))
                for row, figures in found.items()
            ),
            (INTERVAL,),
        )
        write_section(chosen.out, name, table.markdown())
        print(table.markdown(), end="\n\n")
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
