"""Features of networks that others trained, for figures that compare with published ones.

FID and KID are published with an Inception-v3, CMMD with a CLIP, embedding similarity with UNI and
PLIP. None of these comes with Histomend: they need optional packages, and weights that a user has.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histomend.errors import (
    MissingDependencyError,
    ModelNotFoundError,
    SettingError,
    WeightsError,
)
from histomend.evaluate.encoder import Describes, checked_rgb, in_parts, load_encoder
from histomend.evaluate.square_encoder import SquareEncoder
from histomend.evaluate.timm_encoder import timm_encoder
from histomend.models.checkpoints import tensors_in

CLIP_NAME = "openai/clip-vit-large-patch14-336"
"""The network of CMMD (Jayasumana et al. 2024), on the Hugging Face hub."""
PLIP_NAME = "vinid/plip"
"""A CLIP of pathology (Huang et al. 2023), on the hub; open it as "clip"."""
UNI_NAME = "MahmoodLab/uni"
"""A ViT-L of pathology (Chen et al. 2024), on the hub behind a licence; open it as "timm"."""
INCEPTION_FEATURES = "2048"
# Of the images that CLIP was trained on.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_SPREAD = (0.26862954, 0.26130258, 0.27577711)


def features(name: str, weights: str | Path, device: str | torch.device = "cpu") -> Describes:
    """Return what turns images into features, for distances of sets and for similarity of pairs.

    Parameters
    ----------
    name : str
        "inception" (FID, KID), "clip" (CMMD; also PLIP), "timm" for UNI and any other encoder in
        timm's format, or "histology", our own small encoder.
    weights : str or Path
        For "inception" the file of the original FID network in PyTorch's format
        (``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity). For "clip" a folder in
        transformers' format or a name on the hub such as `CLIP_NAME` or `PLIP_NAME`, which is
        downloaded unless it is in the local cache. For "timm" the same in timm's format, such as
        `UNI_NAME`. For "histology" a folder (see `load_encoder`).

    Raises
    ------
    SettingError
        If there is no such network.
    MissingDependencyError
        If its package is not installed.
    ModelError
        If the weights are missing, damaged, unsafe, or of another network.
    """
    loaders = {"inception": _inception, "clip": _clip, "timm": _timm}
    if name == "histology":
        return load_encoder(Path(weights), device)
    if name not in loaders:
        known = ", ".join([*loaders, "histology"])
        raise SettingError(f"No features are called {name!r}. There are {known}.")
    return loaders[name](weights, torch.device(device))


@dataclass(frozen=True)
class Inception:
    """The Inception-v3 of FID, with its resizing; called as `Describes`."""

    network: nn.Module
    device: torch.device
    name: str = "Inception-v3"

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return features (N, 2048) of images (N, H, W, 3) uint8."""

        def described(part: npt.NDArray[np.uint8]) -> Tensor:
            pixels = torch.from_numpy(np.ascontiguousarray(part.transpose(0, 3, 1, 2)))
            return self.network(pixels.to(self.device))[0]

        return in_parts(described, checked_rgb(images), int(INCEPTION_FEATURES))


def _inception(weights: str | Path, device: torch.device) -> Describes:
    try:
        with warnings.catch_warnings():
            # Its dependencies warn of their own future while they are imported.
            warnings.simplefilter("ignore")
            from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError as error:
        raise _missing("torch-fidelity", "Inception-v3 for FID and KID") from error
    path = Path(weights)
    if not path.is_file():
        raise ModelNotFoundError(
            f"There is no file {path}. Name the weights of FID's Inception-v3: "
            "weights-inception-2015-12-05-6726825d.pth, from torch-fidelity's releases."
        )
    # The package would open any pickle; it is handed tensors alone.
    checked = io.BytesIO()
    torch.save(tensors_in(path), checked)
    checked.seek(0)
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", [INCEPTION_FEATURES], feature_extractor_weights_path=checked
        )
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not hold FID's Inception-v3 ({str(error)[:120]}…). torchvision's own "
            "Inception-v3 is another network, whose figures compare with none."
        ) from error
    return Inception(network.to(device), device)


def _clip(weights: str | Path, device: torch.device) -> Describes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import CLIPVisionModelWithProjection
    except ImportError as error:
        raise _missing("transformers", "CLIP for CMMD") from error
    try:
        network, told = CLIPVisionModelWithProjection.from_pretrained(
            str(weights), weights_only=True, output_loading_info=True
        )
    except Exception as error:  # Whatever another package makes of a damaged file or of no network.
        raise ModelNotFoundError(
            f"{weights} is no CLIP that can be loaded ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). Name a folder in transformers' format, or a name on "
            f"the Hugging Face hub such as {CLIP_NAME}, and check the connection."
        ) from error
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])[0]
        raise WeightsError(f"The CLIP in {weights} lacks the tensor {missing}. Download it again.")
    network.eval().requires_grad_(False).to(device)
    return SquareEncoder(
        lambda pixels: network(pixels).image_embeds,
        int(network.config.image_size),
        _CLIP_MEAN,
        _CLIP_SPREAD,
        int(network.config.projection_dim),
        device,
        f"CLIP {Path(weights).name}",
    )


def _timm(weights: str | Path, device: torch.device) -> Describes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except (ImportError, RuntimeError) as error:
        # A torchvision of another build than torch fails with a RuntimeError.
        raise _missing("timm", "encoder such as UNI") from error
    return timm_encoder(timm, weights, device)


def _missing(package: str, use: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{package} is not installed, or does not work here: without it there is no {use}. "
        'Install it: pip install "histomend[eval]"'
    )
