"""A gallery of what each verb does: of images that come with scikit-image, or of your own.

    python benchmarks/gallery.py -o gallery                   # `make gallery` puts it on the site
    python benchmarks/gallery.py mine/*.png -o gallery-mine   # of your own data

It writes gallery.md and a picture for each row. Of scikit-image's images the truth is known, as
they are damaged here on purpose; every row is shown as it fell, with the first seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import skimage.data

import histomend
from histomend.damage.artifacts import simulate
from histomend.image import Image, read_image
from histomend.image.stack_files import read_stack
from sheets import middle, sheet

SIDE = 256
SCALE = 4
# What restoring is for; blur, streaks, shading and stain change the whole field.
KINDS = {"fold": "A fold", "bubble": "An air bubble", "ink": "A pen mark", "debris": "Dirt",
         "dark_spot": "A dark spot"}  # fmt: skip
NOT_FOR_DIAGNOSIS = "**Not for diagnosis.** What is restored is plausible, not what lay there."
OURS = """Made by `make gallery` from images that come with scikit-image, damaged on purpose, so
that the truth is known: colonic glands (immunohistochemistry, while the models learned H&E), and a
cell. Each row is as it fell, with the first seed. One of your own images is made by
`python benchmarks/gallery.py mine/*.png -o gallery`."""


@dataclass
class Row:
    """One picture of the gallery.

    Attributes
    ----------
    name : of its file
    title, about, command : what the page says of it
    panels : title -> (H, W, 3) uint8
    """

    name: str
    title: str
    about: str
    command: str
    panels: dict[str, np.ndarray] = field(default_factory=dict)


def own_rows(path: Path) -> Iterator[Row]:
    """Yield what the verbs make of the middle of an image of somebody, whatever it is."""
    stack = read_stack(path, flat=True)
    if stack.values.shape[-1] == 3:
        image = read_image(path)
        part = Image(middle(image.pixels, SIDE), mpp=image.mpp)
        yield from _own_colours(path, part)
    plane = middle(stack.values[len(stack.values) // 2], SIDE)
    result = histomend.denoise(plane, mpp=stack.mpp)
    shown = [_eight_bits(pixels, plane) for pixels in (plane, result.pixels)]
    yield Row(
        f"{path.stem}-denoised", f"{path.name}, denoised", "", f"histomend denoise {path.name}",
        dict(zip(("given", "denoised"), shown, strict=True)),
    )  # fmt: skip


def _own_colours(path: Path, part: Image) -> Iterator[Row]:
    found = histomend.detect(part)
    if found.any():
        restored = histomend.restore(part, mask=found).pixels
        yield Row(
            f"{path.stem}-restored", f"{path.name}, restored", "What was detected is outlined.",
            f"histomend restore {path.name} --detect",
            {"given": outlined(_eight_bits(part.pixels), found), "restored": _eight_bits(restored)},
        )  # fmt: skip
    small = Image(middle(part.pixels, SIDE // 2), mpp=part.mpp)
    yield _enlarged(f"{path.stem}-enlarged", f"{path.name}, enlarged", small, 2, path.name)


def rows() -> Iterator[Row]:
    """Yield what the verbs make of scikit-image's images."""
    truth = np.ascontiguousarray(skimage.data.immunohistochemistry()[120 : 120 + SIDE, :SIDE])
    for number, (kind, title) in enumerate(KINDS.items()):
        damaged = simulate(truth, kind, seed=number, area=0.06)
        restored = histomend.restore(damaged.pixels, mask=damaged.mask, mpp=0.5)
        yield Row(
            kind, title, "", "histomend restore tissue.png --mask mask.png",
            {"damaged, mask outlined": outlined(damaged.pixels, damaged.mask),
             "restored": restored.pixels, "what was there": truth},
        )  # fmt: skip
    yield _denoised()
    coarse = cv2.resize(truth, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)
    row = _enlarged("enlarged", "A coarse scan", Image(coarse, mpp=2.0), SCALE, "scan.png")
    row.about += " The model learned H&E, and this stain is another: it rings."
    row.panels["what was there"] = truth
    yield row


def _denoised() -> Row:
    truth = np.ascontiguousarray(skimage.data.cell()[200 : 200 + SIDE, 150 : 150 + SIDE])
    rng = np.random.default_rng(0)
    photons = rng.poisson(truth / 255 * 40.0) / 40 * 255 + rng.normal(0, 4, truth.shape)
    noisy = np.rint(photons.clip(0, 255)).astype(np.uint8)
    result = histomend.denoise(noisy)
    shown = {"noisy": noisy, "denoised": result.pixels, "what was there": truth}
    return Row(
        "denoised", "Little light", "A cell with the noise of 40 photons at white.",
        "histomend denoise noisy.tif", {k: _eight_bits(v, truth) for k, v in shown.items()},
    )  # fmt: skip


def _enlarged(name: str, title: str, small: Image, scale: int, file: str) -> Row:
    large = histomend.upscale(small, scale=float(scale)).pixels
    size = (large.shape[1], large.shape[0])
    bicubic = cv2.resize(small.pixels, size, interpolation=cv2.INTER_CUBIC)
    return Row(
        name, title, "Its details are plausible, not measured.",
        f"histomend upscale {file} --scale {scale}",
        {f"bicubic, x{scale}": _eight_bits(bicubic), "enlarged": _eight_bits(large)},
    )  # fmt: skip


def outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return pixels with a line around the mask."""
    out = pixels.copy()
    edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    out[edge] = (216, 27, 140)
    return out


def _eight_bits(pixels: np.ndarray, over: np.ndarray | None = None) -> np.ndarray:
    """Return colours as they are; other values over the range of a reference, as greys."""
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return pixels
    reference = pixels if over is None else over
    low, high = np.percentile(reference, (0.1, 99.9))
    grey = (pixels.astype(np.float64) - low) / max(high - low, 1e-9) * 255
    grey = np.rint(grey.clip(0, 255)).astype(np.uint8)
    grey = grey.reshape(*grey.shape[:2], -1)
    return np.repeat(grey[..., :1], 3, axis=2) if grey.shape[2] != 3 else grey


def write(made: Iterator[Row], about: str, page: Path, pictures: Path) -> None:
    """Write the page and its pictures."""
    lines = ["# Gallery", "", *([about, ""] if about else []), NOT_FOR_DIAGNOSIS, ""]
    for row in made:
        path = pictures / f"{row.name}.jpg"
        sheet(path, list(row.panels), [list(row.panels.values())], 1)
        place = path.relative_to(page.parent).as_posix()
        shown = "; ".join(row.panels)
        lines += [f"## {row.title}", "", *([row.about, ""] if row.about else [])]
        lines += [f"![{row.title}: {shown}]({place})", "", "```", row.command, "```", ""]
        print(path)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines), encoding="utf-8")
    print(page)


def main() -> None:
    """Make the gallery."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="*", type=Path, help="your own; else scikit-image's")
    parser.add_argument("-o", "--out", type=Path, default=Path("gallery"))
    parser.add_argument("--pictures", type=Path, help="folder in OUT's page; OUT/pictures")
    chosen = parser.parse_args()
    made = rows() if not chosen.images else (row for p in chosen.images for row in own_rows(p))
    about = "" if chosen.images else OURS
    write(made, about, chosen.out / "gallery.md", chosen.pictures or chosen.out / "pictures")


if __name__ == "__main__":
    main()
