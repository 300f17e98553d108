from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from histomend import models
from histomend.diffusion.denoiser import Condition
from histomend.errors import ModelNotFoundError, UnsafeWeightsError, WeightsError
from histomend.models import ModelConfig, load_model, read_config, save_model, weights_sha256
from histomend.models.detector import is_detector, load_detector
from histomend.models.loading import is_upscaler
from histomend.models.upscaler import load_upscaler
from histomend.networks.build import ARCHS, Arch
from histomend.networks.swin_unet import SwinUNet

CONFIG = ModelConfig("artifusion", "tiny", mpp=0.42, fast_steps=5, card={"data": "none"})


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an arch that is small enough for a test."""
    small = {"channels": 32, "depths": (2, 2), "heads": (1, 2)}
    monkeypatch.setitem(ARCHS, "tiny", Arch(SwinUNet, small, "tests"))
    monkeypatch.setitem(ARCHS, "tiny-add", Arch(SwinUNet, {**small, "time": "add"}, "tests"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    save_model(place, weights(), CONFIG)
    return place


def weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CONFIG.network().state_dict()


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def with_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Exchange the weights, and the hash with them."""
    save_file(tensors, folder / "model.safetensors")
    edit(folder, sha256=weights_sha256([folder / "model.safetensors"]))


def output(model: models.Model) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x, maps = torch.randn(1, 3, 32, 32, generator=generator), torch.zeros(1, 4, 32, 32)
    return model.denoiser(x, torch.tensor([300]), Condition(maps)).x0


# What works


def test_what_is_saved_is_loaded(folder: Path) -> None:
    model = load_model(folder, "cpu")
    assert replace(model.config, sha256="") == CONFIG
    assert model.config.sha256 == weights_sha256([folder / "model.safetensors"])
    loaded = model.denoiser.network.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in weights().items())
    assert not model.denoiser.network.training
    assert model.denoiser.schedule.steps == 1000
    assert output(model).shape == (1, 3, 32, 32)


def test_the_ledger_learns_what_the_model_is(folder: Path) -> None:
    record = load_model(str(folder), "cpu").record()
    assert record["name"] == str(folder)
    assert record["sha256"] == read_config(folder).sha256
    assert (record["arch"], record["mpp"], record["card"]) == ("tiny", 0.42, {"data": "none"})
    json.dumps(record)


def test_half_precision_halves_the_file_and_is_loaded_in_full(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "half", weights(), CONFIG, half=True)
    sizes = [(p / "model.safetensors").stat().st_size for p in (folder, tmp_path / "half")]
    assert sizes[1] < 0.55 * sizes[0]
    full, half = load_model(folder, "cpu"), load_model(tmp_path / "half", "cpu")
    assert {t.dtype for t in half.denoiser.network.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(output(half), output(full), rtol=0.02, atol=0.02)


def test_shards_are_no_larger_than_asked_and_load_as_one_model(tmp_path: Path) -> None:
    # Saving again in fewer files leaves none of the earlier ones.
    save_model(tmp_path, weights(), CONFIG, shard_bytes=100_000)
    many = models.shards(tmp_path)
    config = save_model(tmp_path, weights(), CONFIG, shard_bytes=400_000)
    files = models.shards(tmp_path)
    assert 1 < len(files) < len(many)
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    # A single tensor is never split.
    loads = [[tensor.nbytes for tensor in load_file(path).values()] for path in files]
    assert all(len(load) == 1 or sum(load) <= 400_000 for load in loads)
    assert config.sha256 == weights_sha256(files)
    loaded = load_model(tmp_path, "cpu").denoiser.network.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in weights().items())


