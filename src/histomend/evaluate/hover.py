"""Nuclei by HoVer-Net, for those who have its published weights; the default needs none.

The network says which pixels are nuclear and where within its nucleus each lies; between touching
nuclei that place jumps from one side to the other, and there they are cut (Graham et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from histomend.errors import ModelMismatchError, SettingError, WeightsError
from histomend.evaluate.nuclei import check_field, segment_nuclei
from histomend.models import fill
from histomend.models.checkpoints import tensors_in
from histomend.networks.hovernet import (
    EXCESS_PX,
    MARGIN_PX,
    HoVerNet,
    hovernet_names,
    hovernet_settings,
)

# From pixels (H, W, 3) uint8 and micrometres per pixel to labels (H, W) int32.
Segmenter = Callable[[np.ndarray, float], np.ndarray]

NETWORK_MPP = 0.25  # 40x, on which the published files of the original mode were trained
WINDOW_PX = 270

# Of the published post-processing, all in pixels of the network.
_NUCLEAR = 0.5  # least probability
_EDGE = 0.4  # share of the steepest jump at which a pixel is no marker
_SLOPE_PX = 21  # size of the Sobel filter
_LEAST_PX = 10


def nuclei_segmenter(nuclei_weights: Path | None = None) -> Segmenter:
    """Return what outlines nuclei: the default, which needs no weights, or HoVer-Net.

    Parameters
    ----------
    nuclei_weights : Path, optional
        A file of HoVer-Net, see :class:`HoverNuclei`.

    Raises
    ------
    UnsafeWeightsError, WeightsError, ModelMismatchError
        See :class:`HoverNuclei`.
    """
    return segment_nuclei if nuclei_weights is None else HoverNuclei(nuclei_weights)


class HoverNuclei:
    """Outlines nuclei by a published HoVer-Net of the original mode.

    Parameters
    ----------
    weights : Path
        What the authors publish (``hovernet_original_consep_notype_tf2pytorch.tar``, also with
        types), a checkpoint of PyTorch with the tensors under ``desc``.
    device : str
    window_px : int
        Side of what the network sees at once, 6 more than a multiple of 8, at least 198. The
        authors' 270 gives 80 pixels of output; larger ones are quicker, and not quite the same.

    Raises
    ------
    UnsafeWeightsError
        The file could run code when opened; only tensors are read.
    WeightsError
        The file is missing, damaged, or not of HoVer-Net.
    ModelMismatchError
        The file is of the fast mode (PanNuke, MoNuSAC).
    SettingError
        There is no window of this size.
    """

    def __init__(self, weights: Path, *, device: str = "cpu", window_px: int = WINDOW_PX):
        if window_px <= MARGIN_PX or window_px % 8 != EXCESS_PX:
            raise SettingError(
                f"HoVer-Net takes no window of {window_px} pixels: give 198, 206, 214, ... "
                f"The authors' is {WINDOW_PX}."
            )
        self.device, self.window_px = device, window_px
        self.network = load_hovernet(weights).to(device)

    def __call__(self, pixels: np.ndarray, mpp: float = 0.5) -> np.ndarray:
        """Outline the nuclei of an H&E image.

        Takes, returns and raises what :func:`histomend.evaluate.nuclei.segment_nuclei` does.
        """
        from skimage.segmentation import relabel_sequential

        check_field(pixels, mpp)
        height, width = pixels.shape[:2]
        # The network knows one scale.
        scale = mpp / NETWORK_MPP
        size = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        nuclear, places = self.maps(cv2.resize(pixels, size, interpolation=method))
        labels = divide(nuclear, places)
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        numbered: np.ndarray = relabel_sequential(labels)[0]
        return numbered.astype(np.int32)

    @torch.inference_mode()
    def maps(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the network over an image, window by window.

        Parameters
        ----------
        pixels : (H, W, 3) uint8
            At the network's 0.25 micrometres per pixel.

        Returns
        -------
        tuple of (H, W) and (2, H, W) float32
            Probability of nucleus; place within it to the right and down, -1 to 1.
        """
        height, width = pixels.shape[:2]
        step, before = self.window_px - MARGIN_PX, MARGIN_PX // 2
        around = [(before, before + -length % step) for length in (height, width)]
        padded = np.pad(pixels, (*around, (0, 0)), mode="reflect")
        found = np.zeros((3, height + -height % step, width + -width % step), np.float32)
        for y in range(0, height, step):
            for x in range(0, width, step):
                window = padded[y : y + self.window_px, x : x + self.window_px]
                seen = torch.from_numpy(window.transpose(2, 0, 1)[None].astype(np.float32) / 255)
                maps = self.network(seen.to(self.device))
                told = torch.cat([maps["np"].softmax(1)[:, 1:], maps["hv"]], 1)
                found[:, y : y + step, x : x + step] = told[0].cpu().numpy()
        found = found[:, :height, :width]
        return found[0], found[1:]


