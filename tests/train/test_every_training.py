"""What holds for each training: it resumes to the bit, and never learns from held-out tiles."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from histomend.networks.autoencoder import VAE_ARCHS
from histomend.networks.build import TRANSLATION_ARCHS, Arch
from histomend.networks.cyclegan import Generator
from histomend.networks.rrdb import RRDB_ARCHS
from histomend.networks.swinir import SWINIR_ARCHS
from histomend.train import TRAININGS, ArtifusionOptions, TrainingOptions, train
from histomend.train.fit import fit
from histomend.train.lesson import Figures, Lesson, Step

# More than one: the running average and the moments must be resumed too.
STEPS = 2
OWN: dict[str, dict[str, Any]] = {
    "artifusion": {"arch": "tiny-swin", "prediction": "epsilon", "context": False},
    "latent-artifusion": {"arch": "tiny", "versions": 1},
    "rscd": {"arch": "tiny", "channels": 1, "best_after": 1, "cooldown": 0.5, "stabilised": True},
    "control": {"versions": 1, "crop": 64},
    "vae": {"arch": "tiny", "channels": 4},
    "calibrator": {"channels": 2},
    "detector": {},
    "swinir": {"arch": "tiny"},
    "conditional": {"arch": "tiny"},
    "noise2noise": {"arch": "tiny", "channels": 1},
    "cyclegan": {"arch": "tiny", "crop": 64},
    "rrdb-gan": {"arch": "tiny"},
    "swinir-gan": {"arch": "tiny", "optimiser": "muon"},
    "encoder": {"features": 4},
    "iqa": {"blur": "box"},
}
each_training = pytest.mark.parametrize("options", TRAININGS, ids=lambda o: o.verb.name)
Start = Callable[..., Path]


@pytest.fixture(autouse=True)
def tiny_networks() -> Iterator[None]:
    swin = {"channels": 16, "depths": (2,), "heads": 2, "unshuffle": 4, "tail": 8, "skip": True}
    rrdb = {"channels": 8, "blocks": 1, "growth": 4, "unshuffle": 4, "skip": True}
    vae = {**VAE_ARCHS["small"], "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4}
    with pytest.MonkeyPatch.context() as patch:
        # With stochastic depth, which draws random numbers of its own.
        patch.setitem(SWINIR_ARCHS, "tiny", {**swin, "drop_path": 0.5})
        patch.setitem(RRDB_ARCHS, "tiny", rrdb)
        patch.setitem(VAE_ARCHS, "tiny", vae)
        translation = Arch(Generator, {"width": 4, "blocks": 1}, "tests")
        patch.setitem(TRANSLATION_ARCHS, "tiny", translation)
        for options in TRAININGS:
            module = import_module(f"histomend.train.{options.verb.module}")
            if hasattr(module, "HELD_OUT"):
                patch.setattr(module, "HELD_OUT", 2 if options.verb.name != "iqa" else 1)
        patch.setattr("histomend.train.paired.HELD_OUT", 2)
        patch.setattr("histomend.train.control.STEPS", 1)
        patch.setattr("histomend.train.camera.DRAWN", 2)
        patch.setattr("histomend.train.camera.HELD_OUT_DRAWN", 1)
        yield


def write_split(folder: Path, held_out: int) -> Path:
    """Write four tiles to learn from, always the same, and two that are held out."""
    folder.mkdir()
    lines = ["file,slide,split"]
    for number in range(6):
        split = "train" if number < 4 else "val"
        seed = number if split == "train" else held_out + number
        noise = np.random.default_rng(seed).integers(30, 225, (12, 12, 3)).astype(np.uint8)
        tile = Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC)
        tile.save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number},{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("every")
    return {name: write_split(root / name, seed) for name, seed in (("a", 100), ("b", 200))}


@pytest.fixture
def start(
    places: dict[str, Path],
    tiny_vae: Path,
    untrained_prior: Path,
    untrained_restoration: Path,
    tmp_path: Path,
) -> Start:
    """Return a function that starts a run on the tiles "a" or "b"."""
    models = {
        "latent-artifusion": {"vae": tiny_vae},
        "control": {"prior": untrained_prior, "restoration": untrained_restoration},
    }

    def begin(kind: type[TrainingOptions], out: str, report: Any = None, **more: Any) -> Path:
        name = kind.verb.name
        given = {"batch": 2, "crop": 32, "device": "cpu", "steps": STEPS, "lr": 1e-3}
        given |= OWN[name] | models.get(name, {}) | more
        data = places[given.pop("data", "a")]
        cache = data.parent / "cache"
        train(kind(data, tmp_path / out, cache=cache, **given), report)
        return tmp_path / out

    return begin


def state(out: Path) -> dict[str, Tensor]:
    """Return all tensors of a run: its state, and its model."""
    files = sorted(out.rglob("*.safetensors"))
    assert len(files) >= 4
    return {
        f"{path.relative_to(out)} {key}": tensor
        for path in files
        for key, tensor in load_file(path).items()
    }


def different(one: Path, other: Path) -> list[str]:
    a, b = state(one), state(other)
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])]


class Killed(BaseException):
    """Stands for a signal."""


@each_training
def test_it_resumes_to_the_bit_and_never_learns_from_held_out_tiles(
    options: type[TrainingOptions], start: Start
) -> None:
    def kill(now: int, loss: float, rate: float, share: float) -> None:
        if now == STEPS:
            raise Killed

    whole = start(options, "whole")
    with pytest.raises(Killed):
        # Saved after each step, so that it goes on from the one before the last.
        start(options, "parts", kill, save_minutes=0, data="b")
    state_file = whole.parent / "parts" / "last" / "state.json"
    assert json.loads(state_file.read_text())["step"] == STEPS - 1
    # Of "b" only the held-out tiles are others.
    parts = start(options, "parts", resume=True, data="b")
    assert different(whole, parts) == []
    logs = [json.loads((run / "log.jsonl").read_text().splitlines()[-1]) for run in (whole, parts)]
    figures = [{k: v for k, v in log.items() if k != "s"} for log in logs]
    # An encoder's figure, a count, may well be the same.
    assert figures[0] != figures[1] or options.verb.name == "encoder"
    card = (whole / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: histomend\n")
    assert f"{STEPS} steps of 2 crops" in card
    assert str(whole.parent) not in card, "nobody's folders are shown to others"


def test_other_tiles_to_learn_from_give_other_weights(
    places: dict[str, Path], start: Start, tmp_path: Path
) -> None:
    """Without this the test above would show nothing."""
    places["c"] = Path(shutil.copytree(places["a"], tmp_path / "c"))
    shutil.copy(places["a"] / "4.png", places["c"] / "0.png")
    runs = [start(ArtifusionOptions, name, data=name) for name in ("a", "c")]
    assert different(*runs)


@pytest.fixture
def in_foreground() -> Iterator[None]:
    """Take signals as Python does by itself; whoever runs the tests may have them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_saves_first_and_names_resume(start: Start, in_foreground: None) -> None:
    def press(now: int, loss: float, rate: float, share: float) -> None:
        if now == 2:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"saved at step 2\..*--resume"):
        start(ArtifusionOptions, "run", press)
    assert signal.getsignal(signal.SIGINT) is before
    run = start(ArtifusionOptions, "run", resume=True)
    assert different(run, start(ArtifusionOptions, "whole")) == []


