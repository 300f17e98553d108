from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histomend.errors import ImageSizeError, UnsupportedImageError
from histomend.evaluate.encoder import EncoderConfig, save_encoder
from histomend.evaluate.pretrained import features
from histomend.evaluate.similarity import embedding_similarity


class Means:
    """Describes an image by its mean colour."""

    name = "means"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images.mean((1, 2), dtype=np.float64)


def of_colour(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((40, 40, 3), colour, np.uint8) for colour in colours])


def test_similarity_is_the_cosine_of_each_pair() -> None:
    truth = of_colour((200, 0, 0), (100, 100, 0), (9, 9, 9), (0, 0, 0))
    images = of_colour((0, 50, 0), (100, 0, 0), (200, 200, 200), (1, 2, 3))
    found = embedding_similarity(Means(), truth, images)
    assert found[:3] == pytest.approx([0, np.sqrt(0.5), 1])
    assert np.isnan(found[3])  # A black truth has no direction.


def test_any_encoder_compares_pairs_of_one_size(tmp_path: Path) -> None:
    config = EncoderConfig(features=8)
    save_encoder(tmp_path, config.network().state_dict(), config)
    encoder = features("histology", tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    assert embedding_similarity(encoder, images, images) == pytest.approx(1)
    assert (embedding_similarity(encoder, images, images // 4) < 1).all()
    with pytest.raises(ImageSizeError, match="one size"):
        embedding_similarity(encoder, images, images[:2])
    with pytest.raises(UnsupportedImageError, match="8-bit RGB"):
        embedding_similarity(encoder, images / 255, images / 255)
