"""RSCD's published calibrator: opened safely, renamed, and telling t of our schedule."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.diffusion.schedule import named
from histomend.errors import UnsafeWeightsError, WeightsError
from histomend.models import CalibratorConfig, ModelConfig, fit_to_calibrator, load_calibrator
from histomend.models.calibrator import house_time
from histomend.models.checkpoints import tensors_in
from histomend.models.conversion import house_names
from histomend.networks.calibrator import ResNetCalibrator

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))


def published() -> dict[str, Tensor]:
    """Return random tensors in the authors' layout: transformers' ResNet-50, and a head."""
    draw = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}

    def unit(name: str, here: int, there: int, side: int) -> None:
        weight = torch.randn(there, here, side, side, generator=draw)
        state[f"{name}.convolution.weight"] = weight * (2 / (here * side * side)) ** 0.5
        norm = f"{name}.normalization."
        state[norm + "weight"] = 0.5 + 0.5 * torch.rand(there, generator=draw)
        state[norm + "bias"] = 0.1 * torch.randn(there, generator=draw)
        state[norm + "running_mean"] = 0.1 * torch.randn(there, generator=draw)
        state[norm + "running_var"] = 0.5 + torch.rand(there, generator=draw)
        state[norm + "num_batches_tracked"] = torch.tensor(0)

    unit("resnet.embedder.embedder", 3, 64, 7)
    here = 64
    for stage, (layers, width) in enumerate(STAGES):
        for layer in range(layers):
            name = f"resnet.encoder.stages.{stage}.layers.{layer}"
            if layer == 0:
                unit(f"{name}.shortcut", here, 4 * width, 1)
            unit(f"{name}.layer.0", here, width, 1)
            unit(f"{name}.layer.1", width, width, 3)
            unit(f"{name}.layer.2", width, 4 * width, 1)
            here = 4 * width
    for name, there, wide in (("head.0", 100, here), ("head.2", 1, 100)):
        state[f"{name}.weight"] = torch.randn(there, wide, generator=draw) / wide**0.5
        state[f"{name}.bias"] = 5 * torch.randn(there, generator=draw).abs()
    return state


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the pooled features (B, 2048), by functions alone, under the authors' names."""

    def unit(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.convolution.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.normalization.{key}"] for key in keys))

    x = F.max_pool2d(unit("resnet.embedder.embedder", x, 2).relu(), 3, 2, 1)
    for stage, (layers, _) in enumerate(STAGES):
        for layer in range(layers):
            name = f"resnet.encoder.stages.{stage}.layers.{layer}"
            stride = 2 if stage and not layer else 1
            h = unit(f"{name}.layer.0", x).relu()
            h = unit(f"{name}.layer.2", unit(f"{name}.layer.1", h, stride).relu())
            x = (h + (x if layer else unit(f"{name}.shortcut", x, stride))).relu()
    return x.mean((2, 3))


def told(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """Return the index that the authors' class tells."""
    hidden = F.linear(features, state["head.0.weight"], state["head.0.bias"]).relu()
    return F.linear(hidden, state["head.2.weight"], state["head.2.bias"])[:, 0] + 1


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return published()


@pytest.fixture(scope="module")
def converted(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    torch.save(state, folder / "tensors.pt")
    out = folder / "calibrator"
    result = CliRunner().invoke(
        app, ["convert", "calibrator", str(folder / "tensors.pt"), "-o", str(out), "--json"]
    )
    assert result.exit_code == 0, result.stderr
    config = json.loads(result.stdout)
    assert (config["channels"], config["schedule"], config["highest_t"]) == (2, "cosine", 501)
    again = CliRunner().invoke(
        app, ["convert", "calibrator", str(folder / "tensors.pt"), "-o", str(out)]
    )
    assert again.exit_code == 2
    assert "exists already" in " ".join(again.stderr.split())
    return out


def image() -> Tensor:
    return torch.randn(2, 2, 64, 96, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


@torch.no_grad()
def test_a_converted_calibrator_tells_the_noise_that_the_authors_network_saw(
    state: dict[str, Tensor], converted: Path
) -> None:
    seen = F.pad(image(), (0, 0, 0, 0, 1, 0))  # (0, CH2, CH3), as the authors feed it.
    index = told(state, reference(state, seen))
    calibrator = load_calibrator(converted)
    torch.testing.assert_close(calibrator.network(image()), index, rtol=1e-4, atol=1e-3)
    expected = house_time(index, calibrator.config)
    torch.testing.assert_close(calibrator(image()), expected, rtol=1e-4, atol=1e-3)


def test_it_fits_a_denoiser_of_two_channels_on_our_schedule(converted: Path) -> None:
    denoiser = ModelConfig("rscd", "small", channels=2, context=False, highest_t=200)
    sha256 = load_calibrator(converted).config.sha256
    assert fit_to_calibrator(denoiser, converted).calibrator_sha256 == sha256


@torch.no_grad()
def test_the_features_are_those_of_transformers(state: dict[str, Tensor]) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformers.ResNetModel(transformers.ResNetConfig()).eval()
    ours = {k.removeprefix("resnet."): v for k, v in state.items() if k.startswith("resnet.")}
    network.load_state_dict(ours)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        network(x).pooler_output.flatten(1), reference(state, x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("index", [0, 1, 5, 13, 50, 200, 500])
def test_at_the_time_told_our_schedule_holds_the_noise_of_their_index(index: int) -> None:
    # Their betas, as their code makes them.
    u = np.linspace(0, 1000, 1001) / 1000
    curve = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = np.clip(1 - curve[1:] / curve[:-1], 1e-4, 0.9999)
    theirs = np.cumprod(1 - betas)[index]
    t = float(house_time(torch.tensor([float(index)]), CalibratorConfig("paper")))
    ours = named("cosine", 1000)
    alpha_bar = np.interp(t, np.arange(1001), ours.alpha.square().numpy())
    assert 1 - alpha_bar == pytest.approx(1 - theirs, rel=0.002)


def test_below_their_first_index_an_image_is_clean_and_nan_stays() -> None:
    t = house_time(torch.tensor([-1.0, -30.0, float("nan")]), CalibratorConfig("paper"))
    assert t[:2].tolist() == [0, 0]
    assert t[2].isnan()


def test_both_ways_to_name_a_resnet_are_known(state: dict[str, Tensor]) -> None:
    own = ResNetCalibrator(2).state_dict()
    assert set(house_names(state)) == set(own)
    assert house_names(own).keys() == own.keys()
    trained_in_parallel = {f"module.resnet.{k}": v for k, v in own.items() if "head" not in k}
    assert set(house_names(trained_in_parallel)) == {k for k in own if "head" not in k}


class TClassifier(nn.Module):
    """A whole module that is saved under the authors' name."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))


class Unknown(nn.Module):
    """A module of a class that nobody knows."""


@pytest.fixture
def authors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the authors' module, importable while files are written."""
    module = ModuleType("classifier")
    for made in (TClassifier, Unknown):
        monkeypatch.setattr(made, "__module__", "classifier")
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "classifier", module)
    return module


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_module_is_read_without_importing_its_class(
    wrapped: bool, authors: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TClassifier()
    torch.save({"model": made} if wrapped else made, tmp_path / "whole.pt")
    monkeypatch.setitem(sys.modules, "classifier", None)  # Importing it would fail.
    found = tensors_in(tmp_path / "whole.pt")
    expected = made.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    allowed = [getattr(g, "__name__", "") for g in torch.serialization.get_safe_globals()]
    assert "TClassifier" not in allowed


class RunsCode:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_files_that_need_other_classes_are_refused(authors: ModuleType, tmp_path: Path) -> None:
    torch.save(nn.Sequential(Unknown()), tmp_path / "unknown.pt")
    with pytest.raises(UnsafeWeightsError, match=r"classifier\.Unknown.*state_dict\(\)"):
        tensors_in(tmp_path / "unknown.pt")
    torch.save({"a": RunsCode()}, tmp_path / "evil.pt")
    with pytest.raises(UnsafeWeightsError, match=r"exec.*could run any code"):
        tensors_in(tmp_path / "evil.pt")
    torch.save({"a": RunsCode()}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeWeightsError, match="could run any code"):
        tensors_in(tmp_path / "old.pt")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 and then nothing", "damaged"),
        (b"not a checkpoint at all", "damaged"),
        ([1, 2], "no tensors by name"),
        ({}, "no tensors by name"),
        ({"epoch": 3, "w": torch.zeros(1)}, "'epoch', which is no tensor"),
        ({"w": torch.zeros(1)}, "lacks the tensor conv1.weight"),
        ({1: torch.zeros(1)}, "under 1, which is no name"),
        ({"state_dict": {("a",): torch.zeros(1)}}, "which is no name"),
    ],
    ids=["zip", "text", "list", "empty", "mixed", "other", "number", "tuple"],
)
def test_files_that_are_no_calibrator_are_refused(
    content: object, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["convert", "calibrator", str(path), "-o", out])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pt cannot be read"):
        tensors_in(tmp_path / "nowhere.pt")