def test_a_folder_as_the_hub_downloads_it_works(folder: Path, tmp_path: Path) -> None:
    """The files are links to blobs, named by their hash, and others lie beside them."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "4f1c"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        blob = path.rename(blobs / f"{number:040x}")
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
    (snapshot / "README.md").write_text("a card")
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
    assert output(load_model(snapshot, "cpu")).shape == (1, 3, 32, 32)


UPSCALERS = [name for name in models.bundled() if is_upscaler(models.WEIGHTS / name)]
DETECTORS = [name for name in models.bundled() if is_detector(models.WEIGHTS / name)]


@pytest.mark.parametrize("name", sorted({*models.bundled()} - {*UPSCALERS, *DETECTORS}))
def test_bundled_models_load_by_name_and_are_what_their_config_says(name: str) -> None:
    model = load_model(name, "cpu")
    assert model.config.sha256 == weights_sha256(models.shards(models.WEIGHTS / name))
    assert 1 <= model.config.fast_steps <= 25
    files = (p for p in (models.WEIGHTS / name).rglob("*") if p.is_file())
    assert sum(p.stat().st_size for p in files) <= 30e6


@pytest.mark.parametrize("name", UPSCALERS)
def test_bundled_upscalers_load_by_name_with_a_prior_that_is_bundled_too(name: str) -> None:
    model = load_upscaler(name, "cpu")
    assert model.config.prior in models.bundled()
    assert 1 <= model.config.fast_steps <= 10
    files = (p for p in (models.WEIGHTS / name).rglob("*") if p.is_file())
    assert sum(p.stat().st_size for p in files) <= 15e6


@pytest.mark.parametrize("name", DETECTORS)
def test_bundled_detectors_load_by_name_and_are_small(name: str) -> None:
    detector = load_detector(name)
    assert detector.config.sha256 == weights_sha256(models.shards(models.WEIGHTS / name))
    files = (p for p in (models.WEIGHTS / name).rglob("*") if p.is_file())
    assert sum(p.stat().st_size for p in files) <= 10e6


def test_all_bundled_files_together_stay_small() -> None:
    size = sum(p.stat().st_size for p in models.WEIGHTS.rglob("*") if p.is_file())
    assert size <= 100e6


# What does not


@pytest.mark.parametrize("name", ["artifusion-xy", "nowhere/at/all"])
def test_a_model_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="bundled models are"):
        load_model(name, "cpu")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="RUN/model"):
        load_model(tmp_path, "cpu")


def test_weights_with_another_hash(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged or was exchanged"):
        load_model(folder, "cpu")


def test_a_truncated_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    edit(folder, sha256=weights_sha256([path]))
    with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
        load_model(folder, "cpu")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_beside(folder: Path) -> None:
    no_weights(folder)
    torch.save(weights(), folder / "pytorch_model.bin")


def pickle_in_disguise(folder: Path) -> None:
    torch.save(weights(), folder / "model.safetensors")


def old_pickle_in_disguise(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        pickle.dump({"weights": [1.0]}, file)


@pytest.mark.parametrize("change", [pickle_beside, pickle_in_disguise, old_pickle_in_disguise])
def test_a_pickle_in_place_of_safetensors_is_never_opened(
    folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    with pytest.raises(UnsafeWeightsError, match="run any code"):
        load_model(folder, "cpu")


@pytest.mark.parametrize("name", ["model.pt", "last.ckpt", "pytorch_model.bin"])
def test_a_pickle_is_not_opened_by_name_either(tmp_path: Path, name: str) -> None:
    torch.save({}, tmp_path / name)
    with pytest.raises(UnsafeWeightsError, match=r"safetensors\.torch\.save_file"):
        load_model(tmp_path / name, "cpu")


def test_no_weights_at_all(folder: Path) -> None:
    no_weights(folder)
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        load_model(folder, "cpu")


def test_a_link_to_nowhere(folder: Path) -> None:
    no_weights(folder)
    (folder / "model.safetensors").symlink_to("gone")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_model(folder, "cpu")


def test_a_missing_tensor_is_named(folder: Path) -> None:
    tensors = weights()
    del tensors["head.weight"]
    with_weights(folder, tensors)
    with pytest.raises(WeightsError, match=r"lacks the tensor head\.weight"):
        load_model(folder, "cpu")


def test_a_tensor_too_many_is_named(folder: Path) -> None:
    with_weights(folder, {**weights(), "surplus": torch.zeros(1)})
    with pytest.raises(WeightsError, match="surplus"):
        load_model(folder, "cpu")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    """A detector of such weights found nothing, without a word."""
    tensors = weights()
    tensors["head.weight"].flatten()[-1] = value
    with_weights(folder, tensors)
    with pytest.raises(WeightsError, match=r"head\.weight holds NaN or infinity"):
        load_model(folder, "cpu")


@pytest.mark.parametrize("change", [{"arch": "tiny-add"}, {"context": False}])
def test_weights_of_another_network(folder: Path, change: dict[str, Any]) -> None:
    edit(folder, **change)
    with pytest.raises(WeightsError, match=r"has shape .* and not"):
        load_model(folder, "cpu")


def test_a_config_of_another_schema(folder: Path) -> None:
    edit(folder, schema_version=99)
    with pytest.raises(WeightsError, match="schema_version 99; this Histomend reads 1"):
        load_model(folder, "cpu")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema_version": 1}', "\ud800"])
def test_a_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(WeightsError, match="not the config of a model"):
        load_model(folder, "cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "alchemy"},
        {"arch": "enormous"},
        {"schedule": "square"},
        {"prediction": "score"},
        {"sampler": "euler"},
        {"steps": "1000"},
        {"steps": 0},
        {"window": -256},
        {"mpp": 0},
        {"mpp": None},
        {"channels": True},
        {"card": "text"},
        {"latent_channels": 4},
        {"factor": 8},
    ],
    ids=str,
)
def test_a_config_with_a_value_that_no_model_has(folder: Path, change: dict[str, Any]) -> None:
    edit(folder, **change)
    with pytest.raises(WeightsError, match=f"says {next(iter(change))}="):
        load_model(folder, "cpu")


def test_a_config_from_before_there_were_latent_models_still_loads(folder: Path) -> None:
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    for key in ("latent_channels", "factor", "vae_sha256", "vae_scaling", "vae_shift"):
        del fields[key]
    path.write_text(json.dumps(fields))
    model = load_model(folder, "cpu")
    assert (model.config.x_channels, model.space.factor) == (3, 1)


def test_a_field_from_a_newer_version(folder: Path) -> None:
    edit(folder, flavour="sweet")
    with pytest.raises(WeightsError, match="flavour"):
        load_model(folder, "cpu")
