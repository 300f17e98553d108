from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.recalibration import RecalibratingTrajectory
from histomend.errors import ModelMismatchError, SettingError, TrainingError
from histomend.methods.rscd import RSCD, calibrated_sampling
from histomend.models import CalibratorConfig, load_model, save_calibrator
from histomend.train import RscdOptions, train

QUICK = {"arch": "tiny", "batch": 2, "crop": 32}


def run(data: Path, out: Path, **settings: object) -> Path:
    return train(RscdOptions(data, out, **{**QUICK, **settings}))


def test_it_learns_to_take_noise_away(smooth: Path, tmp_path: Path) -> None:
    run(smooth, tmp_path / "run", channels=1, steps=100, batch=8, lr=3e-3, ema=0.9)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    first, last = (line["loss"] for line in log if "loss" in line)
    # Of a network that answers nothing it is 0.798.
    assert last < first - 0.03 < 0.77
    assert {"psnr_5", "psnr_200"} <= set(log[-1])
    assert list((tmp_path / "run/samples").glob("*.png"))
    model = load_model(tmp_path / "run/model", "cpu")
    config = model.config
    assert (config.method, config.channels, config.highest_t) == ("rscd", 1, 200)

    schedule = config.noise_schedule()
    x0 = torch.linspace(-0.8, 0.8, 64).expand(2, 1, 64, 64)
    t = torch.tensor([0, 120])
    noisy = schedule.noised(x0, t, torch.randn(x0.shape))
    chosen = calibrated_sampling("fast", config)
    done = sample(
        model.denoiser,
        RSCD(noisy),
        RecalibratingTrajectory(lambda x: t[1:] / 2, chosen.plan, first=t.float()),
        chosen.make_sampler(schedule),
        NoiseStream([NoiseField(0)] * 2, [(0, 0)] * 2),
        schedule,
    )
    assert torch.equal(done.x[0], x0[0]), "at t = 0 an image goes through unchanged"
    assert done.nfe.tolist() == [0, 8]
    before, after = ((v[1] - x0[1]).square().mean() for v in (noisy, done.x))
    assert float(after) < 0.8 * float(before)


def test_the_second_phase_sees_the_best_tiles_only(
    smooth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import histomend.train.rscd as module

    seen = []
    draw = module.crops

    def watched(source: object, *rest: object) -> torch.Tensor:
        seen.append(source)
        return draw(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "crops", watched)
    run(smooth, tmp_path / "run", steps=4, best_after=2, best_share=0.5)
    _, *drawn = seen
    assert drawn[0] is drawn[1]
    assert drawn[2] is drawn[3]
    kept, every = ([len(s) for s in source.main.slides] for source in (drawn[2], drawn[0]))  # type: ignore[attr-defined]
    assert sum(kept) == sum(every) / 2


def test_a_calibrator_can_be_put_beside_a_finished_run(smooth: Path, tmp_path: Path) -> None:
    run(smooth, tmp_path / "run", channels=2, steps=1)
    assert load_model(tmp_path / "run/model", "cpu").calibrator is None
    config = CalibratorConfig("small", channels=2)
    save_calibrator(tmp_path / "own", config.network().state_dict(), config)
    again = {"channels": 2, "steps": 1, "resume": True, "calibrator": tmp_path / "own"}
    model = load_model(run(smooth, tmp_path / "run", **again), "cpu")
    assert model.calibrator is not None
    assert model.calibrator(torch.zeros(1, 2, 64, 64)).shape == (1,)


def test_what_does_not_go_together_is_refused_before_any_work(smooth: Path, tmp_path: Path) -> None:
    config = CalibratorConfig("small", channels=1)
    save_calibrator(tmp_path / "own", config.network().state_dict(), config)
    with pytest.raises(ModelMismatchError, match="images of 1 channels"):
        run(smooth, tmp_path / "run", steps=1, calibrator=tmp_path / "own")
    with pytest.raises(SettingError, match="--highest-t is 2000"):
        run(smooth, tmp_path / "run", steps=1, highest_t=2000)
    first = run(smooth, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="channels=3, and this run channels=2"):
        run(smooth, tmp_path / "other", steps=1, channels=2, init=first)


def test_both_trainings_from_the_command_line(smooth: Path, tmp_path: Path) -> None:
    def verb(*words: object) -> None:
        result = CliRunner().invoke(app, ["train", *map(str, words), "--device", "cpu"])
        assert result.exit_code == 0, result.stderr

    few = ("--data", smooth, "--channels", 1, "--steps", 1, "--batch", 2, "--crop", 64)
    verb("calibrator", *few, "-o", tmp_path / "c", "--no-augmented")
    beside = ("--calibrator", tmp_path / "c" / "model")
    verb("rscd", *few, *beside, "--arch", "tiny", "-o", tmp_path / "r", "--best-after", 0)
    assert load_model(tmp_path / "r" / "model", "cpu").calibrator is not None
