"""Does compression hide artifacts? Threshold detection on images before and after the autoencoder.

Thresholds are the defaults, which were fitted on all these slides, and those fitted in the same
way on the compressed images: if the second are as good, the images lost nothing that detection
needs, and only the thresholds are others. Run from the repository root::

    python benchmarks/latent_detection.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from detection import CLEAN_PER_SLIDE, at_full_size
from experiment import command, tell
from histomend.detect import threshold as rules
from histomend.detect.threshold import Thresholds
from histomend.diffusion.space import LatentSpace
from histomend.evaluate.tables import Table, bootstrap, write_section
from histomend.models import load_vae
from threshold_search import BLURRED_AREA, FITTED, Case, Change, Judge, dice, load
from vae_reconstruction import reconstructed

Score = Callable[[Case, Thresholds], float]


def dice_of(case: Case, thresholds: Thresholds) -> float:
    """Return the overlap with the hand-checked mask."""
    assert case.mask is not None
    return dice(at_full_size(rules.decide(case.features, thresholds), case), case.mask)


def blurred(case: Case, thresholds: Thresholds) -> float:
    """Return 100 where the image is found to be out of focus, else 0."""
    return 100.0 * (rules.find_blurred(case.features, thresholds).mean() >= BLURRED_AREA)


def marked(case: Case, thresholds: Thresholds) -> float:
    """Return the marked area in %."""
    return 100.0 * rules.decide(case.features, thresholds).mean()


class Images:
    """All images, as they are or through the autoencoder."""

    def __init__(self, data: Path, limit: int | None, through: Change | None = None) -> None:
        self.damaged = load(data / "he_artifacts", per_slide=limit, through=through)
        clean = min(CLEAN_PER_SLIDE, limit or CLEAN_PER_SLIDE)
        self.clean = load(data / "he_clean_train", per_slide=clean, through=through)
        coarse = load(data / "he_clean_10x", per_slide=clean, through=through)
        self.clean += [case for case in coarse if case.stain == "H&E"]
        self.unseen = load(data / "he_clean_val", per_slide=limit, through=through)

    def groups(self) -> list[tuple[str, list[Case], str, Score]]:
        """Return (kind, images, name of the score, score) for each row."""
        found: list[tuple[str, list[Case], str, Score]] = []
        for kind in (*FITTED, "streak"):
            mine = [c for c in self.damaged if c.kind == kind and c.mask is not None]
            found.append((kind.replace("_", " "), mine, "Dice ↑", dice_of))
        vague = [c for c in self.damaged if c.kind == "out_of_focus"]
        found.append(("out of focus", vague, "marked as blurred, % ↑", blurred))
        found.append(("clean", self.unseen, "marked as blurred, % ↓", blurred))
        found.append(("clean", self.unseen, "area marked, % ↓", marked))
        return [group for group in found if group[1]]


def main() -> None:
    """Detect on both, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="folder with he_artifacts")
    add("--vae", default="src/histomend/weights/latent-artifusion-he/vae", help="folder")
    add("--limit", type=int, help="images of each slide")
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(chosen.threads)
    space = LatentSpace(load_vae(chosen.vae))
    plain = Images(chosen.data, chosen.limit)
    tell("measured the images as they are")
    packed = Images(chosen.data, chosen.limit, partial(reconstructed_whole, space))
    tell("measured the images through the autoencoder")
    usual = Thresholds()
    fitted = Judge(packed.damaged, packed.clean).fit(usual)
    tell("fitted thresholds to the images through the autoencoder")
    rows = []
    for (kind, before, name, score), (_, after, *_) in zip(
        plain.groups(), packed.groups(), strict=True
    ):
        slides = [case.slide for case in before]
        columns = [
            np.array([score(case, thresholds) for case in cases])
            for cases, thresholds in ((before, usual), (after, usual), (after, fitted))
        ]
        cells = [bootstrap(values, groups=slides).text() for values in columns]
        change = bootstrap(columns[1] - columns[0], groups=slides).text()
        rows.append((kind, str(len(before)), name, *cells, change))
    table = Table(
        "**Detection with and without compression**: threshold detection on real artifacts and "
        "on clean tiles of slides that no training used, as they are and after one pass through "
        "the autoencoder. Dice: overlap with hand-checked masks. The default thresholds were "
        "fitted on these slides, the others in the same way on the compressed images, so neither "
        "column says how well unseen slides do (detection.md does).",
        command(),
        (
            "kind",
            "images",
            "score",
            "as it is",
            "compressed",
            "compressed, own thresholds",
            "compressed − as it is",
        ),
        tuple(rows),
        ("Means over images with 95 % intervals, drawing slides with replacement.",),
    )
    write_section(chosen.out, "detection", table.markdown())
    print(table.markdown(), f"\nwrote {chosen.out}")


def reconstructed_whole(space: LatentSpace, pixels: np.ndarray) -> np.ndarray:
    """Return an image of any size after one pass through the latent."""
    height, width = pixels.shape[:2]
    return reconstructed(space, pixels)[:height, :width]


if __name__ == "__main__":
    main()
