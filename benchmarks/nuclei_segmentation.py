"""Validate the nuclei segmenter on drawn nuclei, and time it and the measures that rest on it.

Run from the repository root::

    python benchmarks/nuclei_segmentation.py --sheets runs/nuclei

The drawn nuclei are of the 2018 Data Science Bowl, mostly purple and of unstated scale; with
``--sheets`` the outlines on H&E fields are written at 4x, to be looked at.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from histomend.evaluate import nuclei
from histomend.evaluate.hover import Segmenter, nuclei_segmenter
from histomend.evaluate.instances import InstanceScores, instance_scores
from histomend.evaluate.nuclear_features import nuclear_l1
from histomend.evaluate.tables import Table, bootstrap, write_section

COLUMNS = ("Dice ↑", "AJI ↑", "detected, F1 ↑", "outline, IoU ↑", "PQ ↑")
# The scale at which the median drawn nucleus would be this large, as no other is stated.
MEDIAN_UM2 = 45.0
MPP_LIMITS = (0.15, 1.2)
# The segmenter's constants that were tried; the best by PQ on the first half is a row.
TRIED: tuple[dict[str, float], ...] = (
    {"SURROUNDINGS_UM": 8.0},
    {"DEPTH_SMOOTHING_UM": 1.0},
    {"SURROUNDINGS_UM": 8.0, "DEPTH_SMOOTHING_UM": 1.0},
    {"SURROUNDINGS_UM": 8.0, "DEPTH_SMOOTHING_UM": 1.0, "SPLIT_DEPTH_UM": 0.2},
)


@dataclass(frozen=True)
class Drawn:
    """An image with drawn nuclei: pixels (H, W, 3) uint8 and labels (H, W) int32."""

    pixels: np.ndarray
    labels: np.ndarray
    mpp: float


def main() -> None:
    """Measure, print, and write the section; and pictures where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/nuclei"))
    parser.add_argument("--fields", type=Path, default=Path("../shared/data/he_clean_val"))
    parser.add_argument("--nuclei-weights", type=Path, help="A file of HoVer-Net, for another row.")
    parser.add_argument("--tune", action="store_true", help="Try other constants, for another row.")
    parser.add_argument("--sheets", type=Path, help="Folder for outlines at 4x.")
    parser.add_argument("--out", type=Path, default=Path("docs/results/nuclei.md"))
    chosen = parser.parse_args()
    images = drawn(chosen.data)
    halves = images[::2], images[1::2]
    rows = []
    for name, half in zip(("first half", "second half"), halves, strict=True):
        rows.append((f"default, {name}", *cells(scores(nuclei.segment_nuclei, half))))
        print(*rows[-1], flush=True)
    if chosen.tune:
        best = tuned(halves[0])
        with constants(best):
            label = ", ".join(f"{name} {value:g}" for name, value in best.items())
            rows.append((f"{label}, second half", *cells(scores(nuclei.segment_nuclei, halves[1]))))
        print(*rows[-1], flush=True)
    if chosen.nuclei_weights:
        found = scores(nuclei_segmenter(chosen.nuclei_weights), halves[1])
        rows.append((f"HoVer-Net {chosen.nuclei_weights.name}, second half", *cells(found)))
    table = Table(
        f"**The nuclei segmenter against drawn nuclei**: {len(images)} images of the 2018 Data "
        f"Science Bowl (CC0), {sum(image.labels.max() for image in images)} nuclei, mean over "
        "images with a 95 % interval from drawing images. Their scale is unstated: the median "
        f"nucleus is taken for {MEDIAN_UM2:g} µm², which looks at the labels. Halves by name, "
        "alternately; some fields are of the same slide, so the intervals are too narrow. A "
        "nucleus is detected where more than half of the union with a drawn one is shared.",
        shlex.join(["python", "benchmarks/nuclei_segmentation.py", *sys.argv[1:]]),
        ("", *COLUMNS),
        tuple(rows),
        (speed(chosen.fields),),
    )
    write_section(chosen.out, "segmentation", table.markdown())
    print(f"wrote {chosen.out}")
    if chosen.sheets:
        write_sheet(chosen.fields, chosen.sheets)


