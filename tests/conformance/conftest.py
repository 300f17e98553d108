"""Models with random weights for each method, as small as they can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from histomend.models import ModelConfig, save_model
from histomend.models.restoration import RestorationConfig, save_restoration
from histomend.networks.build import CALIBRATED_ARCHS, TRANSLATION_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet
from histomend.networks.cyclegan import Generator
from histomend.networks.rrdb import RRDB_ARCHS, RRDBNet
from histomend.networks.swinir import SWINIR_ARCHS


@pytest.fixture(scope="session")
def untrained_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return a function that writes a model of a method, once."""
    made: dict[str, Path] = {}

    def of(method: str) -> Path:
        if method not in made:
            torch.manual_seed(0)
            made[method] = tmp_path_factory.mktemp(method)
            if method.endswith("gan") and method != "cyclegan":
                restoring = RestorationConfig("tiny", method=method)
                save_restoration(made[method], restoring.network().state_dict(), restoring)
            elif method == "published":
                published = RRDBNet(channels=8, blocks=1, growth=4, unshuffle=2)
                torch.save(published.state_dict(), made[method] / "own.pth")
                made[method] = made[method] / "own.pth"
            else:
                kind = "x0" if method == "conditional" else "epsilon"
                config = ModelConfig(
                    method, "tiny-field", kind, context=False, window=64, fast_steps=2
                )
                network = config.network()
                for parameter in network.parameters():
                    if not parameter.any():
                        torch.nn.init.normal_(parameter, std=0.02)
                save_model(made[method], network.state_dict(), config)
        return made[method]

    fields = {"channels": 32, "multipliers": (2,), "blocks": 1, "patch": 4, "local": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CALIBRATED_ARCHS, "tiny-field", Arch(ConvUNet, fields, "tests"))
        generator = Arch(Generator, {"width": 4, "blocks": 1}, "tests")
        patch.setitem(TRANSLATION_ARCHS, "tiny-field", generator)
        swin = {"channels": 16, "depths": (2,), "heads": 2, "unshuffle": 4, "tail": 8, "skip": True}
        patch.setitem(SWINIR_ARCHS, "tiny", swin)
        patch.setitem(RRDB_ARCHS, "tiny", {"channels": 8, "blocks": 1, "growth": 4, "unshuffle": 4})
        yield of
