"""Whether a classifier can tell what it sees, degraded and restored: RSCD's Figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.damage.optical import degrade
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.rows import MethodRow, left_alone
from histomend.evaluate.papers.classifiers import (
    FROZEN,
    SMALL,
    Classifier,
    Labelled,
    Pixels,
    has_efficientnet,
)
from histomend.evaluate.papers.downstream import CLEAN, classifiers, read_labelled
from histomend.evaluate.papers.reproduction import Printed, Reproduced, caveats, command
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Interval, Table, bootstrap

DEPTHS_UM = (40.0, 80.0)
FIG_7 = Printed(
    "Fig. 7",
    {
        "low quality": {"right": "under 24", "wrong": "26", "undecided": "over 50"},
        "restored with RSCD": {"right": "over 75", "wrong": "6", "undecided": "19 or less"},
    },
)


def fig7(setting: Setting) -> Reproduced:
    """Tell classified tiles right, wrong or undecided, degraded and restored."""
    labelled = read_labelled(setting)
    name = FROZEN if has_efficientnet() and not setting.is_tiny else SMALL
    seeds = classifiers(setting, labelled, [name])[name]
    cases = degraded_tiles(labelled)
    ways: list[Any] = [
        left_alone("low quality"),
        MethodRow("median", "baseline", "denoise", "median"),
        MethodRow("RSCD, fast", "ours", "denoise", "rscd", None, {"preset": "fast"}),
    ]
    images: dict[str, Sequence[Pixels]] = {CLEAN: [c.truth for c in cases]}
    for row in ways:
        setting.tell(f"restoring {len(cases)} tiles: {row.name}")
        images[row.name] = [r.pixels for r in setting.store.restored(row, cases)]
    labels = np.array([tile.label for tile in labelled.test])
    shares: dict[str, dict[str, Interval]] = {}
    sure = threshold(seeds, labelled)
    for way, pixels in images.items():
        found = [
            outcome(c.probabilities(pixels), labels, at) for c, at in zip(seeds, sure, strict=True)
        ]
        shares[way] = {
            key: bootstrap(100 * np.mean([one == key for one in found], axis=0))
            for key in ("right", "wrong", "undecided")
        }
    rows = [(way, *(found[k].text(0) for k in found)) for way, found in shares.items()]
    printed = [
        (f"paper, {FIG_7.place}: {row}", *(cells[k] for k in ("right", "wrong", "undecided")))
        for row, cells in FIG_7.rows.items()
    ]
    table = Table(
        f"**Classified right, wrong, or not at all**, in percent of {len(cases)} tiles of "
        f"{len(labelled.classes)} classes of H&E under {DEPTHS_UM[0]:g} to {DEPTHS_UM[1]:g} µm of "
        f"tissue; {name}, mean of {len(seeds)} seeds.",
        command("rscd-fig7", setting),
        ("", "right ↑", "wrong ↓", "non-diagnostic ↓"),
        (*rows, *printed),
        (
            "Non-diagnostic: the highest probability is under the one that 95 % of the clean "
            "training tiles reach. The paper's classifier has a class of its own for that, of "
            "images that experts could not diagnose.",
            "The paper names over 50 % non-diagnostic and another 26 % wrong before, over 75 % "
            "right and 6 % wrong after; what is left follows.",
        ),
    )
    ways_told = ("RSCD, fast", "low quality", "median")
    mine, low, median = (shares[key]["right"].value for key in ways_told)
    behind = []
    if mine < max(low, median):
        better = "low quality" if low > median else "median"
        behind.append(
            f"Classified right: RSCD, fast {mine:.0f} %, {better} {max(low, median):.0f} %."
        )
    return Reproduced(
        "rscd-fig7",
        "RSCD, Figure 7: classified before and after",
        " ".join(
            [
                *caveats(setting),
                "The paper's classifier tells tumour from normal brain in stimulated Raman "
                "histology; this one tells kinds of H&E tissue, so only the direction can be "
                "compared.",
            ]
        ),
        tuple(behind),
        (table,),
        (),
        setting.facts() | {"thresholds": sure},
    )


def degraded_tiles(labelled: Labelled) -> list[Case]:
    """Degrade the test tiles as under tissue."""
    made = []
    for number, tile in enumerate(labelled.test):
        depth = float(np.random.default_rng([8, number]).uniform(*DEPTHS_UM))
        seen = degrade(tile.pixels, seed=number, depth_um=depth, mpp=tile.mpp).pixels
        made.append(Case(tile.name, tile.name, number, np.asarray(seen), tile.pixels, mpp=tile.mpp))
    return made


def threshold(seeds: Sequence[Classifier], labelled: Labelled, share: float = 0.05) -> list[float]:
    """Return for each seed the probability that all but a share of the training tiles reach."""
    images = [tile.pixels for tile in labelled.train]
    return [float(np.quantile(c.probabilities(images).max(axis=1), share)) for c in seeds]


def outcome(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[Any], at: float
) -> npt.NDArray[Any]:
    """Return "right", "wrong" or "undecided" for each tile."""
    right = probabilities.argmax(axis=1) == labels
    told = np.where(right, "right", "wrong")
    return np.where(probabilities.max(axis=1) < at, "undecided", told)
