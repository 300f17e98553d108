"""Training data: tiles in a folder, packed once, cropped at random."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from accelerate import PartialState

from histomend.damage.shapes import random_mask
from histomend.diffusion.device import torch_device
from histomend.errors import InputError, SettingError, TrainingError, display_name
from histomend.image import check_target
from histomend.image.regular_files import MOST_MANIFEST, check_regular_file, read_text
from histomend.image.tile_reading import read_tile, tile_size
from histomend.train.packed import packing
from histomend.train.shared_options import MixedOptions, TrainingOptions

_log = logging.getLogger(__name__)
T = TypeVar("T")
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".avif", ".webp"}
LIGHT_SHARE = 0.1
FOREIGN_SHARE = 0.15
LIFTED_SHARE = 0.3
# Of the masks, those that are bands, and their half widths in px (first, and one past the last).
SEAM_SHARE = 0.3
SEAM_HALF_WIDTH_PX = (1, 6)


class Tiles:
    """Equal-sized tiles of a folder, with the slide each comes from.

    A `manifest.csv` with columns `file` and `slide` names the slides; without one every folder
    (or, in a flat folder, every file) counts as a slide. Tiles are decoded once into one flat
    file, which is mapped into memory, so several trainings share it.

    Parameters
    ----------
    folder : Path
    cache : Path
        Folder for the packed tiles.
    grey : bool
        Read images of one channel, of 8 or 16 bits; each file counts as a slide unless the
        manifest says otherwise.
    split : str, optional
        Take only these, if the manifest has a column `split` with such rows.

    Attributes
    ----------
    pixels : (N, H, W, 3) uint8, or (N, H, W, 1) uint16 where grey
    slides : one array of tile numbers per slide
    key : str
        Names these tiles in the cache; others, or changed ones, have another.

    Raises
    ------
    TrainingError
        If there are no images, one cannot be read or is smaller than 64×64, or the manifest
        does not fit the folder.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        *,
        grey: bool = False,
        split: str | None = None,
    ):
        files, slides = _listed(folder, grey, split)
        if not files:
            raise TrainingError(
                f"No images were found in {folder}. Training needs a folder of artifact-free "
                f"tiles ({', '.join(sorted(SUFFIXES))}), and a manifest.csv with the columns "
                "file and slide if there is more than one slide."
            )
        self.files = files
        kind = ["grey"] if grey else []
        key = hashlib.sha256(os.fsencode("\n".join([*map(_identity, files), *kind]))).hexdigest()[
            :12
        ]
        self.key = key
        packed = cache / f"tiles-{key}.npy"
        if not packed.exists():
            _log.info(
                "packing %d tiles of %s into %s", len(files), *map(display_name, (folder, packed))
            )
            _pack(files, packed, grey)
        self.grey = grey
        self.pixels: np.ndarray = np.load(packed, mmap_mode="r")
        by_slide: dict[str, list[int]] = defaultdict(list)
        for index, slide in enumerate(slides):
            by_slide[slide].append(index)
        self.slides = [np.array(v) for _, v in sorted(by_slide.items())]

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random (size, size, C) crop, each slide being equally likely.

        The crop is turned and mirrored at random, and its stain is varied (`vary_stain`), or its
        brightness where it is grey (`vary_signal`). One in
        `LIGHT_SHARE` is the lightest of a few: bare glass and fat are rare in tiles that were
        picked for their tissue, and a model that never saw them paints tissue there.
        """
        crop = self.cut(rng, size)
        if rng.random() < LIGHT_SHARE:
            crop = max([crop, *(self.cut(rng, size) for _ in range(3))], key=np.mean)
        crop = turned(crop, rng)
        return vary_signal(crop, rng) if self.grey else vary_stain(crop, rng)

    def cut(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random (size, size, C) crop as it is in the file."""
        slide = self.slides[rng.integers(len(self.slides))]
        tile = self.pixels[slide[rng.integers(len(slide))]]
        y, x = (int(rng.integers(n - size + 1)) for n in tile.shape[:2])
        return tile[y : y + size, x : x + size]


