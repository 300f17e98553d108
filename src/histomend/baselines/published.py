"""Upscalers from published weight files: BSRGAN, Real-ESRGAN, SwinIR, and what was converted.

The size of the network is read from the tensors, so that smaller networks trained elsewhere in the
same formats load too, as does the restoration module of DiffBIR, whose scale is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histomend.errors import ModelNotFoundError, WeightsError
from histomend.image import check_rgb
from histomend.models import fill, weights_sha256
from histomend.models.checkpoints import tensors_in
from histomend.networks.rrdb import RRDBNet, rrdb_names, rrdb_settings
from histomend.networks.rrdn import RRDN, rrdn_settings
from histomend.networks.swinir import SwinIR, swinir_names, swinir_settings


@dataclass(frozen=True)
class PublishedUpscaler:
    """A loaded upscaler.

    Parameters
    ----------
    network : RRDBNet, RRDN or SwinIR
    scale : int
        The only factor by which it enlarges.
    name, sha256 : str
        Of the file that it was loaded from.
    """

    network: nn.Module
    scale: int
    name: str = ""
    sha256: str = ""

    @torch.no_grad()
    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Enlarge an image, all of it at once.

        Parameters
        ----------
        pixels : (H, W, 3) uint8

        Returns
        -------
        (scale H, scale W, 3) uint8

        Raises
        ------
        UnsupportedImageError
            It is no 8-bit RGB image.
        """
        check_rgb(pixels, "This upscaler", hint="Convert the image first.")
        device = next(self.network.parameters()).device
        x = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
        y = self.network(x.to(device))[0].clamp(0, 1).mul(255).round().byte()
        return y.permute(1, 2, 0).cpu().numpy()

    def record(self) -> dict[str, Any]:
        """Return what the record of an enlarged image says of the weights."""
        network = type(self.network).__name__
        return {"name": self.name, "sha256": self.sha256, "network": network, "scale": self.scale}


def load_published(path: Path, device: str | torch.device = "cpu") -> PublishedUpscaler:
    """Load a weight file of BSRGAN, Real-ESRGAN, ISR's ESRGAN or SwinIR with nearest upsampling.

    Parameters
    ----------
    path : Path
        For instance `BSRGAN.pth`, `RealESRGAN_x4plus.pth`, or
        `003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth`, or what
        `histomend.models.convert_upscaler` wrote.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    UnsafeWeightsError
        It is a pickle that could run code; it is not opened.
    WeightsError
        It is damaged, of another network, or lacks tensors.
    """
    if not path.is_file():
        raise ModelNotFoundError(
            f"There is no file {path}. Download the weights from where their authors published "
            "them, and name the file."
        )
    # Networks that were trained on several devices at once have this before each name.
    tensors = {n.removeprefix("module."): value for n, value in tensors_in(path).items()}
    network = _network(tensors, path)
    return PublishedUpscaler(
        network.eval().requires_grad_(False).to(device),
        network.scale,
        path.name,
        weights_sha256([path]),
    )


def _network(tensors: dict[str, Tensor], path: Path) -> RRDBNet | RRDN | SwinIR:
    network: RRDBNet | RRDN | SwinIR
    try:
        if any(".residual_group." in name for name in tensors):
            settings = swinir_settings(tensors)
            network, named = _made(SwinIR, settings, path), swinir_names(tensors)
        elif "conv_shuffle.weight" in tensors:
            named = tensors
            network = _made(RRDN, rrdn_settings(named), path)
        else:
            named = rrdb_names(tensors)
            network = _made(RRDBNet, rrdb_settings(named), path)
    except KeyError as error:
        raise WeightsError(
            f"{path} is of no network that is known here: it has no tensor {error.args[0]}. "
            "BSRGAN's and Real-ESRGAN's RRDBNet, ISR's RRDN, and SwinIR with nearest upsampling, "
            "can be loaded; files of ncnn and TensorFlow.js after `histomend convert upscaler`."
        ) from error
    fill(network, named, str(path))
    return network


def _made(make: Any, settings: dict[str, Any], path: Path) -> Any:
    try:
        return make(**settings)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{path} has tensors of sizes that do not go together ({error}). It is damaged or of "
            "a network that is not known here."
        ) from error
