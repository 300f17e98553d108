"""Runs of a few steps of tiny generators and critics, and what their losses measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from histomend import denoise
from histomend.cli.app import app
from histomend.errors import ModelMismatchError, SettingError, TrainingError
from histomend.models import load_model
from histomend.networks.build import TRANSLATION_ARCHS, Arch
from histomend.networks.cyclegan import CycleGan, Generator, Pass
from histomend.train import CycleGanOptions, train
from histomend.train.cyclegan import critic_loss, drawn_slots, generator_loss
from histomend.train.unpaired import open_unpaired

TINY = {"width": 4, "blocks": 1}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSLATION_ARCHS, "tiny", Arch(Generator, TINY, "tests"))
    monkeypatch.setattr("histomend.train.cyclegan.HELD_OUT", 2)


def run(data: Path, out: Path, **settings: Any) -> Path:
    defaults = {"arch": "tiny", "crop": 64, "device": "cpu", "cache": data.parent / "packed"}
    return train(CycleGanOptions(data, out, **{**defaults, **settings}))


def passed(network: CycleGan) -> tuple[Pass, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    damaged, clean = (torch.rand(2, 1, 32, 32, generator=draws) - shift for shift in (0, 1))
    return network(damaged, clean, torch.full((2, 2), -1)), damaged, clean


def test_critics_learn_to_tell_what_was_made_from_what_is_real() -> None:
    network = CycleGan(1, 32, **TINY)
    critics = [*network.clean_critic.parameters(), *network.damaged_critic.parameters()]
    optimiser = torch.optim.Adam(critics, 5e-3)
    for _ in range(15):
        made, *_ = passed(network)
        optimiser.zero_grad()
        critic_loss(made).backward()
        optimiser.step()
    with torch.no_grad():
        made, *_ = passed(network)
    for verdict in (made.on_clean, made.on_damaged):
        assert float(verdict.real.mean()) > float(verdict.shown.mean()) + 0.5


def test_generators_learn_to_pass_and_to_come_back() -> None:
    network = CycleGan(1, 32, **TINY)
    generators = [*network.restoring.parameters(), *network.damaging.parameters()]
    optimiser = torch.optim.Adam(generators, 2e-3)
    with torch.no_grad():
        before, *images = passed(network)
    for _ in range(15):
        made, *_ = passed(network)
        optimiser.zero_grad()
        generator_loss(made, *images).backward()
        optimiser.step()
    with torch.no_grad():
        after, *_ = passed(network)

    def off(made: Pass) -> tuple[float, float]:
        cycle = (made.cycled_damaged - images[0]).abs().mean()
        return float(cycle), float((made.on_clean.judged - 1).square().mean())

    assert off(after) < off(before)
    assert float(generator_loss(after, *images)) < float(generator_loss(before, *images))


def test_half_of_the_slots_ask_for_a_fresh_image() -> None:
    slots = drawn_slots(np.random.default_rng(0), 1000)
    assert slots.shape == (2, 1000)
    assert (slots == -1).mean() == pytest.approx(0.5, abs=0.05)
    assert slots.max() == 49


def opened(data: Path, **settings: Any) -> Any:
    defaults = {"damage": "optical", "crop": 64, "device": "cpu", "cache": data.parent / "packed"}
    return open_unpaired(CycleGanOptions(data, data, **{**defaults, **settings}))


@pytest.mark.parametrize(("share", "used"), [(1.0, 4), (0.5, 2)])
def test_damaged_and_clean_crops_are_never_of_one_tile(share: float, used: int, data: Path) -> None:
    halves = opened(data, share=share).halves
    one, other = ({int(k) for slide in half.slides for k in slide} for half in halves)
    assert not one & other
    assert len(one | other) == used


def test_a_single_tile_has_no_other(data: Path) -> None:
    with pytest.raises(TrainingError, match="Only one tile"):
        opened(data, share=0.1)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_batch_holds_damaged_and_clean_crops(channels: int, data: Path) -> None:
    source = opened(data, channels=channels)
    damaged, clean = source.batch(np.random.default_rng(0), 2, 64)
    assert damaged.shape == clean.shape == (2, channels, 64, 64)
    seen, truth = source.known(2, 64)
    assert 0.005 < float((seen - truth).abs().mean()) < 1, "these are pairs"
    assert torch.equal(source.known(2, 64)[0], seen)


def test_an_artifact_lies_in_a_part_of_each_crop(data: Path) -> None:
    seen, truth = opened(data, damage="artifacts").known(4, 64)
    changed = (seen != truth).any(1).float().mean((1, 2))
    assert float(changed.min()) > 0.01
    assert float(changed.max()) < 0.3


def test_a_run_keeps_its_pools_figures_and_pictures(data: Path, tmp_path: Path) -> None:
    model = run(data, tmp_path / "whole", steps=3, batch=2)
    assert int(load_file(tmp_path / "whole/last/network.safetensors")["clean_pool.filled"]) == 6
    with Image.open(tmp_path / "whole/samples/0000003.png") as sheet:
        assert sheet.size == (2 * 64, 3 * 64), "damaged, restored, truth"
    figures = json.loads((tmp_path / "whole/log.jsonl").read_text().splitlines()[-1])
    assert {"psnr", "psnr_damaged"} <= set(figures)
    config = load_model(model).config
    assert (config.method, config.card) == ("cyclegan", {"damage": "artifacts", "share": 1.0})
    with pytest.raises(TrainingError, match="damage=artifacts, not optical"):
        run(data, tmp_path / "whole", steps=3, resume=True, damage="optical")


def test_the_model_restores_fields_of_its_channels_and_no_others(
    data: Path, tmp_path: Path, untrained: Path
) -> None:
    model = run(data, tmp_path / "run", steps=1, channels=2, damage="optical")
    field = np.random.default_rng(0).integers(0, 65536, (70, 80, 2)).astype(np.uint16)
    result = denoise(field, method="cyclegan", model=model)
    assert (result.pixels.shape, result.pixels.dtype) == (field.shape, field.dtype)
    assert result.t_map is None
    assert result.record.figures["nfe_most"] == 1
    with pytest.raises(Exception, match="channels"):
        denoise(field[..., :1], method="cyclegan", model=model)
    with pytest.raises(ModelMismatchError, match="for cyclegan, and rscd needs"):
        denoise(field, model=model)
    with pytest.raises(ModelMismatchError, match="for artifusion, and cyclegan needs"):
        denoise(field, method="cyclegan", model=untrained)
    with pytest.raises(SettingError, match="no such --steps"):
        denoise(field, method="cyclegan", model=model, steps=4)
    again = run(data, tmp_path / "again", steps=1, lr=0, channels=2, damage="optical", init=model)
    one, other = (load_file(folder / "model.safetensors") for folder in (model, again))
    assert all(torch.equal(one[key], other[key]) for key in one), "--init gives the generator"


def test_from_the_command_line_to_a_restored_file(data: Path, tmp_path: Path) -> None:
    def call(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return result

    few = ("--arch", "tiny", "--steps", 1, "--crop", 64, "--share", 0.5, "--device", "cpu")
    told = call("train", "cyclegan", "--data", data, "-o", tmp_path / "run", *few)
    assert "--method cyclegan" in told.stderr, "it says how to go on"
    model = tmp_path / "run/model"
    assert load_model(model).config.card["share"] == 0.5
    source, restored = data / "0.png", tmp_path / "restored.png"
    call("denoise", source, "-o", restored, "--method", "cyclegan", "--model", model)
    with Image.open(source) as one, Image.open(restored) as other:
        assert one.size == other.size
        assert not np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"arch": "huge"}, "'huge'.*paper, small"),
        ({"damage": "fire"}, "'fire'.*artifacts, optical"),
        ({"channels": 1}, "Artifacts are simulated in RGB"),
        ({"channels": 4, "damage": "optical"}, "--channels is 4"),
        ({"share": 0.0}, "--share is 0.0"),
        ({"crop": 32}, "--crop is 32"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(
    data: Path, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        run(data, tmp_path / "run", steps=1, **settings)
