"""Masks as other tools for quality control write them: what counts, and what they lie on.

GrandQC (Weng et al. 2024) writes one label per pixel, HistoQC (Janowczyk et al. 2019) the usable
tissue or single artifacts in white; both much smaller than the slide, over all of its canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError
from histomend.image.pixels import Frame, Pixels
from histomend.masks.geometry import Mask

GRANDQC = {
    1: "Tissue",
    2: "Fold",
    3: "Dark spot",
    4: "Pen marking",
    5: "Edge or air bubble",
    6: "Out of focus",
    7: "Background",
}
"""Labels of GrandQC, of which 2 to 6 are artifacts; 0 fills up the border."""
_ARTIFACTS = (2, 3, 4, 5, 6)
_GRANDQC_NAME = "_mask.png"
_GRANDQC_TISSUE = "_MASK.png"
_USABLE = "_mask_use.png"
_HISTOQC_ARTIFACTS = ("_pen_markings.png", "_coverslip_edge.png", "_blurry.png", "_flat.png")
_SAME_SHAPE = 0.03  # by which the ratios of sides may differ: sizes were rounded, to whole windows


@dataclass(frozen=True)
class Smaller:
    """Where a smaller mask lies on what is to be restored.

    Parameters
    ----------
    whole : (width, height)
        Of the canvas, in pixels at full resolution.
    origin : (x, y)
        Of the image or region on the canvas.
    shape : (height, width)
        Of the image or region.
    """

    whole: tuple[int, int]
    origin: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def on(cls, frame: Frame, origin: tuple[int, int], shape: tuple[int, int]) -> Smaller:
        """Give the place of a region whose origin counts from what was scanned."""
        whole = frame.canvas or (frame.width, frame.height)
        return cls(whole, (origin[0] + frame.offset[0], origin[1] + frame.offset[1]), shape)

    def fits(self, height: int, width: int) -> bool:
        """Tell whether a mask of this size has the shape of the canvas."""
        ratio = (width * self.whole[1]) / (height * self.whole[0])
        return abs(ratio - 1) <= _SAME_SHAPE and width <= self.whole[0]

    def enlarged(self, mask: Mask) -> Mask:
        """Return the part (H, W) of the mask that lies on the region, each pixel as it is."""
        across, down = (
            np.minimum((start + np.arange(count) + 0.5) * size // side, size - 1).astype(np.int64)
            for start, count, size, side in (
                (self.origin[0], self.shape[1], mask.shape[1], self.whole[0]),
                (self.origin[1], self.shape[0], mask.shape[0], self.whole[1]),
            )
        )
        return np.ascontiguousarray(mask[down][:, across])


def is_smaller_by_nature(path: Path, *, labels: bool = True) -> bool:
    """Tell by its name whether a mask is one of another tool, which may be smaller.

    With `labels` names count that GrandQC gives to its labels, and others to other masks.
    """
    names = (_USABLE, *_HISTOQC_ARTIFACTS)
    return path.name.endswith((*names, _GRANDQC_NAME) if labels else names)


def check_no_tissue_map(path: Path) -> None:
    """Refuse the map in which GrandQC says where tissue is: 1 is what is none.

    Raises
    ------
    MaskError
    """
    if path.name.endswith(_GRANDQC_TISSUE):
        raise MaskError(
            f"{path}: this looks like GrandQC's map of tissue, in which background is marked. Its "
            "artifacts are in mask_qc/NAME_mask.png."
        )


def is_usable_tissue(path: Path) -> bool:
    """Tell whether a mask of HistoQC marks what may be used instead of what is to be restored."""
    return path.name.endswith(_USABLE)


def is_grandqc(path: Path, values: Pixels) -> bool:
    """Tell whether values are labels of GrandQC."""
    if values.ndim != 2 or values.dtype != np.uint8 or not path.name.endswith(_GRANDQC_NAME):
        return False
    return 1 < int(values.max()) <= max(GRANDQC)


def chosen_labels(
    values: Pixels, classes: Sequence[str] | None, where: str, *, grandqc: bool
) -> tuple[Mask, str]:
    """Mark the labels that count, and say which.

    Parameters
    ----------
    values : (H, W) integers
    classes : numbers, or names of GrandQC's legend; its artifacts by default
    where : str
    grandqc : bool
        The labels are GrandQC's.

    Raises
    ------
    MaskError
        A class that is no label of the mask.
    """
    there: npt.NDArray[np.int64] = np.unique(values).astype(np.int64)
    names = GRANDQC if grandqc else {}
    wanted = _ARTIFACTS if classes is None else tuple(_label(c, names, where) for c in classes)
    if classes is not None and not set(wanted) & set(there.tolist()):
        raise MaskError(
            f"{where}: no pixel is of class {', '.join(classes)}. There is "
            f"{', '.join(_named(k, names) for k in there.tolist())}."
        )
    counted = ", ".join(_named(k, names) for k in wanted if k in there) or "none"
    left = ", ".join(_named(k, names) for k in there.tolist() if k and k not in wanted) or "none"
    kind = "labels of GrandQC" if grandqc else "labels"
    return np.isin(values, wanted), f"the mask holds {kind}: counted {counted}; not counted {left}"


def _label(name: str, names: dict[int, str], where: str) -> int:
    text = name.strip().casefold()
    for number, known in names.items():
        if text in (known.casefold(), str(number)):
            return number
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    legend = ", ".join(_named(k, names) for k in names) or "numbers of labels"
    raise MaskError(f"{where}: no class is called {name!r}. There is {legend}.")


def _named(number: int, names: dict[int, str]) -> str:
    return f"{number} ({names[number]})" if number in names else str(number)
