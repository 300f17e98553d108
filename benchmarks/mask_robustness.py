"""Restore under masks that are wrong: too large, too small, shifted, with holes.

Everything is measured inside the true mask or on the whole image, whatever mask was used. What
was measured once is kept under runs/ and not computed again. Run from the repository root::

    python benchmarks/mask_robustness.py --limit 12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy import ndimage

from curves import draw
from experiment import INTERVAL, command, options, systems, tell, text, with_psnr_inside
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.restoration import Row, evaluate_rows
from histomend.evaluate.rows import damaged_row, model_row
from histomend.evaluate.summary import summarise
from histomend.evaluate.tables import Interval, Table, bootstrap, write_section

AMOUNTS_PX = (1, 2, 4, 8)
# Masked px for each hole that is punched.
PX_PER_HOLE = 400
COLUMNS = (
    ("L2 ×10⁴ ↓", "l2", 3, 1e-4),
    ("PSNR inside ↑", "psnr_inside", 2, 1.0),
    ("PSNR, whole ↑", "psnr", 2, 1.0),
    ("FSIM, whole ↑", "fsim", 4, 1.0),
    ("Laplacian", "laplacian_ratio", 2, 1.0),
    ("nuclei, number", "nuclei", 2, 1.0),
    ("colour, ΔE00 ↓", "ciede2000", 2, 1.0),
)
PANELS = (
    ("psnr_inside", "PSNR inside the true mask (dB)"),
    ("psnr", "PSNR of the whole image (dB)"),
    ("fsim", "FSIM of the whole image"),
    ("laplacian_ratio", "variance of the Laplacian, ratio to the truth"),
    ("nuclei", "number of nuclei, ratio to the truth"),
    ("ciede2000", "colour difference inside (ΔE00)"),
)
Mask = np.ndarray
Change = Callable[[Mask, int, int], Mask]


def dilated(mask: Mask, amount_px: int, seed: int) -> Mask:
    """Return the mask and all within so many px of it."""
    return ndimage.distance_transform_edt(~mask) <= amount_px


def eroded(mask: Mask, amount_px: int, seed: int) -> Mask:
    """Return what of the mask lies deeper than so many px."""
    return ndimage.distance_transform_edt(mask) > amount_px


def shifted(mask: Mask, amount_px: int, seed: int) -> Mask:
    """Return the mask moved by so many px in a direction that is drawn with the seed."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    offset = np.round(amount_px * np.array([np.sin(angle), np.cos(angle)]))
    return ndimage.shift(mask.astype(np.uint8), offset, order=0) > 0


def punched(mask: Mask, amount_px: int, seed: int) -> Mask:
    """Return the mask without discs of that radius, so many for its area whatever their radius."""
    places = np.random.default_rng(seed).permutation(np.argwhere(mask))
    left = mask.astype(np.uint8)
    for y, x in places[: max(1, len(places) // PX_PER_HOLE)].tolist():
        cv2.circle(left, (x, y), amount_px, 0, thickness=-1)
    return left > 0


CHANGES: dict[str, Change] = {
    "dilated": dilated,
    "eroded": eroded,
    "shifted": shifted,
    "punched": punched,
}


def row_with(row: Row, change: str, amount_px: int) -> Row:
    """Return a row that is handed wrong masks; where nothing of one is left, nothing is done."""

    def run(pixels: np.ndarray, mask: Mask, seed: int) -> np.ndarray:
        wrong = CHANGES[change](mask, amount_px, seed)
        return row.restore(pixels, wrong, seed) if wrong.any() and not wrong.all() else pixels

    settings = {**row.settings, "mask": f"{change} {amount_px}"}
    return replace(row, name=f"{row.name}, {change} {amount_px} px", restore=run, settings=settings)


def overlap(fields: list[Crop], change: str, amount_px: int) -> Interval:
    """Return the mean intersection over union of wrong and true masks."""
    shares = []
    for field in fields:
        wrong = CHANGES[change](field.mask, amount_px, field.seed)
        shares.append((wrong & field.mask).sum() / (wrong | field.mask).sum())
    return bootstrap(shares, groups=[field.tile for field in fields])


def main() -> None:
    """Restore, measure, write table and picture."""
    parser = options(__doc__, records="runs/mask_robustness.jsonl", limit=12)
    parser.add_argument("--plot", type=Path, default=Path("docs/results/mask-robustness.png"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    fields = crops(chosen.data, per_tile=1, limit=chosen.limit)

    def found(row: Row) -> dict[str, Interval]:
        records = evaluate_rows([row], fields, chosen.records, report=tell)
        return summarise(with_psnr_inside(records, fields))

    exact = Interval(1.0, 1.0, 1.0, len(fields))
    overlaps = {(c, a): overlap(fields, c, a) for c in CHANGES for a in AMOUNTS_PX}
    untouched = found(damaged_row())
    rows = [("damaged", "–", *cells(untouched))]
    curves: dict[str, dict[float, dict[str, Interval]]] = {}
    for name, model in systems(chosen).items():
        row = model_row(name, model, device=chosen.device)
        right = found(row)
        rows.append((f"{name}, true mask", exact.text(), *cells(right)))
        for change in CHANGES:
            curve: dict[float, dict[str, Interval]] = {0.0: right}
            for amount in AMOUNTS_PX:
                wrong = found(row_with(row, change, amount))
                iou = overlaps[change, amount]
                rows.append((f"{name}, {change} {amount} px", iou.text(), *cells(wrong)))
                curve[1 - iou.value] = wrong
            curves[f"{name}, {change}"] = curve
    draw(
        chosen.plot,
        PANELS,
        curves,
        "mask error, 1 − IoU",
        lines={"damaged": untouched},
        styles={
            f"{name}, {change}": {"color": f"C{number}", "linestyle": dots}
            for name, dots in zip(systems(chosen), ("-", "--"), strict=True)
            for number, change in enumerate(CHANGES)
        },
    )
    table = Table(
        f"**Wrong masks**, {len(fields)} crops, preset `generate` "
        f"(![Quality against mask error]({chosen.plot.name})). L2, PSNR inside, Laplacian, nuclei "
        "and colour are measured inside the true mask, the others on the whole image. Dilated, "
        f"eroded and shifted by so many px; punched: holes of that radius, one for {PX_PER_HOLE} "
        "masked px. IoU: of the wrong mask with the true one. What a mask leaves out keeps its "
        "artifact, and what it adds is tissue replaced for nothing.",
        command(),
        ("", "IoU", *(title for title, *_ in COLUMNS)),
        tuple(rows),
        (INTERVAL,),
    )
    write_section(chosen.out, "mask-robustness", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


def cells(found: dict[str, Interval]) -> tuple[str, ...]:
    """Return what was found as cells of the table."""
    return tuple(text(found[key], digits, unit) for _, key, digits, unit in COLUMNS)


if __name__ == "__main__":
    main()
