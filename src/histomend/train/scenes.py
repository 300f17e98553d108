"""What a detector learns from: tissue, glass, and artifacts on either, with a label for each place.

Clean tiles are damaged by the renderers of `histomend.damage`, whose masks are exact. A place whose
damage cannot be seen (blur on glass, say) is `UNLABELLED`: nothing is to be learned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from histomend.damage import air, dirt, imaging, marks, scanner, section
from histomend.damage.optics import Picture, Renderer, density
from histomend.damage.shapes import noise, random_mask
from histomend.masks.artifact_classes import CLASSES
from histomend.models.detector import UNLABELLED
from histomend.train.data import Tiles, turned, vary_stain
from histomend.train.other_tissue import Source, patched

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]

GLASS, TISSUE = (CLASSES.index(name) for name in ("glass", "tissue"))


@dataclass(frozen=True)
class Artifact:
    """How one look of an artifact is drawn.

    Parameters
    ----------
    label : str
        Its class.
    render : Renderer
    weight : float
        How often it is drawn, relative to the others.
    area : (least, most)
        Share of the scene, drawn evenly on a logarithmic scale.
    on_glass : float
        How often the scene below is mostly glass.
    """

    label: str
    render: Renderer
    weight: float
    area: tuple[float, float]
    on_glass: float = 0.2


LOOKS = (
    Artifact("fold", section.fold, 6, (0.008, 0.35), 0.0),
    Artifact("bubble", air.bubble, 4, (0.005, 0.6), 0.4),
    Artifact("bubble", air.pale_pocket, 2.5, (0.005, 0.5), 0.8),
    Artifact("ink", marks.marker, 5.5, (0.01, 0.6), 0.4),
    Artifact("debris", dirt.crumbs, 2.5, (0.002, 0.15), 0.6),
    Artifact("debris", dirt.fibre, 2.5, (0.01, 0.25), 0.75),
    Artifact("debris", dirt.squame, 1.5, (0.004, 0.12), 0.4),
    Artifact("debris", marks.smear, 1, (0.01, 0.25), 0.4),
    Artifact("dark_spot", dirt.dark_spot, 4, (0.002, 0.15), 0.3),
    Artifact("dark_spot", dirt.cloud, 2, (0.01, 0.3), 0.5),
    Artifact("out_of_focus", imaging.out_of_focus, 4, (0.08, 0.95), 0.0),
    Artifact("streak", section.knife, 1.5, (0.01, 0.15), 0.0),
    Artifact("streak", section.shadow, 1.5, (0.02, 0.3), 0.0),
    Artifact("streak", scanner.chatter, 0.7, (0.2, 0.98), 0.0),
    Artifact("haze", marks.haze, 2, (0.05, 0.7), 0.1),
    Artifact("scanner", scanner.stripes, 1.3, (0.2, 0.98), 0.2),
    Artifact("scanner", scanner.stitching, 0.7, (0.4, 0.98), 0.1),
)
# What befalls the field rather than a place in it, and the sound places that can show it.
OF_FIELDS = {"out_of_focus": (TISSUE,), "haze": (TISSUE,), "scanner": (GLASS, TISSUE)}
# How many artifacts a scene has, and how often.
COUNTS = (0.4, 0.42, 0.18)
# How often a scene is put together of two tissues.
PATCHED_SHARE = 0.5
# How often a part of the field was not scanned: scanners fill that with white.
UNSCANNED_SHARE = 0.08
# Damage is seen where pixel values change by this much on average, over a few micrometres. Marks of
# a scanner must be plain: tissue is not even either.
SEEN, SEEN_OVER_PX = {"scanner": 9.0}, 4.0
# Mean optical density above the glass from which on there is tissue.
LEAST_DENSITY = 0.06


def scene(
    clean: Source, rng: np.random.Generator, looks: Sequence[Artifact] = LOOKS
) -> tuple[Pixels, Labels]:
    """Draw a scene and the class of each pixel.

    Parameters
    ----------
    clean : function
        Gives a square of clean tissue, (side, side, 3) uint8 at 1 um/px.
    looks : sequence of Artifact
        What artifacts are drawn from.

    Returns
    -------
    pixels : (side, side, 3) uint8
    labels : (side, side) uint8, indices of `CLASSES`, or `UNLABELLED`
    """
    weights = np.array([look.weight for look in looks])
    count = int(rng.choice(len(COUNTS), p=COUNTS))
    drawn = [looks[k] for k in rng.choice(len(looks), count, p=weights / weights.sum())]
    on_glass = max((look.on_glass for look in drawn), default=0.15)
    pixels = clean(rng)
    if rng.random() < PATCHED_SHARE:
        pixels = patched(pixels, clean, rng)
    pixels = vary_stain(pixels, rng)
    if rng.random() < on_glass:
        pixels = on_bare_glass(pixels, rng)
    elif rng.random() < 0.15:
        pixels = fragment(pixels, rng)
    labels = sound_labels(pixels)
    if rng.random() < UNSCANNED_SHARE:
        pixels, labels = partly_unscanned(pixels, labels, rng)
    for look in drawn:
        pixels, labels = damaged(pixels, labels, look, rng)
    return captured(pixels, rng), labels


def damaged(
    pixels: Pixels, labels: Labels, look: Artifact, rng: np.random.Generator
) -> tuple[Pixels, Labels]:
    """Return a scene with one more artifact."""
    low, high = np.log(look.area)
    # Pixel sizes are known to about a quarter only.
    um = float(np.exp(rng.uniform(-0.25, 0.25)))
    altered, mask = look.render(pixels, rng, float(np.exp(rng.uniform(low, high))), um)
    after = np.where(mask[..., None], np.clip(np.rint(altered), 0, 255), pixels).astype(np.uint8)
    change = np.abs(after.astype(np.float32) - pixels).max(axis=2)
    seen = cv2.GaussianBlur(change, (0, 0), SEEN_OVER_PX) > SEEN.get(look.label, 4.0)
    label = CLASSES.index(look.label)
    labels = labels.copy()
    # A fold that is out of focus as well is still a fold.
    sound = OF_FIELDS.get(look.label)
    open_to = np.isin(labels, sound) if sound else np.ones_like(mask)
    # Glass stays glass where nothing is seen on it; what a blur makes of it nobody can tell.
    labels[mask & np.where(seen, labels == GLASS, labels == TISSUE) & ~(seen & open_to)] = (
        UNLABELLED
    )
    labels[mask & seen & open_to] = label
    return after, labels


def sound_labels(pixels: Pixels) -> Labels:
    """Tell tissue from glass in an image without artifacts."""
    od = density(pixels).mean(axis=2)
    bare = min(float(np.percentile(od, 1)), 0.12)
    thick = cv2.GaussianBlur(od, (0, 0), 1.5) - bare
    return np.where(thick > LEAST_DENSITY, TISSUE, GLASS).astype(np.uint8)


def partly_unscanned(
    pixels: Pixels, labels: Labels, rng: np.random.Generator
) -> tuple[Pixels, Labels]:
    """Fill a corner or a side with plain white, as the tiles are that a scanner leaves out."""
    side = pixels.shape[0]
    y, x = (int(v) for v in rng.integers(0, side, 2))
    filled = np.zeros(labels.shape, np.bool_)
    filled[:y, : x if rng.random() < 0.5 else side] = True
    filled = np.rot90(filled, int(rng.integers(4)))
    white = int(rng.choice([255, 255, 255, 240]))
    return (
        np.where(filled[..., None], white, pixels).astype(np.uint8),
        np.where(filled, GLASS, labels).astype(np.uint8),
    )


def bare_glass(side: int, rng: np.random.Generator) -> Pixels:
    """Draw glass: nearly even, with specks of dust too small to matter."""
    level = rng.uniform(222, 252) + rng.normal(0, 1.5, 3)
    uneven = rng.uniform(0, 2.5) * noise((side, side), rng, cells=3, octaves=2)
    field = level + uneven[..., None] + rng.normal(0, rng.uniform(0, 1.2), (side, side, 1))
    for _ in range(int(rng.poisson(3))):
        at = tuple(int(v) for v in rng.integers(0, side, 2))
        cv2.circle(field, at, int(rng.integers(0, 3)), list(rng.uniform(60, 230, 3)), -1)
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def fragment(pixels: Pixels, rng: np.random.Generator, most: float = 0.8) -> Pixels:
    """Cut an irregular piece out of the tissue and lay it on glass."""
    side = pixels.shape[0]
    area = float(rng.uniform(0.02, most))
    mask = random_mask((side, side), rng, area=area).astype(np.float32)
    soft = _blurred(mask, rng.uniform(0.4, 1.2))[..., None]
    glass = bare_glass(side, rng)
    return np.rint(glass + soft * (pixels.astype(np.float32) - glass)).astype(np.uint8)


def on_bare_glass(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return glass, with a little tissue on it or none."""
    if rng.random() < 0.5:
        return bare_glass(pixels.shape[0], rng)
    return fragment(pixels, rng, 0.3)


