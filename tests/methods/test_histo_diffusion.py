from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import scaled_linear
from histomend.errors import SettingError
from histomend.methods.colour import (
    HALO,
    adain_fixed,
    coarse,
    keep_between_pixels,
    moments,
    wavelet_fixed,
)
from histomend.methods.histo_diffusion import HistoDiffusion, controlled_sampling, times_for
from histomend.models.upscaler import UpscalerConfig

LEVELS = scaled_linear(1000)
CONFIG = UpscalerConfig("", "small", "", "", "", fast_steps=8)


def stream() -> NoiseStream:
    return NoiseStream([NoiseField(3)], [(0, 0)])


def image(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 3, 120, 90, generator=torch.Generator().manual_seed(seed))


def test_all_of_the_generation_starts_from_noise_and_less_from_the_control() -> None:
    control = 3 + image()
    pure = HistoDiffusion(control, 1000, LEVELS).start(stream())
    torch.testing.assert_close(pure, stream().draw(control))
    near = HistoDiffusion(control, 1, LEVELS).start(stream())
    assert float((near - control).abs().mean()) < 0.1


def test_presets() -> None:
    paper = controlled_sampling("paper", CONFIG, LEVELS)
    assert (paper.steps, paper.sampler) == (50, "ddpm")
    assert controlled_sampling("fast", CONFIG, LEVELS).steps == 8
    few = controlled_sampling("fast", CONFIG, LEVELS, steps=3, sampler="ddim")
    assert (few.steps, few.sampler) == (3, "ddim")
    for wrong in ({"preset": "author_code"}, {"sampler": "euler"}, {"steps": 2000}):
        with pytest.raises(SettingError):
            controlled_sampling(**{"preset": "fast", "config": CONFIG, "schedule": LEVELS} | wrong)


def test_a_smaller_share_of_the_generation_starts_later_and_takes_fewer_steps() -> None:
    chosen = controlled_sampling("fast", CONFIG, LEVELS)
    assert times_for(1.0, chosen, LEVELS) == LEVELS.spaced(8)
    assert times_for(0.5, chosen, LEVELS) == [500, 375, 250, 125, 0]
    assert times_for(1e-6, chosen, LEVELS) == [1, 0]


def test_the_wavelet_fix_takes_the_coarse_part_of_the_reference() -> None:
    x, reference = image(), image(1) + torch.tensor([1.0, 0, -1])[None, :, None, None]
    fixed = wavelet_fixed(x, reference)
    torch.testing.assert_close(fixed, x - coarse(x) + coarse(reference), rtol=1e-4, atol=1e-5)
    flat = torch.full((1, 3, 40, 40), 0.3)
    torch.testing.assert_close(coarse(flat), flat)


def test_a_band_with_its_halo_is_fixed_as_the_whole_is() -> None:
    x, reference = image(), image(1)
    whole = wavelet_fixed(x, reference)
    wide = slice(50 - HALO, 60 + HALO)
    part = wavelet_fixed(x[:, :, wide], reference[:, :, wide])[:, :, HALO:-HALO]
    torch.testing.assert_close(part, whole[:, :, 50:60])


def test_adain_gives_the_moments_of_the_reference() -> None:
    x, reference = image(), 2 * image(1) + 5
    own, wanted = (moments(v[0].split(32, 1)) for v in (x, reference))
    fixed = adain_fixed(x, own, wanted)
    torch.testing.assert_close(fixed.mean((0, 2, 3)), reference.mean((0, 2, 3)))
    torch.testing.assert_close(
        fixed.std((0, 2, 3), correction=0), reference.std((0, 2, 3), correction=0)
    )


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    scale=st.floats(1, 8),
    level=st.floats(-1, 1),
)
def test_a_change_that_the_source_would_show_goes(
    height: int, width: int, scale: float, level: float
) -> None:
    """A level is such a change, whatever the size; in half precision too."""
    grid = max(1, round(height / scale)), max(1, round(width / scale))
    for dtype in (torch.float32, torch.float16):
        change = torch.full((3, height, width), level, dtype=dtype)
        keep_between_pixels(change, grid)
        assert change.abs().max() < 1e-3


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_of_a_change_what_lies_between_the_pixels_of_the_source_stays(scale: int) -> None:
    change = image()[0, :, :80, :80]
    kept = change.clone()
    keep_between_pixels(kept, (80 // scale, 80 // scale))
    shown, before = (F.avg_pool2d(x, scale).square().mean() for x in (kept, change))
    assert shown < 0.01 * before
    # Noise has 1 / scale² of its strength in the means.
    assert kept.var() > (1 - 1.3 / scale**2) * change.var()


def test_an_image_that_is_hardly_enlarged_may_change_finer_than_two_pixels() -> None:
    change = image()[0]
    keep_between_pixels(change, (120, 90))
    assert change.std() > 0.5
