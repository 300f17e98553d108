"""Where an image is to be restored: a mask that the user has, or what thresholds find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from histomend.errors import MaskError, SettingError
from histomend.image import Image
from histomend.jobs.job import Mask
from histomend.masks import check_mask, load_mask, share_notice
from histomend.slides.source import ArraySource

MaskLike = str | Path | npt.NDArray[Any] | PilImage.Image
MAX_SHARE = 0.02
"""Of the tissue, that is restored at most where thresholds found the artifacts."""


@dataclass(frozen=True)
class Where:
    """What a user says of where.

    Parameters
    ----------
    mask : as `histomend.restore` takes it
    classes : names of what counts in a mask file, or None
    detect : bool
    max_share : float in [0, 1]
        See `MAX_SHARE`.

    Raises
    ------
    MaskError, SettingError
    """

    mask: MaskLike | None
    classes: Sequence[str] | None
    detect: bool
    max_share: float

    def __post_init__(self) -> None:
        if (self.mask is None) == (not self.detect):
            raise MaskError(
                "Say what is to be restored: either a mask (--mask FILE, white = restore), or "
                "--detect to find artifacts by thresholds"
                + ("." if self.mask is None else ", not both.")
            )
        if self.classes and not isinstance(self.mask, str | Path):
            raise SettingError(
                "Classes (--class, mask_classes) choose what counts in a mask file, and none was "
                "named. Name the file: --mask FILE."
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
        if isinstance(mask, PilImage.Image):
            mask = np.asarray(mask.convert("L")) > 127
        checked = check_mask(mask, shape)
        return checked, share_notice(checked)

    def _detected(self, source: ArraySource) -> tuple[Mask, tuple[str, ...]]:
        from histomend.detect.features import USUAL_MPP
        from histomend.detect.threshold import find_with_share

        found, share = find_with_share(source.values[0], mpp=source.mpp)
        if not found.any():
            return found, ("No artifact was found: the image is returned as it is.",)
        taken = f"at {source.mpp or USUAL_MPP:g} um per pixel"
        if source.mpp is None:
            taken += ", assumed as the file says nothing (--mpp)"
        if share > self.max_share:
            raise MaskError(
                f"{source.where}: the thresholds found {share:.1%} of the coloured tissue to be "
                f"artifacts ({taken}), more than --max-share {self.max_share:g}: they may have "
                "taken tissue for artifacts. Look at what they find (histomend detect IMAGE -o "
                "found.png) and use it as --mask if it is right, or allow more: --max-share 1."
            )
        area = f"{found.mean():.1%} of the image, {share:.1%} of its coloured tissue"
        return found, (f"the thresholds found {area}, {taken}",)
