"""Figures that the trainings of restoring networks log, of crops whose truth is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def psnr(images: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB, mean over images.

    Parameters
    ----------
    images, truth : (B, C, H, W)
        Images are clipped to [-1, 1], in which the truth lies.
    """
    error = (images.clamp(-1, 1) - truth).square().mean((1, 2, 3)).clamp(min=1e-10)
    return round(float((10 * torch.log10(4 / error)).mean()), 3)


def laplacian_ratio(images: Tensor, truth: Tensor) -> float:
    """Return how sharp images are over how sharp they should be, geometric mean over images.

    Sharpness is the variance of the Laplacian; 1 is right, and less is smoother.

    Parameters
    ----------
    images, truth : (B, 3, H, W)
    """
    kernel = truth.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    edges = [F.conv2d(v, kernel, groups=3).var((1, 2, 3)) for v in (images, truth)]
    return round(float((edges[0] / edges[1]).log().mean().exp()), 3)
