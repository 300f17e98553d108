"""The rows of the experiment: doing nothing, the classical baselines, and models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from histomend.api import denoise, restore
from histomend.baselines import classical
from histomend.evaluate.restoration import Row
from histomend.methods import METHODS
from histomend.methods.loading import model_for
from histomend.methods.sampling import sampling
from histomend.models import load_denoiser


def damaged_row() -> Row:
    """Return the row that leaves the damage as it is."""

    def leave(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        return pixels

    return Row("damaged", leave)


def classical_rows() -> list[Row]:
    """Return OpenCV's two inpainters."""
    settings = {"radius_px": classical.RADIUS_PX}
    return [
        Row("Telea", classical.telea, settings),
        Row("Navier-Stokes", classical.navier_stokes, settings),
    ]


def model_row(
    name: str,
    model: str | Path,
    *,
    preset: str = "generate",
    steps: int | None = None,
    sampler: str | None = None,
    device: str = "auto",
) -> Row:
    """Return the row of a model, which is loaded once.

    The crops are taken to have the model's own pixel size.

    Parameters
    ----------
    name : str
        What to call the row.
    model : str or Path
        A bundled name or a folder of weights.
    preset, steps, sampler, device
        As for :func:`histomend.restore`.

    Raises
    ------
    ModelError, SettingError, DeviceError
        See :func:`histomend.restore`.
    """
    loaded = load_denoiser(model, device)
    chosen = sampling(preset, loaded.config, steps, sampler)

    def run(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        result = restore(
            pixels,
            mask,
            method=loaded.config.method,
            model=loaded,
            preset=preset,
            steps=steps,
            sampler=sampler,
            seed=seed,
            mpp=loaded.config.mpp,
        )
        return np.asarray(result.pixels)

    # The device is a setting too: CPU and GPU do not round alike.
    settings = {**asdict(chosen), "device": str(loaded.device)}
    calls = chosen.nfe(loaded.config.noise_schedule())
    return Row(name, run, settings, loaded.config.sha256, calls)


def translation_rows(name: str, model: str | Path, *, device: str = "auto") -> list[Row]:
    """Return two rows of CycleGAN: all of its output, and the damaged image with it in the mask.

    The generator is given the damaged image, and no mask: the first row, which the papers report,
    may change clean pixels too.

    Parameters
    ----------
    name : str
        What to call the first row.
    model : str or Path
        A folder of weights.
    device : str

    Raises
    ------
    ModelError, DeviceError
        See :func:`histomend.methods.loading.model_for`.
    """
    loaded = load_denoiser(model, device)
    model_for(METHODS["cyclegan"], loaded)

    def whole(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        return denoise(pixels, model=loaded, method="cyclegan", seed=seed).pixels

    def pasted(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        return np.where(mask[..., None], whole(pixels, mask, seed), pixels)

    settings = {"device": str(loaded.device)}
    return [
        Row(name, whole, settings, loaded.config.sha256, calls=1),
        Row(f"{name}, in the mask", pasted, settings, loaded.config.sha256, calls=1),
    ]
