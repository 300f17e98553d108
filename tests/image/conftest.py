"""Pixels to write, files of them, and what a refusal must tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from histomend.errors import HistomendError
from histomend.image import read_image


def _random_pixels(
    height: int = 80, width: int = 96, samples: int = 3, dtype: Any = np.uint8, seed: int = 0
) -> np.ndarray:
    """Return (height, width, samples) values over the whole range of a type."""
    top = np.iinfo(dtype).max
    values = np.random.default_rng(seed).integers(0, top + 1, (height, width, samples))
    return values.astype(dtype)


@pytest.fixture(scope="session")
def random_pixels() -> Callable[..., np.ndarray]:
    return _random_pixels


@pytest.fixture(scope="session")
def save_picture() -> Callable[..., Path]:
    """Return what writes 96 x 80 px with Pillow, in one of its modes, and gives the path."""

    def save(path: Path, mode: str = "RGB", **options: Any) -> Path:
        PIL.Image.fromarray(_random_pixels()).convert(mode).save(path, **options)
        return path

    return save


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """Return what reads a file and expects an error of a kind that names it and all words."""

    def check(path: Path, kind: type[HistomendError], *words: str, **options: Any) -> None:
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(kind) as caught:
            read_image(path, **options)
        assert caught.value.exit_code == 2
        message = str(caught.value)
        for word in (path.name, *words):
            assert word in message, f"{word!r} is not in {message!r}"
        if before is not None:
            assert path.read_bytes() == before

    return check


@pytest.fixture(scope="session")
def slides(shared_data: Path) -> Path:
    """Return the folder of real slides, or skip where it is absent."""
    return shared_data / "slides"