def test_a_run_in_the_background_ignores_ctrl_c(start: Start, in_foreground: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def press(now: int, loss: float, rate: float, share: float) -> None:
        signal.raise_signal(signal.SIGINT)

    assert (start(ArtifusionOptions, "run", press) / "model" / "config.json").is_file()


def test_a_second_ctrl_c_does_not_wait(start: Start, in_foreground: None) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press_twice(now: int, loss: float, rate: float, share: float) -> None:
        signal.raise_signal(signal.SIGINT)
        # Python may take two signals at once for one.
        while signal.getsignal(signal.SIGINT) is not before:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt) as caught:
        start(ArtifusionOptions, "run", press_twice)
    assert str(caught.value) == ""


# What the loop does with gradients


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))


class WeightTrainee:
    """Four numbers."""

    def network(self) -> nn.Module:
        return Weight()

    def identity(self) -> dict[str, Any]:
        return {}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        raise NotImplementedError

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        folder.mkdir()


class Pulled(Lesson[None]):
    """Gradients of a given length, one a step."""

    def __init__(self, lengths: list[float]):
        self.trainee, self.lengths = WeightTrainee(), lengths

    def crops(self, step: Step) -> None:
        return None

    def loss(self, network: nn.Module, crops: None, step: Step) -> Tensor:
        # Of length 1 for the loss.
        return network.weight.sum() / 2 * self.lengths[step.number]  # type: ignore[operator]

    def figures(self, network: nn.Module) -> Figures:
        return Figures({})


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_huge_gradient_moves_the_weights_no_more_than_one_as_long_as_the_clip(
    optimiser: Any, tmp_path: Path
) -> None:
    def after(name: str, lengths: list[float]) -> dict[str, Tensor]:
        out = tmp_path / name
        options = ArtifusionOptions(
            tmp_path, out, steps=3, lr=0.1, optimiser=optimiser, device="cpu"
        )
        fit(Pulled(lengths), options)
        return load_file(out / "last" / "network.safetensors") | load_file(
            out / "last" / "optimiser.safetensors"
        )

    huge, clipped = after("huge", [0.5, 1e9, 0.5]), after("clipped", [0.5, 1.0, 0.5])
    assert all(torch.allclose(huge[key], clipped[key], rtol=1e-4) for key in clipped)
    short = after("short", [0.5, 0.7, 0.5])
    assert not torch.allclose(short["weight"], clipped["weight"], rtol=1e-4)
