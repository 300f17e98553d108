"""A save that is killed after any of its actions on the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from histomend.errors import OutputError
from histomend.models import ModelConfig, load_model
from histomend.train import ArtifusionOptions, denoiser
from histomend.train import run as running
from histomend.train.denoiser import DenoiserTrainee
from histomend.train.optimisers import AdamW
from histomend.train.run import Run


class Killed(BaseException):
    """Stands for a signal."""


class NothingToLearn:
    """A lesson of which only what it trains is asked."""

    trainee = DenoiserTrainee(ModelConfig("artifusion", "tiny"), shard_bytes=200_000)
    optimiser = AdamW()
    mixed_precision = False


def opened(out: Path, *, resume: bool) -> Run:
    return Run(NothingToLearn(), ArtifusionOptions(out, out, resume=resume, device="cpu"))  # type: ignore[arg-type]


def mark(run: Run, step: int) -> None:
    """Make a state that can be told from others: everything is the number of the step."""
    run.step = step
    with torch.no_grad():
        for tensor in (*run.network.parameters(), *run.average.values()):
            tensor.fill_(step)


def values(tensors: dict[str, Tensor]) -> set[float]:
    return {float(end) for tensor in tensors.values() for end in tensor.aminmax()}


def count_actions(monkeypatch: pytest.MonkeyPatch, allowed: int) -> list[int]:
    """Let `allowed` actions on the disk pass and kill at the next one; return their counter."""
    done = [0]

    def counted(action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            if done[0] == allowed:
                raise Killed
            done[0] += 1
            return action(*args, **kwargs)

        return act

    actions = {
        running: ["save_file"],
        denoiser: ["save_model"],
        shutil: ["rmtree"],
        Path: ["replace", "mkdir"],
    }
    for place, names in actions.items():
        for name in names:
            monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return done


def test_after_a_kill_at_any_moment_an_old_or_the_new_state_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run = opened(out, resume=False)
    mark(run, 1)
    run.save()
    allowed, last = 0, 1
    while True:
        mark(run, run.step + 1)
        killed = False
        with monkeypatch.context() as patched:
            done = count_actions(patched, allowed)
            try:
                run.save()
            except Killed:
                killed = True
        again = opened(out, resume=True)
        assert again.step in (last, run.step)
        assert values(again.network.state_dict()) == values(again.average) == {again.step}
        model = values(load_model(out / "model", "cpu").denoiser.network.state_dict())
        # The model is written after the state, so it may be older, but it is of one step.
        assert len(model) == 1
        assert max(model) <= again.step
        last = again.step
        allowed += 1
        if not killed:
            break
    assert done[0] >= 10, "a save has become simpler: check that this test still sees it all"
    assert again.step == run.step
    assert sorted(p.name for p in out.iterdir()) == ["last", "model", "run.json"]


def test_a_full_disk_leaves_the_state_before_and_nothing_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(tmp_path / "run", resume=False)
    mark(run, 1)
    run.save()
    mark(run, 2)

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(running, "save_file", full)
    with pytest.raises(OutputError, match=r"after step 2 cannot be written.*--resume"):
        run.save()
    assert sorted(path.name for path in run.out.iterdir()) == ["last", "model", "run.json"]
    assert opened(run.out, resume=True).step == 1


def test_the_log_goes_on_from_the_state_and_keeps_what_led_to_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = opened(out, resume=False)
    for step in (50, 100, 150):
        mark(run, step)
        run.log(loss=step)
        if step == 100:
            run.save()
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # a kill cut this line
    assert opened(out, resume=True).step == 100
    lines = (out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100]
