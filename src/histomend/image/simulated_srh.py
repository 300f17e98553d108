"""Two-channel images like those of stimulated Raman histology, made from H&E. Simulated, not real.

Public images of stimulated Raman histology to train on are rare. What H&E stains is close to what
the two Raman shifts show: CH2 (2845 cm⁻¹, lipid) is bright in cytoplasm and dark in nuclei, and
CH3 - CH2 (2930 cm⁻¹, protein and DNA) is bright in nuclei. Structure and contrast are those of
stained sections all the same: nothing here says how a model works on real Raman images.

Shown with each channel stretched between its percentiles, as published pictures are, nuclei stand
out in CH3 and lack in CH2 as much as there, and the channels correlate as much (0.72; in nine
published fields 0.74). How strong one channel is beside the other, such pictures do not tell. Here
CH3 is the weaker one in cytoplasm, as lipid is at that shift.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from skimage.color import rgb2hed

# About the 99.9th percentile of the stains' densities in well stained H&E, in skimage's units.
HAEMATOXYLIN_FULL, EOSIN_FULL = 0.2, 0.06
# JPEG keeps colour in blocks of 16×16 px, which the separation of stains would bring out as a grid.
COLOUR_BLUR_PX = 1.0


def simulated_srh(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the channels CH2 and CH3, (H, W, 2) in [0, 1], for an H&E image (H, W, 3)."""
    brightness_colour = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    blurred = cv2.GaussianBlur(brightness_colour, (0, 0), COLOUR_BLUR_PX)
    brightness_colour[..., 1:] = blurred[..., 1:]
    densities = rgb2hed(np.clip(cv2.cvtColor(brightness_colour, cv2.COLOR_YCrCb2RGB), 0, 1))
    haematoxylin = np.clip(densities[..., 0] / HAEMATOXYLIN_FULL, 0, 1)
    eosin = np.clip(densities[..., 1] / EOSIN_FULL, 0, 1)
    # Nuclei hold little lipid, but the stains' separation leaves some eosin in them.
    lipid = eosin * (1 - 0.6 * haematoxylin)
    return np.stack([lipid, (lipid + haematoxylin) / 2], -1).astype(np.float32)
