from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histomend.diffusion.schedule import cosine
from histomend.errors import SettingError, TrainingError
from histomend.models import load_calibrator
from histomend.networks.calibrator import CALIBRATOR_ARCHS
from histomend.train import CalibratorOptions, train
from histomend.train.calibrator import (
    calibration_errors,
    even,
    noised_to,
    uneven,
)

LEVELS = cosine(1000)


def train_calibrator(data: Path, out: Path, report: Any = None, **settings: Any) -> Path:
    return train(CalibratorOptions(data, out, **settings), report)


def test_it_learns_to_tell_much_noise_from_little(
    smooth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histomend.train.calibrator.HELD_OUT", 2)
    model = train_calibrator(
        smooth, tmp_path / "run", channels=1, steps=100, batch=8, crop=32, lr=3e-3, ema=0.9
    )
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]
    assert {"t_error_0", "t_error_200", "uneven_t_error_200"} <= set(log[-1])
    calibrator = load_calibrator(model)
    assert calibrator.config.channels == 1
    assert calibrator.config.augmented
    x0 = torch.linspace(-1, 0.5, 64).expand(4, 1, 64, 64)
    found = [
        float(calibrator(noised_to(x0, even(torch.full((4,), t), 64), LEVELS, seeded())).mean())
        for t in (0, 20, 60, 150, 300)
    ]
    assert found == sorted(found)
    assert found[0] < 30
    assert found[-1] > 150


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_with_two_regions_the_larger_t_is_the_label() -> None:
    t = torch.tensor([0, 40, 300])
    rng = np.random.default_rng(0)
    maps = torch.stack([uneven(t, 128, rng) for _ in range(200)])
    assert torch.equal(maps.amax((2, 3, 4)), t.expand(200, 3))
    lower = (maps[:, 2] < 300).float().mean((1, 2, 3))
    assert float(lower.min()) > 0.01, "some place always has less"
    inside = float((lower < 0.5).float().mean())
    assert 0.5 < inside < 0.8, "more often a rectangle than its surroundings"


def test_each_place_is_noised_to_its_own_t() -> None:
    where_t = even(torch.tensor([0]), 64)
    where_t[..., 32:] = 200
    x0 = torch.full((1, 1, 64, 64), 0.5)
    x = noised_to(x0, where_t, LEVELS, seeded())
    assert torch.equal(x[..., :32], x0[..., :32])
    assert float(x[..., 32:].std()) == pytest.approx(float(LEVELS.sigma[200]), rel=0.1)
    assert float(x[..., 32:].mean()) == pytest.approx(0.5 * float(LEVELS.alpha[200]), abs=0.03)


def test_errors_are_told_by_true_t() -> None:
    def always_forty(x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x),), 40.0)

    found = calibration_errors(always_forty, torch.zeros(10, 1, 64, 64), LEVELS, (0, 50), True)
    assert found == {0: (40.0, 40.0), 50: (-10.0, 10.0)}


def test_a_network_with_batch_norms_can_be_trained_and_resumed(
    smooth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the paper's, whose ResNet-50 would take minutes here."""

    def make(channels: int) -> nn.Module:
        norm, pool = nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3), norm, pool, nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0)
        )

    monkeypatch.setitem(CALIBRATOR_ARCHS, "tiny", make)
    settings = {"arch": "tiny", "channels": 2, "batch": 2, "crop": 64, "augmented": False}

    def run(**more: object) -> Path:
        return train_calibrator(smooth, tmp_path / "run", **{**settings, **more})  # type: ignore[arg-type]

    run(steps=1)
    calibrator = load_calibrator(run(steps=2, resume=True))
    assert not calibrator.config.augmented
    assert int(calibrator.network.state_dict()["1.num_batches_tracked"]) <= 2
    with pytest.raises(TrainingError, match="augmented=False, not True"):
        run(steps=2, resume=True, augmented=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"arch": "huge"}, "'huge'.*paper, small"),
        ({"highest_t": 1001}, "--highest-t is 1001"),
        ({"schedule": "flat"}, "'flat'"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(
    smooth: Path, tmp_path: Path, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        train_calibrator(smooth, tmp_path / "run", steps=1, **settings)  # type: ignore[arg-type]