def captured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a scene as scanners differ: sharpness, brightness, tint, noise, compression."""
    picture: Picture = pixels.astype(np.float32)
    if rng.random() < 0.5:
        picture = _blurred(picture, rng.uniform(0.3, 0.6))
    elif rng.random() < 0.4:
        blurred = _blurred(picture, 1.0)
        picture = picture + rng.uniform(0.2, 0.8) * (picture - blurred)
    gamma = np.exp(rng.normal(0, 0.08))
    tint = np.exp(rng.normal(0, 0.025, 3) - abs(rng.normal(0, 0.03)))
    picture = 255 * np.power(np.clip(picture, 0, 255) / 255, gamma) * tint
    if rng.random() < 0.4:
        picture += rng.normal(0, rng.uniform(0.5, 4), picture.shape)
    seen = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(55, 96))
        _, data = cv2.imencode(".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        seen = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(seen)


def _blurred(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


@dataclass(frozen=True)
class CleanTissue:
    """Squares of clean tissue at about 1 um/px, turned at random.

    Parameters
    ----------
    tiles : Tiles
    mpp : float
        Of the tiles, um.
    side : int
        Of the squares, px.
    spread : (least, most)
        Of what a pixel really measures, um: not all pixel sizes are as they are said to be.
    """

    tiles: Tiles
    mpp: float
    side: int
    spread: tuple[float, float] = (0.7, 1.4)

    def __call__(self, rng: np.random.Generator) -> Pixels:
        """Draw one."""
        um = float(np.exp(rng.uniform(*np.log(self.spread))))
        room = min(self.tiles.pixels.shape[1:3])
        cut = min(round(self.side * um / self.mpp), room)
        field = self.tiles.cut(rng, cut)
        if cut != self.side:
            how = cv2.INTER_AREA if cut > self.side else cv2.INTER_CUBIC
            field = cv2.resize(field, (self.side, self.side), interpolation=how)
        return np.ascontiguousarray(turned(np.asarray(field, np.uint8), rng))
