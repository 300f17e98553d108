"""Holes in clean tissue and what is measured of their fillings; used by `exemplar_table.py`.

A hole is blacked out in a tile of 512 px, and the tile is all that a row may use.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.metrics import structural_similarity

from histomend.damage.shapes import random_mask
from histomend.evaluate import realism, texture
from histomend.evaluate.distances import Sets, kid
from histomend.evaluate.efficientnet import EfficientNetEncoder
from histomend.evaluate.tables import Interval, bootstrap, geometric_mean
from histomend.image import read_image

AREAS = (0.01, 0.03, 0.1)
# Side in px of what the encoder of the KID sees, and how many of them a hole gives.
CROP = 96
CROPS = {0.01: 1, 0.03: 2, 0.05: 3, 0.1: 4}
# The encoder was trained on larger pictures: it is shown crops enlarged by this.
ENLARGED = 2
# What surrounds a hole, in px, when its filling is searched for repetitions; the side of what is
# searched for, after halving both images.
SURROUNDINGS, PATCH = 96, 24

Restore = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A tile with a hole.

    Attributes
    ----------
    name, tile, slide : str
    area : float
        Share of the tile that is masked.
    seed : int
        Handed to the rows.
    truth, damaged : (512, 512, 3) uint8
    mask : (512, 512) bool
    """

    name: str
    tile: str
    slide: str
    area: float
    seed: int
    truth: np.ndarray
    damaged: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Filled:
    """A case that a row has filled, and how long that took the processor."""

    case: Case
    pixels: np.ndarray
    seconds: float


def cases(data: Path, tiles: int, areas: Sequence[float] = AREAS) -> list[Case]:
    """Cut a hole into as many tiles, taken evenly from all slides; the areas take turns."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: row["file"])
    by_slide: dict[str, list[str]] = {}
    for row in rows:
        by_slide.setdefault(row["slide"], []).append(row["file"])
    rng = np.random.default_rng(0)
    queues = {slide: list(rng.permutation(files)) for slide, files in sorted(by_slide.items())}
    made: list[Case] = []
    while len(made) < tiles:
        for slide, queue in queues.items():
            if len(made) == tiles or not queue:
                continue
            number, file = len(made), str(queue.pop())
            area = areas[number % len(areas)]
            truth = read_image(data / file).pixels
            seed = int(1000 * area) + 1000 * number
            mask = random_mask(
                truth.shape[:2], np.random.default_rng(seed), area=area, family="blob"
            )
            damaged = np.where(mask[..., None], np.uint8(0), truth)
            name = f"{Path(file).stem}-{area:g}"
            made.append(Case(name, file, slide, area, seed, truth, damaged, mask))
    return made


def filled_by(
    restore: Restore, fields: Sequence[Case], folder: Path, tell: Callable[[str], None]
) -> list[Filled]:
    """Fill each case, or read what an earlier run left in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    times = folder / "seconds.json"
    seconds = json.loads(times.read_text()) if times.is_file() else {}
    made = []
    for case in fields:
        path = folder / f"{case.name}.png"
        if case.name not in seconds or not path.is_file():
            started = time.process_time()
            pixels = restore(case.damaged, case.mask, case.seed)
            seconds[case.name] = time.process_time() - started
            Image.fromarray(pixels).save(path)
            times.write_text(json.dumps(seconds))
            tell(f"{folder.name}: {case.name} {seconds[case.name]:.2f} s")
        made.append(Filled(case, np.asarray(Image.open(path)), seconds[case.name]))
    return made


