"""What restored fields are measured by: each by itself, and as sets.

Used by the other ``rscd_*.py``; nothing to run here. A measure whose weights are not at hand has
no column: a line below the table says so instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histomend.errors import MissingDependencyError, ModelNotFoundError
from histomend.evaluate.column import Column, Place, unavailable
from histomend.evaluate.columns import MEASURES
from histomend.evaluate.encoder import FEATURES, Describes
from histomend.evaluate.harness.judges import Fields, Judge
from histomend.evaluate.harness.opening import PART_PX, set_judge
from histomend.evaluate.pretrained import features
from histomend.evaluate.tables import Interval, bootstrap

DIGITS = {"fid": 2, "kid": 3, "cmmd": 3}


def paired(places: Mapping[str, Path | None]) -> Judge:
    """Return measures of each pair by itself, as means over fields.

    Parameters
    ----------
    places : by names of `histomend.evaluate.columns.MEASURES`, where their weights are

    Raises
    ------
    MissingDependencyError, ModelError
        A network or its weights are not at hand.
    """
    columns = tuple(column for name in places for column in MEASURES[name].columns)
    loaded = [MEASURES[name].load(Place(given)) for name, given in places.items()]

    def measure(fields: Fields) -> dict[str, Interval]:
        truth, restored = np.stack(fields.truth), np.stack(fields.restored)
        return {
            key: bootstrap(found, groups=fields.groups)
            for compare in loaded
            for key, found in compare(truth, restored).items()
        }

    return Judge(columns, measure)


def fidelity() -> Judge:
    """Return PSNR and SSIM, means over fields."""
    return paired({"psnr": None, "ssim": None})


def distances(describes: Describes, names: Mapping[str, str], part_px: int | None) -> Judge:
    """Return distances between sets, on the features of a network.

    Parameters
    ----------
    describes : Describes
    names : of the columns, by "fid", "kid" and "cmmd"; those that are not named are left out
    part_px : int, optional
        Side of the parts of a field that are described each by itself; by default all of it.
    """
    columns = [
        Column(f"{kind}, {describes.name}", name, "lower", DIGITS[kind])
        for kind, name in names.items()
    ]
    return set_judge(describes, columns, part_px)


@dataclass(frozen=True)
class Weights:
    """Where the weights of networks that judge are, for those that are at hand.

    Parameters
    ----------
    inception : Path, optional
        File of FID's Inception-v3.
    clip : str, optional
        Folder, or name on the hub.
    lpips : Path, optional
        Folder with AlexNet and the layers on top.
    encoder : Path, optional
        Folder of our histology encoder.
    """

    inception: Path | None = None
    clip: str | None = None
    lpips: Path | None = None
    encoder: Path | None = None

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add an option for each."""
        add = parser.add_argument
        add("--inception", type=Path, help="file of FID's Inception-v3, for FID and KID")
        add("--clip", help="folder of CLIP, for CMMD")
        add("--lpips", type=Path, help="folder of AlexNet and LPIPS's layers, for LPIPS")
        add("--encoder", type=Path, help="folder of our histology encoder, for all three distances")

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Weights:
        """Take them from the options."""
        return cls(chosen.inception, chosen.clip, chosen.lpips, chosen.encoder)

    def judges(self) -> tuple[list[Judge], list[str]]:
        """Load what is at hand: fidelity and perceptual measures, and notes below the table.

        The notes say which columns are missing and why, and what the own encoder is.
        """

        def inception(weights: Path) -> Judge:
            return distances(features("inception", weights), {"fid": "FID", "kid": "KID"}, None)

        def clip(weights: str) -> Judge:
            return distances(features("clip", weights), {"cmmd": "CMMD"}, None)

        def own(weights: Path) -> Judge:
            names = {"fid": "FID (own)", "kid": "KID (own)", "cmmd": "CMMD (own)"}
            return distances(features("histology", weights), names, PART_PX["own_encoder"])

        loaded, notes = [fidelity()], []
        for columns, network, option, load in (
            (
                "LPIPS",
                "AlexNet and LPIPS's own",
                "lpips",
                lambda w: paired({"lpips": w}),
            ),
            ("FID and KID", "Inception-v3", "inception", inception),
            ("CMMD", "CLIP", "clip", clip),
            ("FID, KID and CMMD (own)", "our histology encoder's", "encoder", own),
        ):
            weights = getattr(self, option)
            needs, reason = f"{network} weights (--{option})", None
            if weights is not None:
                try:
                    loaded.append(load(weights))
                    continue
                except (MissingDependencyError, ModelNotFoundError) as error:
                    reason = error
            notes.append(unavailable(columns, needs, reason))
        if self.encoder is not None:
            notes.append(
                f"(own): at most {FEATURES} features of our own histology encoder, on parts of "
                f"{PART_PX['own_encoder']} px; these figures compare with no published ones."
            )
        return loaded, notes
