"""Print what the limits of `histomend tiles` keep of good tiles and reject of bad ones.

Good tiles are those of he_clean_train, picked by hand; bad ones the crops of he_artifacts from the
same slides. Each is compared with the usual tissue of its slide, learned from good tiles.

    python benchmarks/curation.py --data ../shared/data --tiles 12
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histomend.curate.judging import judge, usual_of
from histomend.curate.settings import TileSettings
from histomend.detect.features import Features, measure


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [{**row, "file": str(folder / row["file"])} for row in csv.DictReader(file)]


def measured(row: dict[str, str]) -> Features:
    with Image.open(row["file"]) as image:
        return measure(np.asarray(image.convert("RGB")), mpp=float(row["mpp"].split()[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=12, help="good tiles of each slide")
    options = parser.parse_args()
    settings = TileSettings(mpp=0.5, size=512)
    good = defaultdict(list)
    for row in listed(options.data / "he_clean_train"):
        good[row["slide"]].append(row)
    bad = [row for row in listed(options.data / "he_artifacts") if row["slide"] in good]
    found: dict[str, list[Any]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for slide, rows in sorted(good.items()):
        order = rng.permutation(len(rows))[: options.tiles]
        tiles = [measured(rows[k]) for k in order]
        usual = usual_of(tiles)
        found["good"] += [judge(one, usual, settings) for one in tiles]
        for row in bad:
            if row["slide"] == slide:
                found[row["kind"]].append(judge(measured(row), usual, settings))
    print(f"{'':14}{'tiles':>6}{'rejected':>10}{'background':>12}{'artifacts':>11}{'blurred':>9}")
    for kind, judged in found.items():
        reasons = [one.rejected for one in judged]
        shares = [
            np.mean([r is not None for r in reasons]),
            *(np.mean([r == k for r in reasons]) for k in ("background", "artifacts", "blurred")),
        ]
        cells = "".join(f"{s:>{w}.1%}" for s, w in zip(shares, (10, 12, 11, 9), strict=True))
        print(f"{kind:14}{len(judged):>6}{cells}")


if __name__ == "__main__":
    main()
