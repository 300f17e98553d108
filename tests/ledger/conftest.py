"""A made-up restoration with its ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.image import Image
from histomend.ledger import Record, build_record


def _make_ledger(
    mask: np.ndarray | None = None,
    dtype: Any = np.uint8,
    seed: int = 0,
    mpp: float | None = 0.5,
    uncertainty: np.ndarray | None = None,
    alpha: bool = False,
    **options: Any,
) -> tuple[Image, np.ndarray, np.ndarray, Record]:
    rng = np.random.default_rng(seed)
    if mask is None:
        mask = np.zeros((90, 140), bool)
        mask[10:30, 20:60] = True
        mask[15:20, 30:40] = False
        mask[70:90, 100:140] = True
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top + 1, (*mask.shape, 3)).astype(dtype)
    restored = pixels.copy()
    restored[mask] = rng.integers(0, top + 1, (int(mask.sum()), 3)).astype(dtype)
    source = Image(pixels, mpp, pixels[..., 0].copy() if alpha else None, Path("a/b/tissue.png"))
    settings = {"preset": "fast", "steps": 20, "region": (1, 2, 3, 4), "eta": np.float32(0.5)}
    ledger = build_record(
        "restore",
        source,
        replace(source, pixels=restored),
        mask=mask,
        method="artifusion",
        model={"name": "artifusion-he", "sha256": "0" * 64, "card": {"mpp": 0.5}},
        options={},
        settings=settings | options,
        seed=7,
        nfe=20,
        windows=[{"box": (0, 0, 128, 128)}],
        uncertainty=uncertainty,
        notices=("resampled",),
    )
    return source, restored, mask, ledger


@pytest.fixture(scope="session")
def make_ledger() -> Callable[..., tuple[Image, np.ndarray, np.ndarray, Record]]:
    """Return what gives source, restored pixels, mask and ledger."""
    return _make_ledger
