"""What a scanner and a file do to an image: pixels of a size, noise, JPEG.

Images are tensors (3, H, W) float32 in [0, 1].
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from histomend.damage.kernels import Kernel, computed, convolved
from histomend.errors import ImageSizeError, SettingError

# The range of factors between a scan and its target that upscaling is made for.
FACTORS = (1.5, 8.0)
# Luma, as ITU-R BT.601 weighs red, green and blue; so grey is made in Real-ESRGAN's code.
_LUMA = (0.2989, 0.587, 0.114)


def scanned(images: Tensor, factor: float) -> Tensor:
    """Return images as a scanner with larger pixels would have taken them.

    Each new pixel is the mean of the light on its area; an old pixel that lies in two new ones
    counts for each by the area it has there. The field stays the same, so that the new pixels are
    as many times larger as makes them whole: exactly `factor` where it divides height and width.

    Parameters
    ----------
    images : (..., H, W)
    factor : float in [1, 16]
        Size of a new pixel over that of an old one.

    Returns
    -------
    (..., round(H / factor), round(W / factor))

    Raises
    ------
    SettingError
        The factor is out of range.
    ImageSizeError
        Not one new pixel would be left.
    """
    if not 1 <= factor <= 16:
        raise SettingError(f"Pixels can become 1 to 16 times larger, not {factor:g} times.")
    size = [round(side / factor) for side in images.shape[-2:]]
    if not all(size):
        raise ImageSizeError(
            f"An image of {images.shape[-1]}x{images.shape[-2]} px has no pixel left when pixels "
            f"become {factor:g} times larger. Use a larger image or a smaller factor."
        )
    rows, columns = (
        _shares(old, new).to(images) for old, new in zip(images.shape[-2:], size, strict=True)
    )
    return rows @ images @ columns.T


def _shares(old: int, new: int) -> Tensor:
    """Return by how much each of `old` pixels lies in each of `new` in its place, (new, old)."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    start, stop = edges[:-1, None], edges[1:, None]
    pixel = torch.arange(old, dtype=torch.float64)
    inside = torch.minimum(stop, pixel + 1) - torch.maximum(start, pixel)
    return inside.clamp(min=0) * (new / old)


def with_gaussian_noise(
    image: Tensor, sigma: float, grey: bool, rng: np.random.Generator
) -> Tensor:
    """Return an image with noise of one strength everywhere, clipped.

    Parameters
    ----------
    sigma : float
        Standard deviation, of 255.
    grey : bool
        Whether all channels get the same noise.
    """
    shape = (1, *image.shape[1:]) if grey else tuple(image.shape)
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(image)
    return (image + sigma / 255 * noise).clamp(0, 1)


def with_poisson_noise(image: Tensor, scale: float, grey: bool, rng: np.random.Generator) -> Tensor:
    """Return an image with noise that grows with the light, clipped.

    As in Real-ESRGAN's code, white counts as many photons as the image has different values in 8
    bits, rounded up to a power of two.

    Parameters
    ----------
    scale : float
        The deviation from the expected count is multiplied by this.
    grey : bool
        Whether all channels get the noise of the grey image.
    """
    light = image
    if grey:
        light = (image * image.new_tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    levels = (light.clamp(0, 1) * 255).round()
    photons = 2.0 ** np.ceil(np.log2(torch.unique(levels).numel()))
    expected = (levels / 255 * photons).double().cpu().numpy()
    noise = torch.from_numpy((rng.poisson(expected) - expected) / photons).to(image)
    return (image + scale * noise).clamp(0, 1)


def compressed(image: Tensor, quality: int) -> Tensor:
    """Return an image as a JPEG file of this quality (1 to 100) gives it back, on 8-bit levels."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, "JPEG", quality=quality)
    read = np.array(PilImage.open(file))
    return torch.from_numpy(read).permute(2, 0, 1).to(image) / 255


def sharpened(image: Tensor) -> Tensor:
    """Return an image after the unsharp mask of Real-ESRGAN's training.

    Half of the difference from a blur (51 px, sigma 8) is added where it is more than 10 of 255,
    with soft borders.
    """
    weight, threshold = 0.5, 10 / 255
    kernel = computed([Kernel("gaussian", 51, (8.0, 8.0))])
    difference = image - convolved(image[None], kernel)[0]
    strong = (difference.abs() > threshold).to(image)
    change = (image + weight * difference).clamp(0, 1) - image
    return image + convolved(strong[None], kernel)[0] * change
