"""Embedding similarity: do the restored and the clean image mean the same to an encoder?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histomend.errors import ImageSizeError
from histomend.evaluate.encoder import Describes


def embedding_similarity(
    describes: Describes, truth: npt.NDArray[np.uint8], images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Compute the cosine of the angle between the features of each image and of its truth.

    Parameters
    ----------
    describes : Describes
        Any network of `histomend.evaluate.pretrained.features`. How high a cosine is depends on
        the network: figures of two networks do not compare.
    truth, images : (N, H, W, 3) uint8

    Returns
    -------
    (N,) float64 in [-1, 1]
        1 for equal images; NaN where features are all 0.

    Raises
    ------
    ImageSizeError
        Images and truth differ in shape.
    UnsupportedImageError
        They are no 8-bit RGB images.

    Notes
    -----
    Histo-Diffusion, section 4.4 and Table 5.
    """
    if truth.shape != images.shape:
        raise ImageSizeError(
            f"The images have the shape {images.shape} and their truth {truth.shape}: similarity "
            "compares pairs of one size."
        )
    one, other = describes(truth), describes(images)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    cosines = np.divide(products, lengths, out=np.full(len(one), np.nan), where=lengths > 0)
    return np.clip(cosines, -1, 1)
