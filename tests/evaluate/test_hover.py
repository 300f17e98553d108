from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from histomend.errors import (
    ModelMismatchError,
    PixelSizeError,
    SettingError,
    UnsafeWeightsError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.evaluate.hover import HoverNuclei, divide, load_hovernet, nuclei_segmenter
from histomend.evaluate.nuclei import segment_nuclei
from histomend.networks.hovernet import HoVerNet


def published(path: Path, types: int | None = None) -> dict[str, torch.Tensor]:
    """Write a small network as the authors write theirs, converted from TensorFlow."""
    torch.manual_seed(0)
    network = HoVerNet(types, width=8)
    tensors = {k: v for k, v in network.state_dict().items() if "batches_tracked" not in k}
    tensors["upsample2x.unpool_mat"] = torch.ones(2, 2)
    torch.save({"desc": tensors}, path)
    return tensors


def discs(*places: tuple[int, int], radius: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Draw the maps that a perfect network would give for discs."""
    y, x = np.mgrid[:64, :96]
    nuclear, where = np.zeros((64, 96), np.float32), np.zeros((2, 64, 96), np.float32)
    for cy, cx in places:
        nearer = np.hypot(y - cy, x - cx) <= radius
        nuclear[nearer] = 0.9
        where[0][nearer] = ((x - cx) / radius)[nearer]
        where[1][nearer] = ((y - cy) / radius)[nearer]
    return nuclear, where


def test_published_files_load_with_and_without_types(tmp_path: Path) -> None:
    for types in (None, 5):
        weights = tmp_path / "hovernet.tar"
        tensors = published(weights, types)
        network = load_hovernet(weights)
        assert not network.training
        assert torch.equal(network.state_dict()["conv0./.weight"], tensors["conv0./.weight"])
        parallel = {f"module.{name}": value for name, value in tensors.items()}
        torch.save({"desc": parallel}, weights)
        assert load_hovernet(weights).state_dict().keys() == network.state_dict().keys()


def test_images_of_any_size_get_labels_of_theirs(tmp_path: Path) -> None:
    published(tmp_path / "hovernet.tar")
    segment = HoverNuclei(tmp_path / "hovernet.tar", window_px=222)
    pixels = np.random.default_rng(0).integers(0, 256, (21, 30, 3)).astype(np.uint8)
    labels = segment(pixels, 0.5)
    assert labels.shape == (21, 30)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, segment(pixels, 0.5))
    assert set(np.unique(labels)) - {0} == set(range(1, labels.max() + 1))
    # The network is shown the middle of a window that goes on beyond the image by reflection.
    nuclear, places = segment.maps(pixels)
    around = np.pad(pixels, ((95, 106), (95, 97), (0, 0)), mode="reflect")
    seen = torch.from_numpy(around.transpose(2, 0, 1)[None] / 255).float()
    with torch.inference_mode():
        maps = segment.network(seen)
    np.testing.assert_allclose(nuclear, maps["np"].softmax(1)[0, 1, :21, :30], atol=1e-5)
    np.testing.assert_allclose(places, maps["hv"][0, :, :21, :30], atol=1e-4)


def test_touching_nuclei_are_cut_where_their_places_jump() -> None:
    nuclear, where = discs((20, 20), (20, 36), (44, 70), (30, 88))
    labels = divide(nuclear, where)
    assert labels.max() == 4
    # The second lies over a little of the first.
    for cy, cx in [(20, 20), (20, 36), (44, 70), (30, 88)]:
        own = labels == labels[cy, cx]
        assert np.abs(np.mean(np.nonzero(own), axis=1) - (cy, cx)).max() < 2.5
    assert (labels > 0).sum() == (nuclear > 0.5).sum()
    assert divide(np.zeros_like(nuclear), where).max() == 0


def test_the_default_needs_no_weights(tmp_path: Path) -> None:
    assert nuclei_segmenter() is segment_nuclei
    published(tmp_path / "hovernet.tar")
    assert isinstance(nuclei_segmenter(tmp_path / "hovernet.tar"), HoverNuclei)


def test_wrong_files_and_arguments_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "hovernet.tar"
    with pytest.raises(WeightsError, match=r"hovernet\.tar"):
        HoverNuclei(weights)
    weights.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(WeightsError, match="damaged"):
        HoverNuclei(weights)
    torch.save({"desc": {"weight": torch.ones(3)}}, weights)
    with pytest.raises(WeightsError, match=r"lacks the tensor conv0\.bn\.bias"):
        HoverNuclei(weights)
    tensors = published(weights)
    torch.save(
        {"desc": {**tensors, "decoder.np.u3.conva.weight": torch.ones(32, 128, 3, 3)}}, weights
    )
    with pytest.raises(ModelMismatchError, match="fast mode"):
        HoverNuclei(weights)
    del tensors["d2.units.4.conv3.weight"]
    torch.save({"desc": tensors}, weights)
    with pytest.raises(WeightsError, match=r"d2\.units\.4\.conv3\.weight"):
        HoverNuclei(weights)
    torch.save(HoVerNet(width=8), weights)
    with pytest.raises(UnsafeWeightsError):
        HoverNuclei(weights)
    published(weights)
    with pytest.raises(SettingError, match="198, 206"):
        HoverNuclei(weights, window_px=256)
    segment = HoverNuclei(weights)
    with pytest.raises(PixelSizeError):
        segment(np.zeros((9, 9, 3), np.uint8), 0)
    with pytest.raises(UnsupportedImageError):
        segment(np.zeros((9, 9), np.uint8))
