"""What several tests share: a tiny model in a folder, and tissue to work on."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from histomend.models import ModelConfig, save_model

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
def shared_data() -> Path:
    """Return the folder of real images, or skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared images are not here")
    return SHARED
