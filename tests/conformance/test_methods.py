"""All methods of all tasks behave alike (`histomend.testing`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from histomend.testing import MethodTests


class RestoreTests(MethodTests):
    task = "restore"


class DenoiseTests(MethodTests):
    task = "denoise"


class UpscaleTests(MethodTests):
    task = "upscale"
    mpp = 1.0


class OwnModel:
    """Takes a model with random weights of its method."""

    method: str

    @pytest.fixture
    def model(self, untrained_of: Callable[[str], Path]) -> Path:
        return untrained_of(self.method)


class TestArtiFusion(RestoreTests):
    method = "artifusion"

    @pytest.fixture
    def model(self, untrained: Path) -> Path:
        return untrained


class TestArtiFusionAlone(TestArtiFusion):
    options = ("--preset", "generate")


class TestLatentArtiFusion(RestoreTests):
    method = "latent-artifusion"

    @pytest.fixture
    def model(self, untrained_latent: Path) -> Path:
        return untrained_latent


class TestRSCD(DenoiseTests):
    method, random = "rscd", False

    @pytest.fixture
    def model(self, untrained_rscd: Path) -> Path:
        return untrained_rscd


class TestCCDF(DenoiseTests):
    method, options = "ccdf", ("--steps", "2")

    @pytest.fixture
    def model(self, untrained_rscd: Path) -> Path:
        return untrained_rscd


class TestRRD(DenoiseTests):
    method, options = "rrd", ("--steps", "2")

    @pytest.fixture
    def model(self, untrained_rscd: Path) -> Path:
        return untrained_rscd


class TestConditional(OwnModel, DenoiseTests):
    method = "conditional"


class TestNoise2Noise(OwnModel, DenoiseTests):
    method, random = "noise2noise", False


class TestCycleGAN(OwnModel, DenoiseTests):
    method, random = "cyclegan", False


class TestMedian(DenoiseTests):
    method, random = "median", False


class TestDeepImagePrior(DenoiseTests):
    method, options = "deep-image-prior", ("--steps", "1")


class TestHistoDiffusion(UpscaleTests):
    method = "histo-diffusion"

    @pytest.fixture
    def model(self, untrained_upscaler: Path) -> Path:
        return untrained_upscaler


class TestBicubic(UpscaleTests):
    method, random = "bicubic", False


class TestLanczos(UpscaleTests):
    method, random = "lanczos", False


class TestRRDBGAN(OwnModel, UpscaleTests):
    method, random = "rrdb-gan", False


class TestSwinIRGAN(OwnModel, UpscaleTests):
    method, random = "swinir-gan", False


class TestPublished(OwnModel, UpscaleTests):
    method, random, depths = "published", False, (np.uint8,)
