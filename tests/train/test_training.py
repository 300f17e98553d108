"""Whole runs of a few steps, with networks and crops as small as they can be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from histomend.errors import ModelNotFoundError, SettingError, TrainingError
from histomend.models import WEIGHTS, ModelConfig, load_model, read_config
from histomend.train import ArtifusionOptions, fit, train

SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"arch": "tiny"},
    # Stochastic depth and learned variance.
    "tiny-swin": {
        "arch": "tiny-swin",
        "prediction": "epsilon",
        "context": False,
        "cooldown": 0.5,
    },
}

FILES = ["last", "log.jsonl", "model", "run.json", "samples"]


def run(data: Path, out: Path, name: str = "tiny", **settings: Any) -> Path:
    defaults = {"batch": 2, "crop": 32, "device": "cpu", "cache": data.parent / "packed"}
    report = settings.pop("report", None)
    options = ArtifusionOptions(data, out, **{**defaults, **SETTINGS[name], **settings})
    return train(options, report)


def state(out: Path) -> dict[str, Tensor]:
    """Return all that resuming needs: weights, their average and the optimiser's moments."""
    return {
        f"{name} {key}": tensor
        for name in ("network", "average", "optimiser")
        for key, tensor in load_file(out / "last" / f"{name}.safetensors").items()
    }


def assert_same(first: Path, second: Path) -> None:
    a, b = state(first), state(second)
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert different == []


class Killed(BaseException):
    """Stands for a signal."""


def killed_at(step: int) -> Callable[[int, float, float, float], None]:
    def report(now: int, loss: float, rate: float, share: float) -> None:
        if now == step:
            raise Killed

    return report


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a run of six steps without interruption, made on first use."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "run"
            run(data, made[name], name, steps=6)
        return made[name]

    return get


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_writes_a_model_its_state_a_log_and_pictures(
    name: str, whole: Callable[[str], Path]
) -> None:
    out = whole(name)
    assert sorted(p.name for p in out.iterdir()) == [
        "last",
        "log.jsonl",
        "model",
        "run.json",
        "samples",
    ]
    model = load_model(out / "model", "cpu")
    assert model.config.arch == name
    assert model.config.learned_variance is (name == "tiny-swin")
    assert json.loads((out / "last" / "state.json").read_text())["step"] == 6
    with Image.open(out / "samples" / "0000006.png") as sheet:
        assert sheet.size == (8 * 32, 3 * 32)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6
    assert math.isfinite(lines[-1]["mean_x0_error"])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    name: str, whole: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    """Six steps at once equal a few, a kill, and the rest, bit for bit."""
    out = tmp_path / "run"
    with pytest.raises(Killed):
        # Saved after each step, so what is resumed from is the end of step 3.
        run(data, out, name, steps=6, save_minutes=0, report=killed_at(4))
    assert json.loads((out / "last" / "state.json").read_text())["step"] == 3
    # What the kill may leave behind: half a save, and half a line after lines from later steps.
    for rest in ("last.partial", "model.partial", "last.old"):
        (out / rest).mkdir(exist_ok=True)
        (out / rest / "network.safetensors").write_bytes(b"half")
    (out / "log.jsonl").write_text('{"step": 2, "s": 1}\n{"step": 5, "s": 1}\n{"step": 6, "s')
    run(data, out, name, steps=6, resume=True)
    assert_same(out, whole(name))
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 6]
    assert sorted(p.name for p in out.iterdir()) == [
        "last",
        "log.jsonl",
        "model",
        "run.json",
        "samples",
    ]


def test_a_kill_between_the_two_renames_of_a_save_loses_nothing(
    whole: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=3)
    for name in ("last", "model"):
        (out / name).rename(out / f"{name}.old")
    # Without --resume it is not overwritten either.
    with pytest.raises(TrainingError, match="holds a run already"):
        run(data, out, steps=6)
    run(data, out, steps=6, resume=True)
    assert_same(out, whole("tiny"))


