"""Data sets by name: where they are on this machine, or how to get them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histomend.errors import InputError

VARIABLE = "HISTOMEND_DATA"


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set.

    Attributes
    ----------
    about : str
        What its folder holds.
    how : str
        How to get it.
    """

    about: str
    how: str


_ATLAS = (
    "Cut your own by `histomend tiles SLIDES -o FOLDER`, from slides of the Pathology Atlas "
    "(github.com/pathologyatlas, MIT) for instance"
)
DATASETS: dict[str, Dataset] = {
    "he_clean_train": Dataset(
        "artifact-free H&E tiles of 512×512 px at 0.5 um, with manifest.csv (file, slide, mpp)",
        f"{_ATLAS}.",
    ),
    "he_clean_val": Dataset(
        "the same from slides that are in no training", f"{_ATLAS}, other slides than for training."
    ),
    "he_artifacts": Dataset(
        "crops with real artifacts and masks, with manifest.csv (file, kind, mask, mpp)",
        "Mark artifacts of your slides in QuPath or by `histomend view`, and crop them.",
    ),
    "labelled_tissue": Dataset(
        "a folder for each class of tissue, with manifest.csv (file, class, split, slide, mpp)",
        "NCT-CRC-HE-100K and CRC-VAL-HE-7K (zenodo.org/records/1214456, CC BY 4.0) are what the "
        "paper took; write a manifest for them.",
    ),
    "microscopy_noisy": Dataset(
        "pairs of real noisy and clean images, with manifest.csv (noisy, clean)",
        "W2S (github.com/IVRL/w2s) or FMD (github.com/yinhaoz/denoising-fluorescence).",
    ),
    # What the papers took. They are asked for at the scale of the papers.
    "camelyon17_clean": Dataset(
        "2,445 artifact-free tiles of 256×256 px of CAMELYON17 in train/, 462 in test/, each with "
        "manifest.csv",
        "camelyon17.grand-challenge.org (CC0); ArtiFusion's authors name no list of tiles.",
    ),
    "srh": Dataset(
        "4,500 patches of stimulated Raman histology that experts selected, and 2,135 nearly "
        "registered pairs",
        "Neither was published; OpenSRH (opensrh.mlins.org) holds other patches, without pairs.",
    ),
    "tcga_prad": Dataset(
        "200,000 tiles of 512×512 px at 0.25 um of TCGA-PRAD in train/, 2,000 in test/, each with "
        "manifest.csv",
        "portal.gdc.cancer.gov, then `histomend tiles`.",
    ),
}


@dataclass(frozen=True)
class Data:
    """A folder that holds data sets by their names.

    Parameters
    ----------
    folder : Path, optional
        By default that of the environment variable HISTOMEND_DATA.
    """

    folder: Path | None = None

    @property
    def root(self) -> Path | None:
        """The folder, wherever it was named."""
        if self.folder is not None:
            return self.folder
        named = os.environ.get(VARIABLE)
        return Path(named) if named else None

    def has(self, name: str) -> bool:
        """Return whether a data set is there."""
        return self.root is not None and (self.root / name).is_dir()

    def of(self, name: str) -> Path:
        """Return the folder of a data set.

        Raises
        ------
        InputError
            It is not there; the message says what it is and how to get it.
        """
        if self.root is not None and self.has(name):
            return self.root / name
        wanted = DATASETS[name]
        where = (
            f"neither --data nor {VARIABLE} names a folder"
            if self.root is None
            else f"{self.root} has no folder of that name"
        )
        raise InputError(
            f"The data set {name} is needed, and {where}. It is {wanted.about}. {wanted.how}"
        )


def about_slides(folder: Path, files: Sequence[str], trained_on: Path | None = None) -> str:
    """Say of which slides tiles are, and whether a training can have seen them.

    Parameters
    ----------
    folder : with the manifest.csv of the tiles (file, slide, and split where there is one)
    files : those that are taken
    trained_on : folder of the tiles of the trainings that they are compared by, with a manifest

    Returns
    -------
    str
        Such as "2 slides of which no tile was trained on here".
    """
    rows = [row for row in _listed(folder) if row["file"] in set(files)]
    slides = {row["slide"] for row in rows}
    count = f"{len(slides)} slide{'' if len(slides) == 1 else 's'}"
    if trained_on is not None:
        shared = slides & {row["slide"] for row in _listed(trained_on)}
        if shared:
            return f"{count}, of which {len(shared)} are in the tiles that were trained on"
        return f"{count} of which no tile was trained on here"
    splits = {row.get("split", "") for row in rows}
    if splits <= {"val", "test"}:
        return f"{count} that the manifest holds out (split {' and '.join(sorted(splits))})"
    return f"{count}, of which nothing says that no training saw them"


def _listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