def drawn(folder: Path) -> list[Drawn]:
    """Read the images with labels in the order of their names."""
    found = []
    with (folder / "manifest.csv").open(newline="") as file:
        entries = sorted(csv.DictReader(file), key=lambda entry: entry["file"])
    for entry in entries:
        labels = np.asarray(Image.open(folder / entry["label_file"])).astype(np.int32)
        areas = np.bincount(labels.ravel())[1:]
        mpp = float(np.clip(np.sqrt(MEDIAN_UM2 / np.median(areas[areas > 0])), *MPP_LIMITS))
        found.append(Drawn(rgb(folder / entry["file"]), labels, mpp))
    return found


def rgb(path: Path) -> np.ndarray:
    """Read an image as (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def scores(segment: Segmenter, images: list[Drawn]) -> list[InstanceScores]:
    """Segment all images and compare each with its drawn nuclei."""
    return [instance_scores(image.labels, segment(image.pixels, image.mpp)) for image in images]


def cells(found: list[InstanceScores]) -> tuple[str, ...]:
    """Write a row."""
    names = ("dice", "aji", "detection", "outline", "pq")
    return tuple(bootstrap([getattr(one, name) for one in found]).text() for name in names)


def tuned(images: list[Drawn]) -> dict[str, float]:
    """Return the constants tried that have the best PQ."""
    quality = []
    for tried in TRIED:
        with constants(tried):
            quality.append(np.mean([one.pq for one in scores(nuclei.segment_nuclei, images)]))
        print(f"PQ {quality[-1]:.4f}", tried, flush=True)
    return TRIED[int(np.argmax(quality))]


@contextmanager
def constants(values: Mapping[str, float]) -> Iterator[None]:
    """Give the segmenter other constants for a while."""
    before = {name: getattr(nuclei, name) for name in values}
    for name, value in values.items():
        setattr(nuclei, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(nuclei, name, value)


def speed(fields: Path) -> str:
    """Time the segmenter and both L1 measures on one H&E field, as a sentence."""
    pixels = rgb(sorted(fields.glob("*.jpg"))[0])
    nuclei.segment_nuclei(pixels[:64, :64])  # so that no import is timed
    begun = time.process_time()
    labels = nuclei.segment_nuclei(pixels)
    segmented = time.process_time() - begun
    # Nine fields' worth of nuclei at once, each with a number of its own, one grey level brighter.
    many, numbers = np.tile(pixels, (3, 3, 1)), np.tile(labels, (3, 3))
    turns = np.kron(np.arange(9).reshape(3, 3), np.ones(labels.shape, np.int32))
    numbers = np.where(numbers, numbers + turns * labels.max(), 0)
    begun = time.process_time()
    count = nuclear_l1(many, np.minimum(many, 254) + 1, numbers).nuclei
    compared = time.process_time() - begun
    return (
        f"In processor time, a {pixels.shape[1]}×{pixels.shape[0]} field is segmented in "
        f"{segmented:.1f} s, and L1-intensity and L1-texture of {count} nuclei take "
        f"{compared:.1f} s ({count / compared:.0f} nuclei/s)."
    )


def write_sheet(fields: Path, out: Path, zoom: int = 4, crop: tuple[int, int] = (112, 144)) -> None:
    """Write the middles of twelve fields with the outlines of their nuclei, three in a row."""
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(fields.glob("*.jpg"))
    tiles = []
    for path in files[:: max(1, len(files) // 12)][:12]:
        pixels = rgb(path)
        top, left = ((length - part) // 2 for length, part in zip(pixels.shape, crop, strict=False))
        view = np.s_[top : top + crop[0], left : left + crop[1]]
        larger = np.ones((zoom, zoom), np.int32)
        outlines = find_boundaries(
            np.kron(nuclei.segment_nuclei(pixels)[view], larger), mode="inner"
        )
        picture = np.kron(pixels[view], larger[..., None].astype(np.uint8))
        picture[outlines] = (0, 255, 0)
        tiles.append(picture)
    rows = [np.concatenate(tiles[start : start + 3], 1) for start in range(0, len(tiles), 3)]
    for number in range(0, len(rows), 2):
        page = np.concatenate(rows[number : number + 2])
        Image.fromarray(page).save(out / f"outlines-{number // 2 + 1}.png")


if __name__ == "__main__":
    main()
