from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from histomend.diffusion.space import LatentSpace
from histomend.errors import TrainingError
from histomend.models import load_vae, vae_facts
from histomend.train.data import Tiles
from histomend.train.latents import Latents, latent_batch

Write = Callable[..., Path]


@pytest.fixture
def encoded(tiny_vae: Path, tmp_path: Path) -> Callable[..., Latents]:
    """Return a function that encodes the tiles of a folder."""

    def encode(folder: Path, versions: int = 2) -> Latents:
        tiles = Tiles(folder, tmp_path / "cache")
        space = LatentSpace(load_vae(tiny_vae))
        facts = vae_facts(tiny_vae)
        return Latents(tiles, space, facts, tmp_path / "cache", versions=versions)

    return encode


def test_crops_are_the_scaled_latents_of_the_tiles(
    tmp_path: Path, tiles_in: Write, encoded: Callable[..., Latents], tiny_vae: Path
) -> None:
    """White stays white whatever is varied, so all its crops must be those of white."""
    folder = tiles_in(tmp_path / "t", {"1.png": 300, "2.png": 300})
    space = LatentSpace(load_vae(tiny_vae))
    with torch.inference_mode():
        white = space.encode(torch.ones(1, 3, 64, 64))[0].numpy()
    latents = encoded(folder)
    assert latents.cells.shape == (2, 2, 5, 8, 8)
    whole = latents.crop(np.random.default_rng(0), 8)
    assert (whole.shape, whole.dtype) == ((4, 8, 8), np.float32)
    # A share of their size, as the latents may be computed in bf16.
    assert np.abs(whole - white).max() < 0.03 * np.abs(white).max()


def test_each_version_of_a_tile_differs_and_crops_come_from_anywhere(
    data: Path, encoded: Callable[..., Latents]
) -> None:
    latents = encoded(data)
    assert not np.array_equal(latents.cells[0, 0], latents.cells[0, 1])
    crops = {latents.crop(np.random.default_rng(k), 4).tobytes() for k in range(40)}
    assert len(crops) > 30


def test_slides_are_sampled_evenly_and_light_places_more_often(
    tmp_path: Path, tiles_in: Write, encoded: Callable[..., Latents]
) -> None:
    folder = tiles_in(
        tmp_path / "t", {"light/1.png": 240, **{f"dark/{k}.png": 60 for k in range(5)}}
    )
    latents = encoded(folder, 1)
    light = latents.cells[:, 0, -1].mean((1, 2)) > 0.5
    assert list(np.flatnonzero(light)) == [5]
    first = latents.cells[5, 0, 0].astype(np.float32)
    rng = np.random.default_rng(0)
    share = np.mean([np.array_equal(latents.crop(rng, 8)[0], first) for _ in range(600)])
    assert 0.5 < share < 0.65, "half, and three more chances for one crop in ten"


def test_tiles_are_encoded_once_and_the_same_again(
    data: Path,
    encoded: Callable[..., Latents],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "histomend")
    first = np.array(encoded(data).cells)
    encoded(data)
    assert sum("encoding 4 tiles in 2 versions" in line for line in caplog.messages) == 1
    for path in (tmp_path / "cache").glob("latents-*"):
        path.unlink()
    assert np.array_equal(encoded(data).cells, first)
    caplog.clear()
    encoded(data, versions=3)
    assert "in 3 versions" in caplog.text, "other versions are other latents"


def test_a_cell_is_masked_if_any_of_its_pixels_is(
    data: Path, encoded: Callable[..., Latents], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_pixel(shape: tuple[int, int], *_: object, **__: object) -> np.ndarray:
        mask = np.zeros(shape, bool)
        mask[15, 16] = True
        return mask

    monkeypatch.setattr("histomend.train.latents.random_mask", one_pixel)
    latents, masks = latent_batch(encoded(data), np.random.default_rng(0), 3, 4, 0, 8)
    assert (latents.shape, masks.shape) == ((3, 4, 4, 4), (3, 1, 4, 4))
    assert (masks.sum((1, 2, 3)) == 1).all()
    assert (masks[:, 0, 1, 2] == 1).all()


def test_a_batch_is_a_function_of_its_generator(
    data: Path, encoded: Callable[..., Latents]
) -> None:
    source = encoded(data)
    both = [latent_batch(source, np.random.default_rng(3), 6, 4, 0.5, 8) for _ in range(2)]
    assert np.array_equal(both[0][0], both[1][0])
    assert np.array_equal(both[0][1], both[1][1])
    whole = both[0][1].reshape(6, -1).all(1)
    assert 0 < whole.sum() < 6, "some without context, some with"


def test_an_autoencoder_that_gives_no_numbers_leaves_nothing_behind(
    data: Path, encoded: Callable[..., Latents], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        LatentSpace, "encode", lambda _, x: torch.full((len(x), 4, 8, 8), float("nan"))
    )
    with pytest.raises(TrainingError, match="not finite or exceed fp16"):
        encoded(data)
    assert not list((tmp_path / "cache").glob("latents*"))
