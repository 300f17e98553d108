"""What several tests share: a tiny model in a folder, and tissue to work on."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from histomend.models import (
    CalibratorConfig,
    ModelConfig,
    fit_to_calibrator,
    fit_to_vae,
    save_calibrator,
    save_model,
)
from histomend.models.priors import load_prior
from histomend.models.restoration import RestorationConfig, save_restoration
from histomend.models.upscaler import UpscalerConfig, save_upscaler
from histomend.networks.build import CALIBRATED_ARCHS, LATENT_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet
from histomend.networks.latent_unet import latent_unet
from histomend.networks.swinir import SWINIR_ARCHS

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Start each test from the same global generator, whichever tests ran before in its process.

    Stochastic depth draws from it, and so do fresh weights.
    """
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tissue() -> np.ndarray:
    """Return real tissue, (512, 512, 3) uint8."""
    return np.asarray(skimage.data.immunohistochemistry())


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with random weights."""
    torch.manual_seed(0)
    config = ModelConfig(method="artifusion", arch="small-unet", fast_steps=2)
    network = config.network()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    folder = tmp_path_factory.mktemp("untrained")
    save_model(folder, network.state_dict(), config, half=True)
    return folder


@pytest.fixture(scope="session")
def tiny_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an autoencoder with random weights, 8 px to a cell of 4 channels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL

        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            latent_channels=4,
            mid_block_add_attention=False,
            scaling_factor=0.5,
        )
        folder = tmp_path_factory.mktemp("vae")
        vae.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def untrained_latent(tiny_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a latent model with random weights, of an arch of its own."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"channels": 32, "multipliers": (2, 2), "blocks": 1}
        patch.setitem(LATENT_ARCHS, "tiny", Arch(ConvUNet, small, "tests"))
        torch.manual_seed(0)
        config = fit_to_vae(ModelConfig("latent-artifusion", "tiny", fast_steps=2), tiny_vae)
        network = config.network()
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        folder = tmp_path_factory.mktemp("untrained_latent")
        save_model(folder, network.state_dict(), config, vae=tiny_vae, half=True)
        yield folder


@pytest.fixture(scope="session")
def untrained_restoration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a restoration module with random weights, of an arch of its own."""
    tiny = {"channels": 16, "depths": (2,), "heads": 2, "unshuffle": 4, "tail": 8, "skip": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SWINIR_ARCHS, "tiny", tiny)
        torch.manual_seed(0)
        config = RestorationConfig("tiny")
        network = config.network()
        torch.nn.init.normal_(network.conv_last.weight, std=0.02)
        folder = tmp_path_factory.mktemp("restoration")
        save_restoration(folder, network.state_dict(), config)
        yield folder


@pytest.fixture(scope="session")
def untrained_prior(tiny_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a latent prior with random weights and a window of 64 px."""
    tiny = {"channels": (32, 32), "attention": (False, False)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LATENT_ARCHS, "tiny-unet", Arch(latent_unet, tiny, "tests"))
        torch.manual_seed(0)
        config = ModelConfig("latent-artifusion", "tiny-unet", "v", "scaled_linear", window=64)
        config = fit_to_vae(config, tiny_vae)
        folder = tmp_path_factory.mktemp("prior")
        save_model(folder, config.network().state_dict(), config, vae=tiny_vae, half=True)
        yield folder


@pytest.fixture(scope="session")
def untrained_upscaler(
    untrained_prior: Path, untrained_restoration: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of an upscaler with random weights, whose control has an effect."""
    prior = load_prior(untrained_prior)
    torch.manual_seed(0)
    branch = prior.branch()
    for parameter in branch.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("upscaler")
    config = UpscalerConfig.of(prior, untrained_restoration, window=64, fast_steps=2)
    save_upscaler(folder, branch, prior, untrained_prior, untrained_restoration, config)
    return folder


@pytest.fixture(scope="session")
def untrained_rscd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a model of RSCD for RGB whose calibrator predicts t near 40."""
    tiny = {"channels": 32, "multipliers": (2,), "blocks": 1, "patch": 4, "local": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CALIBRATED_ARCHS, "tiny-field", Arch(ConvUNet, tiny, "tests"))
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("rscd")
        calibrating = CalibratorConfig("small", 3)
        state = calibrating.network().state_dict()
        state["head.2.weight"] *= 0.1
        state["head.2.bias"].fill_(0.4)
        save_calibrator(folder / "beside", state, calibrating)
        config = ModelConfig(
            "rscd", "tiny-field", "epsilon", context=False, highest_t=200, window=64, fast_steps=2
        )
        config = fit_to_calibrator(config, folder / "beside")
        weights = config.network().state_dict()
        torch.nn.init.normal_(weights["head.weight"], 0, 0.1)
        save_model(folder / "model", weights, config, calibrator=folder / "beside", half=True)
        yield folder / "model"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images, or skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared images are not here")
    return SHARED
