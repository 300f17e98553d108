"""Lay real artifacts beside simulated ones, to look at.

Writes one PNG: for each kind a row of real examples (where the folder has any) and, below it, a row
simulated on clean tissue. Run from the repository root::

    python benchmarks/compare_artifacts.py --real ../shared/data/he_artifacts \
        --clean ../shared/data/he_clean_train --out comparison.png
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histomend.damage.artifacts import KINDS, simulate

AREAS = (0.04, 0.08, 0.12, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--real", type=Path, required=True, help="folder with manifest.csv (file, kind)"
    )
    parser.add_argument("--clean", type=Path, required=True, help="folder of artifact-free tiles")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--side", type=int, default=256, help="px per picture on the sheet")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()

    with (chosen.real / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        manifest = list(csv.DictReader(lines))
    tiles = sorted(p for p in chosen.clean.iterdir() if p.suffix in {".avif", ".jpg", ".png"})
    rng = np.random.default_rng(chosen.seed)
    side, gap = chosen.side, 4
    rows: list[tuple[str, list[Image.Image]]] = []
    for kind in chosen.kinds:
        real = [chosen.real / row["file"] for row in manifest if row["kind"] == kind]
        picked = [real[i] for i in rng.permutation(len(real))[: chosen.columns]]
        if picked:
            rows.append((f"{kind}: real", [Image.open(path).convert("RGB") for path in picked]))
        drawn = []
        for number, tile in enumerate(rng.choice(len(tiles), chosen.columns, replace=False)):
            clean = np.asarray(Image.open(tiles[tile]).convert("RGB"))
            area = AREAS[number % len(AREAS)]
            damaged = simulate(clean, kind, seed=chosen.seed + number, area=area)
            drawn.append(Image.fromarray(damaged.pixels))
        rows.append((f"{kind}: simulated", drawn))

    sheet = Image.new("RGB", (chosen.columns * side, len(rows) * (side + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (title, pictures) in enumerate(rows):
        top = row * (side + 16)
        pen.text((gap, top + 2), title, fill="black")
        for column, picture in enumerate(pictures):
            small = picture.resize((side - gap, side - gap), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * side, top + 16))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(chosen.out)
    print(f"{chosen.out}: {len(rows)} rows")


if __name__ == "__main__":
    main()
