from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.damage.degradations import PIPELINES, degrade_batch, pipeline_named
from histomend.damage.kernels import KernelRange
from histomend.damage.pipelines import CodeFormer, RealEsrgan
from histomend.damage.steps import Jpeg, Resize
from histomend.errors import ImageSizeError, SettingError, UnsupportedImageError


def tissue(count: int, height: int = 48, width: int = 40) -> torch.Tensor:
    rng = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, 6, 5, generator=rng)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


@pytest.mark.parametrize("name", PIPELINES)
def test_images_keep_their_size_range_and_levels(name: str) -> None:
    clean = tissue(4)
    before = clean.clone()
    done = degrade_batch(clean, range(4), PIPELINES[name])
    assert done.images.shape == clean.shape
    assert (done.images.dtype, torch.equal(clean, before)) == (torch.float32, True)
    levels = done.images * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert 0 <= float(levels.min()) < float(levels.max()) <= 255
    # It is still the same image.
    assert float((done.images.mean((2, 3)) - clean.mean((2, 3))).abs().max()) < 0.1


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=2, max_size=4), st.sampled_from(list(PIPELINES)))
def test_an_image_depends_on_its_own_seed_alone(seeds: list[int], name: str) -> None:
    clean = tissue(len(seeds))
    together = degrade_batch(clean, seeds, PIPELINES[name])
    alone = degrade_batch(clean[-1:], seeds[-1:], PIPELINES[name])
    assert torch.equal(together.images[-1:], alone.images)
    assert together.record(len(seeds) - 1) == alone.record(0)


def test_seeds_differ() -> None:
    clean = tissue(1).expand(2, -1, -1, -1)
    done = degrade_batch(clean, (1, 2), CodeFormer())
    assert done.record(0) != done.record(1)
    assert not torch.equal(done.images[0], done.images[1])


def test_the_record_says_what_was_drawn() -> None:
    words = degrade_batch(tissue(1), (3,), RealEsrgan()).record(0)
    assert words.startswith("sharpened; ")
    assert "40x48" in words.rsplit(";", 1)[1]
    assert words.count("JPEG") == 2


def test_upscalers_get_small_images() -> None:
    assert degrade_batch(tissue(2), (0, 1), RealEsrgan(back=False)).images.shape == (2, 3, 12, 10)


def test_plans_follow_the_papers_ranges() -> None:
    rng = np.random.default_rng(0)
    plans = [RealEsrgan().draw(rng, 256, 256) for _ in range(300)]
    firsts = [next(s for s in plan if isinstance(s, Resize)).size[0] for plan in plans]
    assert 38 <= min(firsts) < 50
    assert 370 < max(firsts) <= 384
    assert np.mean([h > 256 for h in firsts]) == pytest.approx(0.2, abs=0.06)
    last_is_jpeg = np.mean([isinstance(plan[-2], Jpeg) for plan in plans])
    assert last_is_jpeg == pytest.approx(0.5, abs=0.1)
    faces = [CodeFormer().draw(rng, 256, 256) for _ in range(300)]
    assert {type(step).__name__ for plan in faces for step in plan} == {
        "Kernel",
        "Resize",
        "GaussianNoise",
        "Jpeg",
    }
    assert min(plan[1].size[1] for plan in faces if isinstance(plan[1], Resize)) < 24


def test_the_mixture_has_all_three() -> None:
    rng = np.random.default_rng(0)
    lengths = [len(PIPELINES["mixed"].draw(rng, 64, 64)) for _ in range(90)]
    assert lengths.count(2) > 15
    assert lengths.count(5) > 15
    assert sum(n > 5 for n in lengths) > 15


def test_wrong_images_seeds_and_names_are_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="uint8"):
        degrade_batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), (0,), CodeFormer())
    with pytest.raises(ImageSizeError, match="40x20"):
        degrade_batch(torch.zeros(1, 3, 20, 40), (0,), CodeFormer())
    for seeds in ((), (1, 2), (-1,)):
        with pytest.raises(SettingError, match="seeds"):
            degrade_batch(torch.zeros(1, 3, 64, 64), seeds, CodeFormer())
    with pytest.raises(SettingError, match="real-esrgan"):
        pipeline_named("bsrgan")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="odd"):
        KernelRange((8,), (0.2, 3.0))
    with pytest.raises(SettingError, match="add up"):
        KernelRange((7,), (0.2, 3.0), gaussian=(0.5, 0.5))
    with pytest.raises(SettingError, match="smaller"):
        RealEsrgan(scale=0.5)
