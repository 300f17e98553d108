"""Cut the tiles of one slide."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histomend.curate.judging import BACKGROUND, REASONS, Usual, judge, usual_of
from histomend.curate.places import Places, spread, tissue_shares
from histomend.curate.settings import TileSettings
from histomend.detect.features import measure
from histomend.errors import ImageSizeError, InputError
from histomend.image import write_image
from histomend.slides.scans import Scan, open_scan

Advance = Callable[[int, int], None]

# Tiles that a slide's usual darkness and sharpness are learned from.
_SAMPLE = 48
# The overview sees less than a tile does, so a place is looked at if it shows a part of the share.
_BENEFIT_OF_DOUBT = 0.75


@dataclass(frozen=True)
class CutSlide:
    """What was cut from a slide, and what was not.

    Attributes
    ----------
    mpp : micrometres per pixel of the tiles.
    source_mpp : the same of the slide's level 0.
    places : number of places of the grid over the slide.
    rejected : how many of them for each of `REASONS`.
    unseen : how many were not looked at, as there were tiles enough.
    usual : the tissue that tiles were compared with.
    tiles : one row each for the manifest, without slide and split, from top to bottom.
    """

    mpp: float
    source_mpp: float
    places: int
    rejected: dict[str, int]
    unseen: int
    usual: Usual
    tiles: tuple[dict[str, Any], ...]


def cut_slide(
    path: Path,
    name: str,
    folder: Path,
    settings: TileSettings,
    advance: Advance | None = None,
    *,
    sha256: str | None = None,
) -> CutSlide:
    """Write the good tiles of a slide into a folder that exists.

    The same slide, name and settings give the same files.

    Parameters
    ----------
    path : the slide, or an image.
    name : what it is called; decides, with the seed, which tiles are taken where there are more.
    folder : tiles become x{x}_y{y}.png there, after their corner at level 0.
    settings : what is wanted.
    advance : told (places looked at, of all that show tissue).
    sha256 : of the slide, if it is known already.

    Raises
    ------
    InputError
        If the slide cannot be read, is coarser than the tiles, smaller than one, or shows no
        tissue.
    OutputError
    """
    with open_scan(path, source_mpp=settings.source_mpp, sha256=sha256) as scan:
        mpp = scan.mpp_near(settings.mpp)
        places, count = _tissue_places(scan, mpp, settings)
        digest = hashlib.sha256(name.encode()).digest()
        rng = np.random.default_rng([settings.seed, int.from_bytes(digest[:8], "little")])
        size = settings.size

        def pixels_of(row: int, column: int) -> np.ndarray:
            return scan.read((column * size, row * size, size, size), mpp)

        sample = spread(places, _SAMPLE, rng)[:_SAMPLE]
        usual = usual_of(measure(pixels_of(*place), mpp=mpp) for place in sample.tolist())
        most = settings.per_slide or len(places)
        rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        rejected[BACKGROUND] = count - len(places)
        tiles: dict[tuple[int, int], dict[str, Any]] = {}
        for seen, (row, column) in enumerate(spread(places, most, rng).tolist()):
            if len(tiles) == most:
                break
            pixels = pixels_of(row, column)
            judged = judge(measure(pixels, mpp=mpp), usual, settings)
            if judged.rejected is not None:
                rejected[judged.rejected] += 1
            else:
                step = size * mpp / scan.mpp
                x, y = round(column * step), round(row * step)
                file = f"x{x}_y{y}.png"
                write_image(folder / file, pixels, mpp=mpp, force=True)
                tiles[row, column] = {
                    "file": file,
                    "x": x,
                    "y": y,
                    "mpp": mpp,
                    "tissue": round(judged.tissue, 3),
                    "artifacts": round(judged.artifacts, 4),
                    "sharpness": round(judged.sharpness, 3),
                }
            if advance is not None:
                advance(seen + 1, len(places))
        return CutSlide(
            mpp,
            scan.mpp,
            count,
            dict(rejected),
            count - sum(rejected.values()) - len(tiles),
            usual,
            tuple(tiles[place] for place in sorted(tiles)),
        )


def _tissue_places(scan: Scan, mpp: float, settings: TileSettings) -> tuple[Places, int]:
    """Return (row, column) of the places that show tissue, and how many places there are."""
    width, height = scan.size_at(mpp)
    if min(width, height) < settings.size:
        raise ImageSizeError(
            f"{scan.path}: at {mpp:g} um per pixel it has {width} x {height} px, less than one "
            f"tile of {settings.size} px. Ask for a smaller --size or a finer --mpp (it has "
            f"{scan.mpp:g}), or leave it out."
        )
    shares = tissue_shares(scan, mpp, settings.size)
    places = np.argwhere(shares >= _BENEFIT_OF_DOUBT * settings.tissue)
    if len(places) == 0:
        raise InputError(
            f"{scan.path}: no tissue was found: of {shares.size} places the fullest shows "
            f"{shares.max():.0%}, and {settings.tissue:.0%} are wanted. "
            "Ask for a smaller --tissue or --size, or leave the file out."
        )
    return places, shares.size