@dataclass(frozen=True)
class Sources:
    """The tiles of a training.

    Parameters
    ----------
    main, held_out, further : Tiles
        For training, for the figures, and for a share of the crops.
    share : float in [0, 1]
        That share.
    """

    main: Tiles
    held_out: Tiles
    further: Tiles
    share: float

    @property
    def mixed(self) -> Mixed:
        """Where the crops of a training come from."""
        return Mixed(self.main, self.further, self.share)


def open_sources(
    options: TrainingOptions,
    *,
    crop: int | None = None,
    grey: bool = False,
    grey_extra: bool | None = None,
) -> Sources:
    """Return the tiles in `data`, and in `validation` and `extra` or else those of `data` again.

    Where the manifest of `data` splits its tiles, the training takes "train", and the figures
    "val" unless there is a folder `validation`.

    Parameters
    ----------
    options : TrainingOptions
    crop : int, optional
        Side in px of what is cut out of a tile, if it is not that of the options.
    grey, grey_extra : bool
        Read images of one channel; those of `extra` like the others unless given.

    Raises
    ------
    TrainingError
        If a folder holds no usable tiles, or crops do not fit into them.
    OutputError
        If the folder of the run cannot be made or written to.
    """
    crop = options.crop if crop is None else crop
    cache, data, extra, share = options.cache_folder, options.data, None, 0.0
    if isinstance(options, MixedOptions):
        extra, share = options.extra, options.extra_share
    # Before anything is packed: the run may have no place to go to.
    check_target(options.out / "run.json", force=True, new_folder=True)
    # Of several processes one packs the tiles, and the others find them packed.
    on_cpu = torch_device(options.device).type == "cpu"
    with PartialState(cpu=on_cpu).local_main_process_first():
        main = Tiles(data, cache, grey=grey, split="train")
        held_out = Tiles(options.validation or data, cache, grey=grey, split="val")
        further_grey = grey if grey_extra is None else grey_extra
        further = Tiles(extra, cache, grey=further_grey) if extra is not None else main
    for tiles in (main, held_out, further):
        if min(tiles.pixels.shape[1:3]) < crop:
            raise TrainingError(
                f"Crops of {crop} px do not fit into tiles of {tiles.pixels.shape[2]}×"
                f"{tiles.pixels.shape[1]}. Use a smaller --crop or larger tiles."
            )
    return Sources(main, held_out, further, share)


class Mixed:
    """Main tiles and, for a share of the crops, further ones: another stain or magnification.

    Parameters
    ----------
    main, extra : Tiles, or both Latents
    share : float in [0, 1]
        Share of the crops that are taken from `extra`.
    """

    def __init__(self, main: Crops, extra: Crops, share: float):
        if not 0 <= share <= 1:
            raise SettingError(f"--extra-share is {share}, but must be between 0 and 1.")
        self.main, self.extra, self.share = main, extra, share

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random crop, as `main` and `extra` give them."""
        return (self.extra if rng.random() < self.share else self.main).crop(rng, size)


class Crops(Protocol):
    """Where training crops come from."""

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random crop, size × size pixels or cells."""