def test_losses_are_finite_and_the_share_of_the_budget_grows(data: Path, tmp_path: Path) -> None:
    reports: list[tuple[int, float, float, float]] = []
    run(data, tmp_path / "run", steps=4, report=lambda *values: reports.append(values))
    steps, losses, rates, shares = zip(*reports, strict=True)
    assert steps == (1, 2, 3, 4)
    assert all(map(math.isfinite, losses))
    assert min(rates) > 0
    assert shares == (0.25, 0.5, 0.75, 1.0)


def test_a_time_budget_ends_the_run(data: Path, tmp_path: Path) -> None:
    model = run(data, tmp_path / "run", minutes=1e-6)
    assert read_config(model).arch == "tiny"
    assert json.loads((tmp_path / "run" / "last" / "state.json").read_text())["step"] == 1


def test_other_seeds_give_other_weights(
    whole: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    run(data, tmp_path / "run", steps=1, seed=1)
    key = "network head.weight"
    assert not torch.equal(state(tmp_path / "run")[key], state(whole("tiny"))[key])


def test_init_starts_from_given_weights_and_states_so(
    whole: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    first = whole("tiny") / "model"
    model = run(data, tmp_path / "run", steps=1, init=first, lr=0, mpp=0.25)
    given = load_file(first / "model.safetensors")
    after = load_file(tmp_path / "run" / "last" / "network.safetensors")
    assert all(torch.equal(after[key], tensor.float()) for key, tensor in given.items())
    config = read_config(model)
    assert (config.mpp, config.card) == (0.25, {"init": str(first)})


def test_a_model_is_sampled_like_the_bundled_one_unless_told_otherwise(
    data: Path, tmp_path: Path
) -> None:
    own = read_config(run(data, tmp_path / "own", steps=1))
    bundled = read_config(WEIGHTS / "artifusion-he")
    assert (own.sampler, own.extra_noise) == (bundled.sampler, bundled.extra_noise)
    assert own.sampler != ModelConfig("artifusion", "tiny").sampler, "or this shows nothing"
    told = {"sampler": "ddim", "extra_noise": 0.0, "steps": 1}
    other = read_config(run(data, tmp_path / "other", **told))
    assert (other.sampler, other.extra_noise) == ("ddim", 0.0)
    # A further training keeps what the first weights were sampled with.
    more = read_config(run(data, tmp_path / "more", steps=1, init=tmp_path / "other" / "model"))
    assert (more.sampler, more.extra_noise) == ("ddim", 0.0)


def test_weights_are_written_in_shards(data: Path, tmp_path: Path) -> None:
    model = run(data, tmp_path / "run", steps=1, shard_mb=0.2)
    assert len(list(model.glob("model-*.safetensors"))) > 1
    load_model(model, "cpu")


# What is refused


def test_an_existing_run_is_not_overwritten(whole: Callable[[str], Path], data: Path) -> None:
    out = whole("tiny")
    before = state(out)
    with pytest.raises(TrainingError, match=r"holds a run already\. Add --resume"):
        run(data, out, steps=1)
    assert all(torch.equal(before[key], tensor) for key, tensor in state(out).items())


def test_a_run_of_another_kind_is_not_resumed(whole: Callable[[str], Path], data: Path) -> None:
    with pytest.raises(TrainingError, match="prediction=x0, not v"):
        run(data, whole("tiny"), steps=9, resume=True, prediction="v")


def test_a_damaged_state_is_named(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(data, out, steps=1)
    (out / "last" / "average.safetensors").write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"cannot be resumed: .* is damaged"):
        run(data, out, steps=2, resume=True)


def test_what_is_held_out_is_never_trained_on(
    tmp_path: Path, tiles_in: Callable[..., Path]
) -> None:
    """Other held-out tiles give other figures, but the same weights."""
    for name, level in (("one", 220), ("two", 20)):
        data = tiles_in(tmp_path / name, {"val/held.png": level, "train/a.png": 100})
        (data / "manifest.csv").write_text(
            "file,slide,split\nval/held.png,b,val\ntrain/a.png,a,train\n", encoding="utf-8"
        )
        run(data, tmp_path / f"run-{name}", steps=3)
    assert_same(tmp_path / "run-one", tmp_path / "run-two")
    logs = [(tmp_path / f"run-{name}" / "log.jsonl").read_text() for name in ("one", "two")]
    assert logs[0] != logs[1]


def test_a_huge_gradient_is_clipped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's first moment after one step is a tenth of the gradient, whose norm is at most 1."""
    from histomend.train import denoiser

    def steep(output: Tensor, *_: object) -> Tensor:
        return 1e6 * output.sum()

    monkeypatch.setattr(denoiser, "denoising_loss", steep)
    run(data, tmp_path / "run", steps=1)
    moments = load_file(tmp_path / "run" / "last" / "optimiser.safetensors")
    first = [tensor.flatten() for name, tensor in moments.items() if name.endswith("exp_avg")]
    assert float(torch.cat(first).norm()) == pytest.approx(0.1, rel=0.01)


def test_an_empty_data_folder(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TrainingError, match="No images were found"):
        run(tmp_path / "nothing", tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists()


def test_crops_that_do_not_fit_the_tiles(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Crops of 96 px do not fit into tiles of 72×64"):
        run(data, tmp_path / "run", steps=1, crop=96)


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from histomend.train import denoiser

    def diverge(output: Tensor, *_: object) -> Tensor:
        return output.sum() * float("inf")

    out = tmp_path / "run"
    run(data, out, steps=1)
    monkeypatch.setattr(denoiser, "denoising_loss", diverge)
    with pytest.raises(TrainingError, match=r"at step 1\. The last good state"):
        run(data, out, steps=3, resume=True)
    assert all(bool(tensor.isfinite().all()) for tensor in state(out).values())
    with pytest.raises(TrainingError, match=r"at step 0\. No state was kept before"):
        run(data, tmp_path / "another", steps=1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"arch": "tiny-swin"}, TrainingError, "arch=tiny, and this run arch=tiny-swin"),
        ({"context": False}, TrainingError, "context=True, and this run context=False"),
        ({"init": "nowhere"}, ModelNotFoundError, "nowhere"),
    ],
)
def test_first_weights_of_another_kind_are_refused(
    change: dict[str, Any],
    error: type[Exception],
    message: str,
    whole: Callable[[str], Path],
    data: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        run(data, tmp_path / "run", **{"steps": 1, "init": whole("tiny") / "model", **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"arch": "huge"}, "huge"), ({"schedule": "square"}, "square"), ({"mpp": 0}, "--mpp")],
)
def test_settings_that_do_not_exist(
    change: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        run(data, tmp_path / "run", steps=1, **change)


def compiles(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Let compiling multiply the gradients of the last layer."""

    def compile_it(network: torch.nn.Module) -> None:
        last = list(network.parameters())[-1]
        last.register_hook(lambda gradient: gradient * factor)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_it)


def test_a_network_that_compiles_rightly_is_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Callable[[str], Path]
) -> None:
    compiles(monkeypatch, 1.0)
    run(data, tmp_path / "run", steps=6, compiled=True)
    assert_same(tmp_path / "run", whole("tiny"))


def test_a_network_that_compiles_wrongly_is_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.13 does this silently on a CPU."""
    compiles(monkeypatch, -1.0)
    with pytest.raises(TrainingError, match=r"wrong gradients, first of .*without --compiled"):
        run(data, tmp_path / "run", steps=6, compiled=True)


def test_the_learning_rate_warms_up_stays_and_falls_to_nothing_at_the_end() -> None:
    def rate(step: int, share: float, cooldown: float = 0.5) -> float:
        run = SimpleNamespace(
            step=step,
            options=SimpleNamespace(lr=2.0, cooldown=cooldown),
            lesson=SimpleNamespace(optimiser=SimpleNamespace(warmup=10)),
        )
        return fit._rate(run, share)  # type: ignore[arg-type]

    assert [rate(step, 0.0) for step in (0, 4, 9, 500)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert [rate(500, share) for share in (0.5, 0.75, 0.9, 1.0)] == pytest.approx([2, 1, 0.4, 0])
    assert rate(500, 0.99, cooldown=0.0) == 2.0
