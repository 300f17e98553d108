"""Training on noisy images alone: a pixel is predicted from its neighbour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from histomend import denoise
from histomend.errors import SettingError
from histomend.models import load_model
from histomend.train import Noise2NoiseOptions, train
from histomend.train.neighbours import NeighbourPairs, neighbour_choice, neighbours


def test_the_two_images_hold_neighbours_of_each_cell_and_all_channels_of_a_pixel() -> None:
    places = torch.arange(8 * 10).reshape(1, 1, 8, 10).float()
    images = torch.cat([places, places + 1000], 1)
    choice = neighbour_choice(images.shape, np.random.default_rng(0))
    one, other = neighbours(images, choice)
    assert one.shape == (1, 2, 4, 5)
    assert (one[:, 1] == one[:, 0] + 1000).all()
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
    for part in (one, other):
        y, x = part[0, 0] // 10, part[0, 0] % 10
        assert (y // 2 == rows).all()
        assert (x // 2 == columns).all()
    apart = (one - other).abs()[0, 0]
    assert set(apart.unique().tolist()) == {1.0, 10.0}, "neighbours share a side"


class Tells(nn.Module):
    """Takes everything for noise, or nothing."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.share * x


def test_the_loss_is_that_of_one_neighbour_from_the_other_with_the_paper_s_correction() -> None:
    noisy = torch.randn((2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(5)
    one, other = neighbours(noisy, neighbour_choice(noisy.shape, np.random.default_rng(5)))
    # Who changes nothing has no error that the correction does not explain.
    kept = NeighbourPairs().loss(Tells(0.0), noisy, rng)
    assert kept == pytest.approx(float((one - other).square().mean()))
    # Who leaves nothing: the whole image explains nothing.
    gone = NeighbourPairs().loss(Tells(1.0), noisy, np.random.default_rng(5))
    assert gone == pytest.approx(3 * float(other.square().mean()))


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Return a folder of noisy images of waves."""
    folder, rng = tmp_path / "noisy", np.random.default_rng(0)
    folder.mkdir()
    y, x = np.mgrid[:96, :96] / 14
    for number in range(4):
        light = 120 + 60 * np.sin(x + number) * np.cos(y) + rng.normal(0, 25, (96, 96))
        PIL.Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_it_learns_to_clean_from_noisy_images_alone(noisy: Path, tmp_path: Path) -> None:
    quick = {"arch": "tiny", "batch": 4, "crop": 64, "device": "cpu", "lr": 3e-3, "ema": 0.9}
    out = train(
        Noise2NoiseOptions(noisy, tmp_path / "run", noisy=True, channels=1, steps=80, **quick)
    )
    y, x = np.mgrid[:96, :96] / 14
    truth = 120 + 60 * np.sin(x + 1) * np.cos(y)
    image = np.asarray(PIL.Image.open(noisy / "1.png"))
    found = denoise(image, method="noise2noise", model=load_model(out, "cpu")).pixels
    before, after = (np.square(part - truth).mean() for part in (image.astype(float), found))
    assert after < 0.7 * before


def test_two_simulated_channels_are_not_noisy_themselves(noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--channels 1"):
        train(Noise2NoiseOptions(noisy, tmp_path / "run", noisy=True, channels=2, steps=1))
