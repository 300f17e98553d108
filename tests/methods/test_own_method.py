"""A method in one file: registered, it runs in every verb like those that come with Histomend.

Its three tasks are below. Each is what somebody would write who is not of the house.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.diffusion.noise import NoiseStream
from histomend.errors import MaskError
from histomend.jobs.job import Geometry, Job, Mask, Options, Outcome, Pixels, Tick
from histomend.methods import METHODS, MethodInfo, register
from histomend.methods.enlarging import WholeStage, decide_enlarged
from histomend.methods.fields import decide_field
from histomend.slides.source import ArraySource
from histomend.testing import MethodTests


class Halved:
    """Restores a tile by drawing it halfway to its mean."""

    calibrate = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        mean = x.mean((2, 3), keepdim=True)
        return (x + mean) / 2, torch.ones(len(x), dtype=torch.int64)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Decide for all three tasks, told apart by the method's name."""
    if options.method == "toy-denoise":
        return decide_field(source, None, options, Halved(), {"weight": 0.5})
    cpu = torch.device("cpu")
    if options.method == "toy-upscale":

        def repeat(pixels: Pixels, tick: Tick) -> tuple[Pixels, Outcome]:
            tick()
            return pixels.repeat(2, 0).repeat(2, 1), Outcome()

        stages = (lambda _: WholeStage(source, repeat),)
        return decide_enlarged(source, options, stages, parts=1, units=1, device=cpu)  # type: ignore[arg-type]
    if mask is None:
        raise MaskError("there is no mask")

    def fill(pixels: Pixels, tick: Tick) -> tuple[Pixels, Outcome]:
        filled = pixels.copy()
        filled[mask] = np.rint(pixels[~mask].mean(0)).astype(pixels.dtype)
        tick()
        return filled, Outcome()

    return Job(
        "restore", source, Geometry.of(source), options, (lambda _: WholeStage(source, fill),),
        parts=1, units=1, device=cpu, mask=mask, nfe=0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for task in ("restore", "denoise", "upscale"):
        register(MethodInfo(f"toy-{task}", task, "a toy", __name__))  # type: ignore[arg-type]
    sys.modules[__name__].decide = decide  # type: ignore[attr-defined]
    yield
    for task in ("restore", "denoise", "upscale"):
        METHODS.pop(f"toy-{task}")


class TestRestore(MethodTests):
    task, method, random = "restore", "toy-restore", False


class TestDenoise(MethodTests):
    task, method, random = "denoise", "toy-denoise", False


class TestUpscale(MethodTests):
    task, method, random, mpp = "upscale", "toy-upscale", False, 1.0


def test_a_method_that_is_not_registered_is_no_choice() -> None:
    METHODS.pop("toy-denoise")
    result = CliRunner().invoke(
        app, ["denoise", "in.png", "-o", "x.png", "--method", "toy-denoise"]
    )
    register(MethodInfo("toy-denoise", "denoise", "a toy", __name__))
    assert result.exit_code == 2
    assert "'toy-denoise'" in result.stderr
    assert "rscd" in result.stderr
