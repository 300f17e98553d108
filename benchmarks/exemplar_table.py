"""Fill holes in clean tissue with the image's own tissue, and with what else there is.

Fills the table of docs/results/restoration.md. Each row's fillings are kept under runs/ and not
made again. Shift-map needs OpenCV's contributed modules, and the distance (KID) the weights of an
encoder; a row or column whose package is missing is left out::

    pip install opencv-contrib-python-headless 'histomend[eval]'

Run from the repository root::

    python benchmarks/exemplar_table.py

Quick look::

    python benchmarks/exemplar_table.py --tiles 6 --rows telea exemplar --out /tmp/table.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from experiment import command, tell, text
from fillings import AREAS, Judge, Restore, cases, filled_by
from histomend.api import restore
from histomend.baselines import classical
from histomend.evaluate.tables import Interval, Table, write_section
from histomend.exemplar.fill import fill
from histomend.methods.sampling import sampling
from histomend.models import load_model

MPP = 0.5
COLUMNS = (
    ("PSNR", "psnr", 1),
    ("SSIM", "ssim", 3),
    ("Laplacian", "laplacian", 2),
    ("border", "border", 2),
    ("AUC 1", "auc_1", 2),
    ("AUC 2", "auc_2", 2),
    ("AUC 4", "auc_4", 2),
    ("KID", "kid", 1),
    ("repetition", "repetition", 3),
    ("s", "seconds", 2),
)


@dataclass(frozen=True)
class Row:
    """A way to fill holes.

    Parameters
    ----------
    title : str
    restore : callable
        From pixels, mask and seed to filled pixels.
    calls : int
        Network calls per window.
    """

    title: str
    restore: Restore
    calls: int = 0


def shift_map() -> Restore | None:
    """Return OpenCV's shift-map inpainting, or None where it is not installed."""
    if not hasattr(cv2, "xphoto"):
        return None

    def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab)
        out = np.zeros_like(lab)
        visible = (~mask).astype(np.uint8) * 255
        cv2.xphoto.inpaint(lab, visible, out, cv2.xphoto.INPAINT_SHIFTMAP)
        found = cv2.cvtColor(out, cv2.COLOR_Lab2RGB)
        return np.where(mask[..., None], found, pixels)

    return run


def rows(model_name: str) -> dict[str, Callable[[], Row | None]]:
    """Return how each row is made, by what it is called on the command line."""
    model = load_model(model_name, "cpu")

    def preset(name: str, title: str) -> Row:
        chosen = sampling(name, model.config)

        def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
            result = restore(
                pixels,
                mask,
                model=model,
                method=model.config.method,
                preset=name,
                seed=seed,
                mpp=MPP,
            )
            return np.asarray(result.image.pixels)

        return Row(title, run, chosen.nfe(model.config.noise_schedule()))

    def shifts() -> Row | None:
        run = shift_map()
        return None if run is None else Row("shift-map (OpenCV contrib)", run)

    def alone(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        return fill(pixels, mask, mpp=MPP, seed=seed).pixels

    return {
        "telea": lambda: Row("Telea", classical.telea),
        "navier-stokes": lambda: Row("Navier-Stokes", classical.navier_stokes),
        "shift-map": shifts,
        "generate": lambda: preset("generate", "`generate`: the network alone"),
        "filled": lambda: Row("own tissue, not joined by diffusion", alone),
        "exemplar": lambda: preset("exemplar", "`exemplar`: own tissue, joined in a band"),
    }


def main() -> None:
    """Fill the holes with every row, and write the table."""
    chosen = _options()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fields = cases(chosen.data, chosen.tiles)
    made = {}
    for name, make in rows(chosen.model).items():
        row = make() if name in chosen.rows else None
        if row is not None:
            folder = chosen.records / chosen.data.name / name
            made[name] = row, filled_by(row.restore, fields, folder, tell)
    judge = Judge(fields)
    written = [_cells("real tissue elsewhere", {"kid": judge.real_against_real()}, 0)]
    for row, filled in made.values():
        found = judge.measure(filled)
        written.append(_cells(row.title, found, row.calls))
        tell(" | ".join(written[-1]))
    slides = len({case.slide for case in fields})
    caption = (
        f"**Holes in clean tissue, filled.** {chosen.tiles} tiles of 512×512 px from {slides} "
        f"slides of `{chosen.data.name}`, in each a hole of {_shares()} in turn blacked out; the "
        "tile is all that a row may use. PSNR and SSIM inside the hole; Laplacian (its variance in "
        "the hole) and border (colour step across the edge) over the truth's; AUC: how well a "
        "small classifier tells fillings from truth, on blocks of 1, 2 and 4 px (0.5: not at all); "
        "KID: kernel distance to the truth, ×1000, by EfficientNet-lite0 on crops of 96 px shown "
        "twice as large; repetition: the highest correlation of a part of the filling with its "
        "surroundings, less the truth's; s: processor seconds per tile, one thread."
    )
    table = Table(
        caption,
        command(),
        ("", *(title for title, _, _ in COLUMNS), "calls"),
        tuple(written),
        ("Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides.",),
    )
    write_section(chosen.out, chosen.section, table.markdown())
    tell(f"wrote {chosen.out}")


def _cells(title: str, found: dict[str, Interval], calls: int) -> tuple[str, ...]:
    shown = [text(found[key], digits) if key in found else "–" for _, key, digits in COLUMNS]
    return (title, *shown, str(calls or "–"))


def _shares() -> str:
    return ", ".join(f"{100 * area:g}" for area in AREAS[:-1]) + f" or {100 * AREAS[-1]:g} %"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = ("telea", "navier-stokes", "shift-map", "generate", "filled", "exemplar")
    add("--data", type=Path, default=Path("../shared/data/he_clean_val"), help="clean tiles")
    add("--tiles", type=int, default=30)
    add("--rows", nargs="+", choices=names, default=list(names))
    add("--model", default="artifusion-he", help="bundled name or folder")
    add("--records", type=Path, default=Path("runs/exemplar"), help="what is filled already")
    add("--section", default="fillings", help="name of the table in the page")
    add("--out", type=Path, default=Path("docs/results/restoration.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