class Judge:
    """Measures rows against the truth; what is known of the truth is computed once."""

    def __init__(self, fields: Sequence[Case]) -> None:
        self.fields = list(fields)
        self.tiles = [case.tile for case in self.fields]
        self.encoder = EfficientNetEncoder()
        self.true = {
            shrink: [realism.features(c.truth, c.mask, shrink=shrink) for c in self.fields]
            for shrink in (1, 2, 4)
        }
        self.places = [_places(case) for case in self.fields]
        self.groups = [c.tile for c, p in zip(self.fields, self.places, strict=True) for _ in p]
        self.good = self._embedded([case.truth for case in self.fields])
        self.repeated = [_repetition(case.truth, case.mask) for case in self.fields]

    def measure(self, row: Sequence[Filled]) -> dict[str, Interval]:
        """Return the figures of a row, each with its interval from drawing tiles."""
        images = [each.pixels for each in row]
        found: dict[str, Interval] = {}

        def add(name: str, values: Sequence[float], *, ratio: bool = False) -> None:
            statistic = {"statistic": geometric_mean} if ratio else {}
            kept = np.clip(values, 1e-3, 1e3) if ratio else np.asarray(values)
            found[name] = bootstrap(kept, groups=self.tiles, **statistic)

        pairs = list(zip(self.fields, images, strict=True))
        add("psnr", [_psnr(case, image) for case, image in pairs])
        add("ssim", [_ssim(case, image) for case, image in pairs])
        for name, of in (("laplacian", texture.laplacian_ratio), ("border", texture.border_step)):
            add(name, [of(case.truth, image, case.mask) for case, image in pairs], ratio=True)
        for shrink in (1, 2, 4):
            features = [realism.features(im, case.mask, shrink=shrink) for case, im in pairs]
            found[f"auc_{shrink}"] = realism.tell_apart(self.true[shrink], features, self.tiles)
        found["kid"] = self.kid(self._embedded(images))
        repeated = [_repetition(image, case.mask) for case, image in pairs]
        add("repetition", np.array(repeated) - np.array(self.repeated))
        add("seconds", [each.seconds for each in row])
        return found

    def real_against_real(self) -> Interval:
        """Return the KID of clean tissue elsewhere in the same tiles against the truth."""
        images, groups = [], []
        for number, case in enumerate(self.fields):
            rng = np.random.default_rng(number)
            for _ in self.places[number]:
                y, x = rng.integers(512 - CROP, size=2)
                images.append(case.truth[y : y + CROP, x : x + CROP])
                groups.append(case.tile)
        judged = self.encoder(_enlarged(images))
        return _thousandfold(kid(Sets(judged, self.good, groups, self.groups)))

    def kid(self, judged: np.ndarray) -> Interval:
        """Return the KID of what fills the holes against the truth, times 1000."""
        return _thousandfold(kid(Sets(judged, self.good, self.groups, self.groups)))

    def _embedded(self, images: Sequence[np.ndarray]) -> np.ndarray:
        crops = [
            image[y : y + CROP, x : x + CROP]
            for image, places in zip(images, self.places, strict=True)
            for y, x in places
        ]
        return self.encoder(_enlarged(crops))


def _enlarged(crops: Sequence[np.ndarray]) -> np.ndarray:
    size = (ENLARGED * CROP,) * 2
    return np.stack([cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC) for crop in crops])


def _thousandfold(found: Interval) -> Interval:
    return Interval(found.value * 1e3, found.low * 1e3, found.high * 1e3, found.count)


def _places(case: Case) -> list[tuple[int, int]]:
    """Return corners of crops that show most of the hole and little of each other."""
    left = case.mask.astype(np.float32)
    found = []
    for _ in range(CROPS[case.area]):
        sums = cv2.boxFilter(left, -1, (CROP, CROP), normalize=False)
        half = CROP // 2
        inner = sums[half : 512 - half, half : 512 - half]
        y, x = np.unravel_index(int(inner.argmax()), inner.shape)
        found.append((int(y), int(x)))
        left[y : y + CROP, x : x + CROP] = 0
    return found


def _psnr(case: Case, image: np.ndarray) -> float:
    error = image[case.mask].astype(np.float64) - case.truth[case.mask]
    return float(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)))


def _ssim(case: Case, image: np.ndarray) -> float:
    similar = structural_similarity(case.truth, image, channel_axis=2, full=True)[1]
    return float(similar[case.mask].mean())


def _repetition(image: np.ndarray, mask: np.ndarray) -> float:
    """Return how much the most repeated part of the hole looks like a part beside the hole.

    The largest normalised correlation of squares inside the mask with any square of the visible
    surroundings, both halved in size; the mean over the tenth of the squares with most.
    """
    full = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.resize(full, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    hidden = (
        cv2.resize(mask.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) > 0
    )
    reach = SURROUNDINGS // 2
    near = ndimage.distance_transform_edt(~hidden) < reach
    whole = cv2.boxFilter(hidden.astype(np.float32), -1, (PATCH, PATCH), anchor=(0, 0))
    clear = cv2.boxFilter((~hidden & near).astype(np.float32), -1, (PATCH, PATCH), anchor=(0, 0))
    limit = np.array(grey.shape) - PATCH
    corners = np.argwhere(whole[: limit[0] + 1, : limit[1] + 1] > 0.8)
    if not len(corners):
        return float("nan")
    found = []
    for y, x in corners[:: max(1, len(corners) // 60)]:
        part = grey[y : y + PATCH, x : x + PATCH]
        match = cv2.matchTemplate(grey, part, cv2.TM_CCOEFF_NORMED)
        match = match[clear[: match.shape[0], : match.shape[1]] > 0.99]
        if match.size:
            found.append(float(match.max()))
    if not found:
        return float("nan")
    most = np.sort(found)[-max(1, len(found) // 10) :]
    return float(most.mean())