def turned(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (side, side, 3) crop turned and mirrored at random."""
    crop = np.rot90(crop, int(rng.integers(4)))
    return crop[:, ::-1] if rng.integers(2) else crop


def vary_signal(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (side, side, 1) uint16 crop as if it had been exposed differently.

    It becomes up to three times brighter, as far as its brightest place stays in range, or up to
    three times darker. A share of `LIFTED_SHARE` gets an even background as well, as far as the
    range reaches: without it, noise on anything but black is not known for what it is.
    """
    brightest = min(3.0, 65535 / max(int(crop.max()), 1))
    gain = np.exp(rng.uniform(np.log(1 / 3), np.log(brightest)))
    values = crop * gain
    if rng.random() < LIFTED_SHARE:
        values += rng.uniform(0, 65535 - values.max())
    return np.rint(values).astype(np.uint16)


def vary_stain(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an (H, W, 3) uint8 crop as if it were stained or scanned a little differently.

    Each channel's optical density is scaled by 0.8 to 1.25. One crop in `FOREIGN_SHARE` gets
    the channels' densities mixed as well, into colours that no H&E slide has: only the visible
    surround says what colour a gap must get, and so the model learns to look there. Glass stays
    white.
    """
    gains = np.exp(rng.uniform(-0.12, 0.12) + rng.uniform(-0.12, 0.12, 3))
    if rng.random() >= FOREIGN_SHARE:
        levels = np.linspace(0, 1, 256)
        tables = np.rint(255 * levels[:, None] ** gains).astype(np.uint8)
        return np.stack([tables[:, c][crop[..., c]] for c in range(3)], -1)
    mixing = np.eye(3) + rng.uniform(0, 1) * (rng.dirichlet(np.ones(3), 3) - np.eye(3))
    density = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1) / 255)
    mixed = density[crop] @ (mixing.T * gains).astype(np.float32)
    return np.rint(255 * np.exp(-mixed)).astype(np.uint8)


def batch(
    source: Crops, rng: np.random.Generator, count: int, size: int, unconditional: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return crops (count, 3, size, size) float32 in [-1, 1] and masks (count, 1, size, size).

    Parameters
    ----------
    source : Tiles or Mixed
    unconditional : float in [0, 1]
        Share of samples whose mask covers everything, which trains the paper's
        unconditional denoiser with the same weights.
    """
    images = np.stack([source.crop(rng, size) for _ in range(count)])
    masks = np.stack(
        [
            np.ones((size, size), bool)
            if rng.random() < unconditional
            else _training_mask(size, rng)
            for _ in range(count)
        ]
    )
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    return pixels / 127.5 - 1, masks[:, None].astype(np.float32)


def _training_mask(size: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw what is hidden in a crop, (size, size): a whole artifact, or a band along its border.

    Bands are what the preset `exemplar` draws again along its seams; they see tissue on both sides.
    """
    region = random_mask((size, size), rng, area=float(rng.uniform(0.1, 0.6)))
    if rng.random() >= SEAM_SHARE:
        return region
    width = 2 * int(rng.integers(*SEAM_HALF_WIDTH_PX)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0


def _identity(path: Path) -> str:
    """Return what tells a file from others, and from what it was before it was exchanged."""
    check_regular_file(path, TrainingError)
    stat = path.stat()
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _listed(folder: Path, grey: bool, split: str | None) -> tuple[list[Path], list[str]]:
    manifest = folder / "manifest.csv"
    if manifest.exists():
        try:
            text = read_text(manifest, MOST_MANIFEST, TrainingError, "a manifest")
            table = csv.DictReader(io.StringIO(text, newline=""))
            needed = {"file"} if grey else {"file", "slide"}
            missing = needed - set(table.fieldnames or ())
            rows = list(table) if not missing else []
        except (ValueError, csv.Error) as error:
            raise TrainingError(
                f"{manifest} cannot be read as a table ({error}). Save it as CSV in UTF-8."
            ) from error
        if missing:
            raise TrainingError(
                f"{manifest} has no column {' and no column '.join(sorted(missing))}. Its first "
                "line must name the columns file and slide; others but split are ignored."
            )
        if any(row.get("split") == split for row in rows):
            rows = [row for row in rows if row.get("split") == split]
        rows = [row for row in rows if Path(row["file"] or "").suffix.lower() in SUFFIXES]
        files = [folder / row["file"] for row in rows]
        gone = [path for path in files if not path.is_file()]
        if gone:
            raise TrainingError(
                f"{manifest} names {len(gone)} files that are not there, the first is {gone[0]}. "
                "Copy them, or take their lines out."
            )
        return files, [row.get("slide", row["file"]) or "" for row in rows]
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    flat = all(p.parent == folder for p in files)
    return files, [str(p if flat else p.parent) for p in files]


def _pack(files: list[Path], packed: Path, grey: bool) -> None:
    """Decode all tiles, cut to the smallest height and width among them, into one .npy."""
    sizes = [_usable(path, tile_size) for path in files]
    width, height = (min(s[k] for s in sizes) for k in (0, 1))
    if min(width, height) < 64:
        raise TrainingError(
            f"The smallest tile in {files[0].parent} is {width}×{height}; at least 64×64 is needed."
        )
    shape = (len(files), height, width, 1 if grey else 3)
    with packing(packed, shape, np.uint16 if grey else np.uint8) as out:
        for index, path in enumerate(files):
            pixels = _usable(path, partial(read_tile, grey=grey))
            out[index] = pixels[:height, :width]


def _usable(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except InputError as error:
        raise TrainingError(
            f"{path} cannot be read as an image ({error}). Replace it or take it out of the folder."
        ) from error
