"""Where an image is to be restored: a mask that the user has, or what a detector finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from histomend.errors import MaskError, SettingError
from histomend.image import Image
from histomend.jobs.job import Mask
from histomend.masks import check_mask, load_mask, share_notice
from histomend.masks.artifact_classes import RESTORABLE, chosen_classes
from histomend.slides.source import ArraySource

if TYPE_CHECKING:
    from histomend.detect.learned import Detection
    from histomend.models.detector import Detector

MaskLike = str | Path | npt.NDArray[Any] | PilImage.Image
THRESHOLD = "threshold"
LEARNED = "learned"


@dataclass(frozen=True)
class Where:
    """What a user says of where.

    Parameters
    ----------
    mask : as `histomend.restore` takes it
    classes : names of what counts in a mask file, or of artifacts to be found; or None
    detect : bool
    max_share : float in [0, 1]
        See `MAX_SHARE`.
    detector : "learned", "threshold", or the name or folder of a detector's weights

    Raises
    ------
    MaskError, SettingError
    """

    mask: MaskLike | None
    classes: Sequence[str] | None
    detect: bool
    max_share: float
    detector: str | Path = LEARNED

    def __post_init__(self) -> None:
        if (self.mask is None) == (not self.detect):
            raise MaskError(
                "Say what is to be restored: either a mask (--mask FILE, white = restore), or "
                "--detect to have artifacts found" + ("." if self.mask is None else ", not both.")
            )
        if self.detect and self.detector != THRESHOLD:
            chosen_classes(self.classes, restoring=True)
        elif self.classes and not isinstance(self.mask, str | Path):
            raise SettingError(
                "Classes (--class, mask_classes) choose what counts in a mask file, or what a "
                "learned detector finds. Name the file: --mask FILE."
            )
        if not 0 <= self.max_share <= 1:
            raise SettingError(
                f"--max-share {self.max_share:g} is a share of the tissue, from 0 to 1."
            )

    def find(self, source: ArraySource) -> tuple[Mask, tuple[str, ...]]:
        """Return the mask (H, W), and what the user should know of it.

        Raises
        ------
        MaskError
            The mask does not fit, or more of the tissue was found than `max_share`.
        """
        return self._detected(source) if self.mask is None else self._given(self.mask, source)

    def _given(self, mask: MaskLike, source: ArraySource) -> tuple[Mask, tuple[str, ...]]:
        shape, about = (source.height, source.width), source.about
        if isinstance(mask, str | Path):
            # Annotations of a slide are in the slide's own coordinates.
            origin = about.region[:2] if about.region is not None else (0, 0)
            frame = about.frame if isinstance(about, Image) else None
            read = load_mask(Path(mask), shape, origin=origin, classes=self.classes, frame=frame)
            return check_mask(read.mask, shape), read.notices
        checked = mask_in_memory(mask, shape)
        return checked, share_notice(checked)

    def _detected(self, source: ArraySource) -> tuple[Mask, tuple[str, ...]]:
        if self.detector == THRESHOLD:
            return self._by_thresholds(source)
        from histomend.detect.learned import find

        detection = find(
            source.values[0], mpp=source.mpp, detector=self.loaded_detector(), where=source.where
        )
        kinds, notices = self.allowed(detection, source.where)
        return detection.found.mask(kinds), notices

    def loaded_detector(self) -> Detector:
        """Return the detector that finds artifacts, which is not `THRESHOLD`."""
        from histomend.detect.learned import detector_named

        return detector_named(None if self.detector == LEARNED else self.detector)

    def allowed(self, detection: Detection, where: str) -> tuple[list[str], tuple[str, ...]]:
        """Return the classes that are restored of what was found, and what to tell.

        Raises
        ------
        MaskError
            That is more of the tissue than `max_share`.
        """
        found, notices = detection.found, detection.notices
        kinds = chosen_classes(self.classes) or list(RESTORABLE)
        regions = found.of(kinds)
        if not regions:
            nothing = "No artifact to restore was found: the image is returned as it is."
            return kinds, (nothing, *notices)
        shares = found.shares()
        names = sorted({region.kind for region in regions})
        share = sum(shares[name] for name in names)
        text = ", ".join(f"{name.replace('_', ' ')} {shares[name]:.1%}" for name in names)
        text = f"{share:.1%} of the tissue ({text}), at {found.places.mpp:g} um per pixel"
        self._check_share(share, where, f"the detector found artifacts on {text}")
        count = f"{len(regions)} region{'s' if len(regions) > 1 else ''}"
        sure = min(region.probability for region in regions)
        told = f"the detector found {count}, {text}; the least sure with probability {sure:.2f}"
        return kinds, (told, *notices)

    def _by_thresholds(self, source: ArraySource) -> tuple[Mask, tuple[str, ...]]:
        from histomend.detect.features import USUAL_MPP
        from histomend.detect.threshold import find_with_share

        found, share = find_with_share(source.values[0], mpp=source.mpp)
        if not found.any():
            return found, ("No artifact was found: the image is returned as it is.",)
        taken = f"at {source.mpp or USUAL_MPP:g} um per pixel"
        if source.mpp is None:
            taken += ", assumed as the file says nothing (--mpp)"
        said = f"the thresholds found {share:.1%} of the coloured tissue to be artifacts ({taken})"
        self._check_share(share, source.where, said)
        area = f"{found.mean():.1%} of the image, {share:.1%} of its coloured tissue"
        return found, (f"the thresholds found {area}, {taken}",)

    def _check_share(self, share: float, where: str, said: str) -> None:
        """Refuse to restore more of the tissue than the user allows."""
        if share <= self.max_share:
            return
        raise MaskError(
            f"{where}: {said}, more than --max-share {self.max_share:g}: tissue may have "
            "been taken for artifacts. Look at what was found (histomend detect IMAGE -o "
            "found.png) and use it as --mask if it is right, or allow more: --max-share 1."
        )


def mask_in_memory(mask: PilImage.Image | Mask, shape: tuple[int, int]) -> Mask:
    """Return a mask that is no file, (H, W) bool.

    Raises
    ------
    MaskError
        It does not fit an image of that shape.
    """
    if isinstance(mask, PilImage.Image):
        mask = np.asarray(mask.convert("L")) > 127
    return check_mask(mask, shape)
