"""What is done with the pixels around a mask."""

from __future__ import annotations

import numpy as np

from histomend.tiles.surround import agree_with_surround


def test_a_cast_of_the_autoencoder_is_taken_away_under_the_mask() -> None:
    rng = np.random.default_rng(0)
    tissue = rng.uniform(-0.5, 0.5, (96, 80, 3)).astype(np.float32)
    hidden = np.zeros((96, 80), bool)
    hidden[30:60, 20:50] = True
    # A cast that is stronger on the right, as where stain is denser.
    cast = np.linspace(0.05, 0.15, 80, dtype=np.float32)[None, :, None]
    mended = agree_with_surround(tissue + cast, np.where(hidden[..., None], 9, tissue), hidden, 16)
    assert np.abs(mended - tissue).max() < 0.02


def test_detail_that_the_autoencoder_changed_is_not_smeared_into_the_mask() -> None:
    tissue = np.zeros((64, 64, 3), np.float32)
    grain = np.random.default_rng(1).normal(0, 0.1, tissue.shape).astype(np.float32)
    hidden = np.zeros((64, 64), bool)
    hidden[16:48, 16:48] = True
    mended = agree_with_surround(tissue, tissue + grain, hidden, 16)
    assert np.abs(mended[hidden]).max() < 0.05
