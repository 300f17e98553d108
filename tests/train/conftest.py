"""Tiny networks and tiles, so that a run takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histomend.networks.autoencoder import VAE_ARCHS
from histomend.networks.build import ARCHS, CALIBRATED_ARCHS, LATENT_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet
from histomend.networks.swin_unet import SwinUNet


@pytest.fixture(autouse=True)
def tiny_archs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add "tiny" (convolutions) and "tiny-swin" (stochastic depth, learned variance).

    In the latent, and for whole fields, there is "tiny" alone.
    """
    convolutions = {"channels": 32, "multipliers": (2, 2), "blocks": 1, "patch": 4}
    swin = {"channels": 32, "depths": (2, 2), "heads": (1, 2), "drop_path": 0.5}
    monkeypatch.setitem(ARCHS, "tiny", Arch(ConvUNet, convolutions, "tests"))
    monkeypatch.setitem(ARCHS, "tiny-swin", Arch(SwinUNet, swin, "tests", True))
    latent = {"channels": 32, "multipliers": (2, 2), "blocks": 1}
    monkeypatch.setitem(LATENT_ARCHS, "tiny", Arch(ConvUNet, latent, "tests"))
    fields = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "patch": 2, "local": True}
    monkeypatch.setitem(CALIBRATED_ARCHS, "tiny", Arch(ConvUNet, fields, "tests"))


@pytest.fixture(scope="session")
def tiny_vaes() -> Iterator[None]:
    """Add "tiny" to the autoencoders."""
    tiny = {**VAE_ARCHS["small"], "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VAE_ARCHS, "tiny", tiny)
        yield


def write_tiles(folder: Path, files: dict[str, int], side: int = 64) -> Path:
    """Write noisy tiles with a given mean level and return the folder."""
    for number, (name, level) in enumerate(files.items()):
        noise = np.random.default_rng(number).integers(-20, 20, (side, side + 8, 3))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def tiles_in() -> Callable[..., Path]:
    return write_tiles


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four tiles without a manifest."""
    return write_tiles(
        tmp_path_factory.mktemp("data"), {f"{k}.png": 100 + 20 * k for k in range(4)}
    )


@pytest.fixture(scope="session")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four tiles without noise, coloured waves."""
    folder = tmp_path_factory.mktemp("smooth")
    y, x = np.mgrid[:96, :96] / 96
    for k in range(4):
        waves = [np.sin(6 * x * (k + 1) + c) * np.cos(5 * y * (c + 1) - k) for c in range(3)]
        pixels = (128 + 100 * np.stack(waves, -1)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder
