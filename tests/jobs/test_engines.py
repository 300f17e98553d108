"""Threads, devices and memory: none of them changes a byte, or ends in a riddle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import histomend
from histomend.diffusion.denoiser import Denoiser
from histomend.errors import ResourceError
from histomend.jobs import engines
from histomend.jobs.job import Tick, Unit
from histomend.models import Model, load_model
from histomend.slides.source import picture_source

Progress = Callable[[int, int], None] | None


class OtherDevice(str):
    """A device that is no CPU for Histomend, and computes on the CPU for PyTorch."""

    __slots__ = ()
    type = "other"


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture(scope="module")
def field_model(untrained_rscd: Path) -> Model:
    return load_model(untrained_rscd, "cpu")


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    mask = np.zeros((256, 256), bool)
    for y, x in ((20, 20), (20, 200), (200, 30), (210, 210)):
        mask[y : y + 15, x : x + 20] = True
    return mask


@pytest.fixture(scope="module")
def part(tissue: np.ndarray) -> np.ndarray:
    return tissue[:256, :256].copy()


def test_two_jobs_at_once_give_their_own_bytes_and_leave_the_threads_alone(
    model: Model, field_model: Model, part: np.ndarray, mask: np.ndarray
) -> None:
    def restored(progress: Progress = None) -> bytes:
        settings = {"mpp": 0.5, "steps": 3, "progress": progress}
        return histomend.restore(part, mask, model=model, **settings).image.pixels.tobytes()

    def denoised(progress: Progress = None) -> bytes:
        found = histomend.denoise(part[:120, :160], model=field_model, progress=progress)
        return found.pixels.tobytes()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = [denoised(), restored()]
        found: list[bytes] = [b"", b""]
        second_runs, first_ended = threading.Event(), threading.Event()

        def wait_for_the_first(done: int, total: int) -> None:
            second_runs.set()
            first_ended.wait(60)

        def second() -> None:
            found[1] = restored(wait_for_the_first)

        other = threading.Thread(target=second)

        def start_the_second(done: int, total: int) -> None:
            if done == 1:
                other.start()
                second_runs.wait(60)

        found[0] = denoised(start_the_second)
        first_ended.set()
        other.join()
        assert found == alone
        seen = [torch.get_num_threads()]
        fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        fresh.start()
        fresh.join()
        assert seen == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_another_device_than_the_cpu_gives_the_same(
    model: Model, field_model: Model, part: np.ndarray, mask: np.ndarray
) -> None:
    other = OtherDevice("cpu")
    restoring, denoising = (replace(each, device=other) for each in (model, field_model))
    settings = {"mpp": 0.5, "steps": 2, "samples": 2}
    here, there = (histomend.restore(part, mask, model=m, **settings) for m in (model, restoring))
    assert np.abs(here.image.pixels.astype(int) - there.image.pixels).max() <= 1
    assert here.uncertainty is not None
    assert there.uncertainty is not None
    np.testing.assert_allclose(there.uncertainty, here.uncertainty, atol=1e-4)
    near, far = (histomend.denoise(part[:90, :150], model=m) for m in (field_model, denoising))
    assert np.abs(near.pixels.astype(int) - far.pixels).max() <= 1


class Greedy(nn.Module):
    """Asks for more memory than there is."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")


@pytest.mark.parametrize("device", ["cpu", "other"])
def test_too_little_memory_is_an_error_that_says_what_to_do(
    model: Model, part: np.ndarray, mask: np.ndarray, device: str
) -> None:
    config = model.config
    denoiser = Denoiser(Greedy(), config.noise_schedule(), config.prediction)
    where = torch.device("cpu") if device == "cpu" else OtherDevice("cpu")
    greedy = replace(model, denoiser=denoiser, device=where)
    with pytest.raises(ResourceError, match=r"memory.*--batch"):
        histomend.restore(part, mask, model=greedy, mpp=0.5)


def test_a_thread_that_begins_while_workers_do_still_knows_what_was_given() -> None:
    """It finds one thread for a moment, and would have kept that."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with engines._pool_at_work() as given:
            torch.set_num_threads(1)
            assert (given, engines.given_threads()) == (2, 2)
            with engines._pool_at_work() as second:
                assert second == 2
            torch.set_num_threads(2)
        assert engines.given_threads() == 2
    finally:
        torch.set_num_threads(before)


class Chain:
    """Three groups side by side, of which the last waits for the slow first one."""

    parallel = True

    def __init__(self) -> None:
        whole = (0, 0, 4, 4)
        self.groups = [
            (Unit("slow", 0, whole, whole),),
            (Unit("quick", 0, whole, whole),),
            (Unit("last", 0, whole, whole, after=("slow",)),),
        ]
        self.source = picture_source(np.zeros((64, 64, 3), np.uint8))
        self.quick_ended, self.never = threading.Event(), threading.Event()

    def run(
        self, units: tuple[Unit, ...], pixels: object, done: Mapping[str, str], tick: Tick
    ) -> list[str]:
        (unit,) = units
        if unit.key == "slow":
            self.quick_ended.wait(20)
            self.never.wait(0.3)  # time in which the last one could begin too early
        if unit.key == "quick":
            self.quick_ended.set()
        return [f"{unit.key} after {', '.join(done.values()) or 'none'}"]


def test_a_unit_waits_for_those_that_it_comes_after() -> None:
    found = engines.run_stage(Chain(), torch.device("cpu"), 8, lambda: None)  # type: ignore[arg-type]
    assert [told for _, told in found] == [
        "slow after none",
        "quick after none",
        "last after slow after none",
    ]