def load_hovernet(weights: Path) -> HoVerNet:
    """Read a published file into the network, ready to be called.

    Raises
    ------
    UnsafeWeightsError, WeightsError, ModelMismatchError
        See :class:`HoverNuclei`.
    """
    tensors: dict[str, Tensor] = hovernet_names(tensors_in(weights))
    first = tensors.get("decoder.np.u3.conva.weight")
    if first is not None and first.shape[-1] == 3:
        raise ModelMismatchError(
            f"{weights} is a HoVer-Net of the fast mode (PanNuke, MoNuSAC), and this is the "
            f"original mode: take the authors' file for CoNSeP, Kumar or CPM17."
        )
    try:
        settings = hovernet_settings(tensors)
    except KeyError as error:
        raise WeightsError(
            f"{weights} lacks the tensor {error.args[0]}, so it is no HoVer-Net: take one of the "
            f"files that its authors publish."
        ) from error
    network = HoVerNet(**settings)
    # Files that were converted from TensorFlow lack these counters, which only training reads.
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("batches_tracked")}
    fill(network, counters | tensors, str(weights))
    return network.eval()


def divide(nuclear: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Divide what is nuclear into nuclei where the places within them jump.

    Parameters
    ----------
    nuclear : (H, W) float32 in [0, 1]
        Probability of nucleus.
    places : (2, H, W) float32
        Distance from the nucleus' centre to the right and down, in half its extent.

    Returns
    -------
    (H, W) int32
        0 outside nuclei, 1..N inside.

    Notes
    -----
    The thresholds are the authors', and so is that slopes are taken relative to the steepest of
    the image.
    """
    from skimage.segmentation import watershed

    inside = _without_specks(ndimage.label(nuclear >= _NUCLEAR)[0]) > 0
    if not inside.any():
        return np.zeros(nuclear.shape, np.int32)
    # From the left to the right edge of a nucleus its place rises, and falls to the next one's.
    slopes = (
        _stretched(cv2.Sobel(_stretched(place), cv2.CV_64F, right, 1 - right, ksize=_SLOPE_PX))
        for place, right in zip(places, (1, 0), strict=True)
    )
    jump = np.where(inside, 1.0 - np.minimum(*slopes), 0.0)
    basins = -cv2.GaussianBlur(np.where(inside, 1.0 - jump, 0.0), (3, 3), 0)
    cores = ndimage.binary_fill_holes(inside & (jump < _EDGE)).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    markers = ndimage.label(cv2.morphologyEx(cores, cv2.MORPH_OPEN, disc))[0]
    labels: np.ndarray = watershed(basins, _without_specks(markers), mask=inside)
    return labels.astype(np.int32)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Return values brought to 0 to 1."""
    low, high = float(values.min()), float(values.max())
    stretched: np.ndarray = (values - low) / (high - low) if high > low else values * 0.0
    return stretched


def _without_specks(labels: np.ndarray) -> np.ndarray:
    """Return labels without those of fewer pixels than a nucleus can have."""
    kept = np.bincount(labels.ravel()) >= _LEAST_PX
    kept[0] = False
    return np.where(kept[labels], labels, 0)
