"""What an earlier commit computed: the same noise, the same plans, the same pictures.

Other tests compare a run with itself; these compare it with numbers that were written down. To
write them anew, after a change that is meant: HISTOMEND_WRITE_GOLDEN=1 pytest tests/golden.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import histomend
from histomend.diffusion.noise import NoiseField, further_seed
from histomend.tiles.plan import make_plan

HERE = Path(__file__).parent
WRITE = "HISTOMEND_WRITE_GOLDEN" in os.environ
# Other processors round differently.
LEVELS = 2


def golden_json(name: str, found: Any) -> Any:
    """Return what was written down under a name, after writing it if that was asked for."""
    path = HERE / f"{name}.json"
    if WRITE:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return json.loads(path.read_text())


def test_noise_is_what_it_was() -> None:
    """Philox gives the same bits on every machine, and ziggurat the same numbers from them."""
    places = [(0, 0, 3, 0, 0), (0, 1, 4, 60, 70), (7, 2, 3, 1000, 99_960), (2**63 - 1, 0, 1, 5, 5)]
    found: dict[str, object] = {
        " ".join(map(str, place)): hashlib.sha256(
            NoiseField(place[0]).patch(place[1], place[2], *place[3:], 80, 72).numpy().tobytes()
        ).hexdigest()
        for place in places
    }
    found["derived seeds"] = [further_seed(3, number) for number in range(4)]
    assert found == golden_json("noise", found)


def blobs(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for x, y, w, h in boxes:
        mask[y : y + h, x : x + w] = True
    return mask


def specks() -> np.ndarray:
    rng = np.random.default_rng(5)
    mask = np.zeros((900, 1200), bool)
    for _ in range(40):
        y, x, h, w = (int(n) for n in rng.integers((1, 1, 1, 1), (880, 1180, 60, 60)))
        mask[y : y + h, x : x + w] = True
    return mask


PLANS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "small": lambda: (blobs((600, 800), (300, 200, 40, 30)), 256),
    "corner": lambda: (blobs((600, 800), (0, 0, 20, 20)), 256),
    "far corner, latent": lambda: (blobs((601, 803), (780, 590, 20, 9)), 256, 1.0, 8),
    "medium": lambda: (blobs((600, 800), (300, 200, 110, 90)), 256),
    "field": lambda: (blobs((900, 900), (100, 100, 400, 300)), 256),
    "chain": lambda: (blobs((2600, 2600), (100, 100, 2400, 2400)), 256),
    "long, latent": lambda: (blobs((300, 3000), (7, 100, 2900, 60)), 256, 1.0, 8),
    "near": lambda: (blobs((600, 800), (50, 50, 40, 40), (120, 60, 30, 30)), 256),
    "apart": lambda: (blobs((600, 800), (50, 50, 40, 40), (500, 400, 40, 40)), 256),
    "bend": lambda: (
        blobs((600, 600), (50, 50, 500, 20), (50, 50, 20, 500), (300, 300, 30, 30)),
        256,
    ),
    "finer": lambda: (blobs((1200, 1600), (600, 400, 100, 80), (20, 900, 300, 40)), 256, 0.5),
    "coarser": lambda: (blobs((300, 400), (60, 40, 30, 20)), 256, 1.6),
    "small window": lambda: (blobs((600, 800), (300, 200, 10, 10)), 80),
    "specks": lambda: (specks(), 256),
}


def test_plans_are_what_they_were() -> None:
    found = {}
    for name, arguments in PLANS.items():
        plan = make_plan(*arguments())
        found[name] = [
            [{**window.record(), "origin": list(window.origin)} for window in chain]
            for chain in plan.chains
        ]
    assert json.loads(json.dumps(found)) == golden_json("plans", found)


@pytest.fixture(scope="module")
def outputs(
    tissue: np.ndarray,
    untrained: Path,
    untrained_latent: Path,
    untrained_rscd: Path,
    untrained_upscaler: Path,
) -> dict[str, np.ndarray]:
    """Return a crop of what each task makes of tissue, with networks that learned nothing."""
    part = tissue[96:224, 64:192]
    mask = blobs((128, 128), (50, 56, 24, 20))
    two = mask | blobs((128, 128), (2, 100, 6, 20))
    options: dict[str, Any] = {"seed": 11, "device": "cpu"}

    def restored(model: Path, where: np.ndarray = mask, **more: Any) -> np.ndarray:
        result = histomend.restore(
            part, where, model=model, **{"mpp": 0.5, "preset": "generate", **options, **more}
        )
        return result.pixels[48:80, 48:80]

    def denoised(**more: Any) -> np.ndarray:
        return histomend.denoise(part, **options, **more).pixels[40:72, 40:72]

    def enlarged(**more: Any) -> np.ndarray:
        found = histomend.upscale(part[:40, :48], scale=2, **options, **more)
        return found.pixels[24:56, 24:56]

    upscaler = {"model": untrained_upscaler}
    return {
        "artifusion": restored(untrained),
        "artifusion, two windows": restored(untrained, two),
        "artifusion, resampled": restored(untrained, mpp=0.3),
        "artifusion, paper": restored(untrained, preset="paper", steps=3),
        "latent-artifusion": restored(untrained_latent, method="latent-artifusion"),
        "rscd": denoised(model=untrained_rscd),
        "rscd, paper": denoised(model=untrained_rscd, preset="paper"),
        "ccdf": denoised(model=untrained_rscd, method="ccdf", steps=3),
        "rrd": denoised(model=untrained_rscd, method="rrd", steps=3),
        "median": denoised(method="median"),
        "histo-diffusion": enlarged(**upscaler),
        "histo-diffusion, paper": enlarged(preset="paper", steps=3, **upscaler),
        "histo-diffusion, half": enlarged(generation=0.5, colour="adain", steps=4, **upscaler),
        "bicubic": enlarged(method="bicubic"),
    }


def test_each_task_gives_the_pixels_that_it_gave(outputs: dict[str, np.ndarray]) -> None:
    path = HERE / "outputs.npz"
    if WRITE:
        np.savez_compressed(path, **outputs)
    with np.load(path) as written:
        assert set(written) == set(outputs)
        off = {
            name: int(np.abs(outputs[name].astype(int) - written[name]).max()) for name in outputs
        }
    assert {name: levels for name, levels in off.items() if levels > LEVELS} == {}
    assert len({pixels.tobytes() for pixels in outputs.values()}) == len(outputs)
