"""Tissue that may be copied: artifacts beside the masked ones are no sources."""

from __future__ import annotations

import numpy as np

from histomend.detect.learned import find
from histomend.errors import InputError
from histomend.image.pixels import Pixels
from histomend.jobs.job import Mask
from histomend.masks.artifact_classes import ARTIFACTS

# Where more than this share of what is not masked would be an artifact, the image is rather one
# that the detector does not know.
MOST = 0.3
UNSURE = (
    "The detector takes {share:.0%} of what is not masked for artifacts, so it may not know such "
    "images: tissue is copied from there too. Look where from (histomend show --provenance)."
)


def artifacts_elsewhere(
    pixels: Pixels, mask: Mask, mpp: float | None
) -> tuple[Mask | None, tuple[str, ...]]:
    """Return what nothing may be copied from, beside what is masked.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
    mask : (H, W) bool
    mpp : float or None

    Returns
    -------
    artifacts : (H, W) bool or None
        None where nothing was found, and where the detector cannot tell.
    notices : tuple of str
    """
    try:
        detection = find(pixels, mpp=mpp)
    except InputError:  # another stain, fluorescence, a pixel size that it cannot work with
        return None, ()
    found = detection.found.mask(ARTIFACTS) & ~mask
    share = int(np.count_nonzero(found)) / max(int(np.count_nonzero(~mask)), 1)
    if share > MOST:
        return None, (UNSURE.format(share=share),)
    return (found if found.any() else None), ()
