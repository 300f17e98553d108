"""A latent space takes any field, and large ones in tiles as if undivided."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from histomend.diffusion.pooled import pool_norms, run_tiles
from histomend.diffusion.space import LatentSpace
from histomend.models import load_vae


@pytest.fixture(scope="module")
def space(tiny_vae: Path) -> LatentSpace:
    return LatentSpace(load_vae(tiny_vae))


def shaded(height: int, width: int) -> torch.Tensor:
    """Return a field whose left is unlike its right, so that tiles have other statistics."""
    torch.manual_seed(3)
    return (torch.randn(1, 3, height, width) * 0.3 + torch.linspace(-1, 1, width)).clamp(-1, 1)


@pytest.mark.parametrize("size", [(64, 64), (65, 71), (8, 3), (1, 1)])
def test_a_field_of_any_size_has_cells_for_all_its_pixels(
    space: LatentSpace, size: tuple[int, int]
) -> None:
    x = space.encode(shaded(*size))
    cells = tuple(-(-side // 8) for side in size)
    assert x.shape == (1, 4, *cells)
    assert space.decode(x).shape == (1, 3, 8 * cells[0], 8 * cells[1])


def test_encoding_draws_no_noise_and_is_scaled(space: LatentSpace) -> None:
    pixels = shaded(64, 64)
    x = space.encode(pixels)
    assert torch.equal(x, space.encode(pixels))
    assert torch.equal(x, space.vae.encode(pixels).latent_dist.mean * 0.5)
    assert torch.equal(space.decode(x), space.vae.decode(x / 0.5).sample)


def test_a_shift_is_taken_off_and_put_back(tiny_vae: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_vae, tmp_path / "vae"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "shift_factor": 0.25}))
    plain, shifted = LatentSpace(load_vae(tiny_vae)), LatentSpace(load_vae(folder))
    pixels = shaded(64, 64)
    torch.testing.assert_close(shifted.encode(pixels), plain.encode(pixels) - 0.125)
    x = shifted.encode(pixels)
    torch.testing.assert_close(shifted.decode(x), plain.decode(x + 0.125))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 10_000))
def test_a_cell_is_masked_when_any_of_its_pixels_is(height: int, width: int, seed: int) -> None:
    space = LatentSpace.__new__(LatentSpace)
    space.factor = 8
    mask = np.random.default_rng(seed).random((height, width)) < 0.02
    found = space.mask(torch.from_numpy(mask).float()[None, None])[0, 0].numpy()
    for y, x in np.ndindex(found.shape):
        assert found[y, x] == mask[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].any()


def test_a_norm_takes_the_statistics_of_all_tiles() -> None:
    """Where nothing but the first norm looks at its surroundings, tiles are exactly the whole."""
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.SiLU())
    nn.init.normal_(network[1].weight)
    pool_norms(network)
    field = shaded(40, 60)
    tiles = [partial(field.__getitem__, (..., slice(k, k + 20))) for k in (0, 20, 40)]
    with torch.no_grad():
        joined = torch.cat(list(run_tiles(network, tiles)), -1)
        alone = torch.cat([network(tile()) for tile in tiles], -1)
        torch.testing.assert_close(joined, network(field))
    assert (alone - joined).abs().max() > 0.1


def test_tiles_are_put_where_they_belong(space: LatentSpace) -> None:
    """With statistics that are the same everywhere only the place of the tiles matters."""
    tiled = LatentSpace(space.vae, tile=72, halo=128)
    x = torch.randn(1, 4, 1, 1).expand(1, 4, 29, 26)
    torch.testing.assert_close(
        tiled.decode(x)[..., 60:-60, 60:-60],
        space.decode(x)[..., 60:-60, 60:-60],
        atol=0.05,
        rtol=0.05,
    )
    assert tiled.encode(torch.zeros(1, 3, 230, 210)).shape == (1, 4, 29, 27)


def test_a_difference_is_that_of_the_decoded_fields(space: LatentSpace) -> None:
    """Each with its own statistics, tile by tile too."""
    x, y = torch.randn(1, 4, 20, 26), 2 * torch.randn(1, 4, 20, 26) + 1
    for one in (space, LatentSpace(space.vae, tile=72)):
        apart = one.decode(x) - one.decode(y)
        torch.testing.assert_close(one.decode_difference(x, y), apart, atol=1e-4, rtol=1e-4)
        assert one.decode_difference(x, y, torch.float16).dtype == torch.float16


def test_threads_do_not_share_statistics(space: LatentSpace) -> None:
    tiled = LatentSpace(space.vae, tile=64, halo=16)
    fields = [tiled.encode(shaded(100, 90 + 10 * k)) for k in range(4)]
    alone = [tiled.decode(x) for x in fields]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(tiled.decode, fields))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


def test_attention_in_the_middle_still_works(tiny_vae: Path) -> None:
    AutoencoderKL = type(load_vae(tiny_vae))
    torch.manual_seed(0)
    config = AutoencoderKL.load_config(tiny_vae)
    vae = AutoencoderKL.from_config({**config, "mid_block_add_attention": True}).eval()
    with torch.no_grad():
        for space in (LatentSpace(vae), LatentSpace(vae, tile=96, halo=64)):
            decoded = space.decode(space.encode(shaded(128, 200)))
            assert decoded.shape == (1, 3, 128, 200)
            assert decoded.isfinite().all()
