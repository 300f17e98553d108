"""The front door for images of which the whole field is degraded: denoise, and say how far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import histomend
from histomend.diffusion.device import torch_device
from histomend.diffusion.noise import NoiseField, NoiseStream, further_seed
from histomend.diffusion.recalibration import Calibrates
from histomend.errors import SettingError
from histomend.image import Intensity, pixels_sha256
from histomend.image.stack_input import shown_range, stack_of
from histomend.image.stacks import Stack
from histomend.ledger import DenoiseRecord
from histomend.models import Model
from histomend.recipes.field_methods import model_for, prepared
from histomend.recipes.whole_field import RestoresTiles
from histomend.tiles.field import Tile, blended, grouped, make_tiles, smoothed, t_map
from histomend.tiles.run import in_order

Pixels = npt.NDArray[Any]
WINDOW = 256
"""Side of the tiles of methods without a model."""


@dataclass(frozen=True)
class DenoiseResult:
    """What `denoise` returns.

    Parameters
    ----------
    stack : Stack
        The restored values, with what is known of the file.
    t_map : (H, W) or (Z, H, W) float32, or None
        At which step of diffusion each place was taken to be: how degraded it is. Where it
        rounds to 0, the pixels are those of the image. None for methods that know no t.
    record : DenoiseRecord
    """

    stack: Stack
    t_map: npt.NDArray[np.float32] | None
    record: DenoiseRecord

    @property
    def pixels(self) -> Pixels:
        """The restored image, an array of the shape and type of the one that was given."""
        return self.stack.axes.restored(self.stack.values)


@dataclass(frozen=True)
class FieldJob:
    """Everything decided before the first network call.

    Parameters
    ----------
    stack : Stack
        All planes; one for an image that is no stack.
    intensity : Intensity
        In which the method sees them.
    model : Model or None
    method : str
    settings : dict
        What the record says of them.
    device : torch.device
    restores : RestoresTiles
    tiles : tuple of Tile
        Of each plane.
    notices : tuple of str
    """

    stack: Stack
    intensity: Intensity
    model: Model | None
    method: str
    settings: dict[str, Any]
    device: torch.device
    restores: RestoresTiles
    tiles: tuple[Tile, ...]
    notices: tuple[str, ...]


def prepare(
    image: Any,
    *,
    model: str | Path | Model | None = None,
    method: str = "rscd",
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    axes: str | None = None,
    device: str = "auto",
) -> FieldJob:
    """Check everything and decide what would be done, without restoring anything.

    Takes what `denoise` takes and raises what it raises.
    """
    loaded = model_for(method, model, device)
    channels = None if loaded is None else loaded.config.channels
    stack = stack_of(image, channels=channels, axes=axes)
    if loaded is None:
        loaded = model_for(method, model, device, stack.channels)
    restores, settings = prepared(
        method,
        loaded,
        channels=stack.channels,
        preset=preset,
        steps=steps,
        sampler=sampler,
        seed=seed,
    )
    intensity, notices = shown_range(stack)
    window = WINDOW if loaded is None else loaded.config.window
    tiles = make_tiles(stack.values.shape[1], stack.values.shape[2], window)
    where = torch_device(device) if loaded is None else loaded.device
    settings |= {"window": window, "device": str(where), "torch": torch.__version__}
    notices = (*stack.notices, *notices)
    return FieldJob(stack, intensity, loaded, method, settings, where, restores, tiles, notices)


def denoise(
    image: Any,
    *,
    model: str | Path | Model | None = None,
    method: str = "rscd",
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    axes: str | None = None,
    device: str = "auto",
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> DenoiseResult:
    """Restore the whole field of an image or of each plane of a stack.

    All tiles of a plane are calibrated first, their t is smoothed over the overlaps, and then
    they are restored and blended.

    Parameters
    ----------
    image : (H, W), (H, W, C) or (Z, H, W, C) uint8, uint16, or float in [0, 1]; list of planes
        of equal shape; PIL image; path. C is 1, 2 or 3, both sides at least 64 px. Channels may
        come first as well.
    model : str, Path or Model, optional
        A bundled name, a folder of weights, or a model loaded once for many images. By default
        the bundled model of RSCD for as many channels as the image has.
    method : str
        "rscd", or one of those that it is compared with: "ccdf" and "rrd", diffusion with a model
        of RSCD; "conditional", "noise2noise" and "cyclegan" with models of their own; "median" and
        "deep-image-prior" without any.
    preset : str
        Of rscd: "fast", "paper", "author_code", or an ablation (`histomend presets rscd`). Of
        conditional: "fast" or "paper".
    steps, sampler : optional
        Override those of the preset or the method.
    seed : int in [0, 2^63)
        The same seed gives the same values on the same machine's CPU, whatever `batch` is.
    axes : str, optional
        The order of the axes, such as ZCYX, where it cannot be known.
    device : "auto", "cpu", "cuda", "mps"
    batch : int
        Groups of tiles in flight.
    progress : function of (groups of tiles done, groups in all), optional

    Returns
    -------
    DenoiseResult

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    """
    if batch < 1 or not 0 <= seed < 2**63:
        raise SettingError(
            f"batch={batch} must be 1 or more, and the seed ({seed}) a whole number from 0 to "
            "2^63 - 1."
        )
    job = prepare(
        image,
        model=model,
        method=method,
        preset=preset,
        steps=steps,
        sampler=sampler,
        seed=seed,
        axes=axes,
        device=device,
    )
    planes = len(job.stack.values)
    rounds = 1 if job.restores.calibrate is None else 2
    groups = planes * rounds * len(grouped(job.tiles))
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, groups)

    pixels = np.empty_like(job.stack.values)
    maps: list[npt.NDArray[np.float32]] = []
    nfe: list[int] = []
    for number in range(planes):
        field, calls = _restored(job, number, further_seed(seed, number), pixels, batch, advance)
        nfe += calls
        if field is not None:
            maps.append(field)
    whole = np.stack(maps) if maps else None
    record = _record(job, pixels, whole, nfe, seed)
    if whole is not None and planes == 1:
        whole = whole[0]
    return DenoiseResult(replace(job.stack, values=pixels), whole, record)


def _restored(
    job: FieldJob,
    number: int,
    seed: int,
    pixels: Pixels,
    batch: int,
    advance: Callable[[], None],
) -> tuple[npt.NDArray[np.float32] | None, list[int]]:
    """Restore one plane into `pixels`; return its t-map and the network calls per tile."""
    plane = job.stack.values[number]
    height, width, channels = plane.shape
    field = t_of = None
    if job.restores.calibrate is not None:
        told = _calibrated(job, plane, job.restores.calibrate, batch, advance)
        highest = 0 if job.model is None else job.model.config.trained_t
        starts = smoothed(job.tiles, list(told), highest, height, width)
        field = t_map(job.tiles, starts, height, width)
        t_of = dict(zip(job.tiles, starts, strict=True))

    def work(group: tuple[Tile, ...]) -> tuple[npt.NDArray[np.float32], list[int]]:
        x = _shown(job, plane, group)
        t = None if t_of is None else torch.tensor([t_of[tile] for tile in group])
        noise = NoiseStream([NoiseField(seed)] * len(group), [(tile.y, tile.x) for tile in group])
        found, nfe = job.restores(x, t, noise)
        return found.permute(0, 2, 3, 1).cpu().numpy(), nfe.tolist()

    calls: list[int] = []

    def found() -> Iterator[npt.NDArray[np.float32]]:
        for values, nfe in in_order(grouped(job.tiles), work, device=job.device, batch=batch):
            advance()
            calls.extend(nfe)
            yield from values

    for top, band in blended(job.tiles, found(), width, channels):
        rows = slice(top, top + len(band))
        source = plane[rows]
        restored = job.intensity.decode(band, plane.dtype)
        if field is not None:
            restored = np.where((np.rint(field[rows]) == 0)[..., None], source, restored)
        pixels[number, rows] = restored
    return field, calls


def _calibrated(
    job: FieldJob, plane: Pixels, calibrate: Calibrates, batch: int, advance: Callable[[], None]
) -> Iterator[float]:
    """Yield the predicted t of every tile."""

    @torch.inference_mode()
    def work(group: tuple[Tile, ...]) -> list[float]:
        return [float(value) for value in calibrate(_shown(job, plane, group))]

    for part in in_order(grouped(job.tiles), work, device=job.device, batch=batch):
        advance()
        yield from part


def _shown(job: FieldJob, plane: Pixels, group: tuple[Tile, ...]) -> Tensor:
    """Return tiles as the model sees them, (B, C, h, w)."""
    tiles = np.stack([job.intensity.encode(plane[tile.place]) for tile in group])
    x = torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)))
    return x.to(job.device)


def _record(
    job: FieldJob,
    pixels: Pixels,
    field: npt.NDArray[np.float32] | None,
    nfe: list[int],
    seed: int,
) -> DenoiseRecord:
    t = None
    if field is not None:
        t = {
            "min": float(field.min()),
            "median": float(np.median(field)),
            "mean": float(field.mean(dtype=np.float64)),
            "max": float(field.max()),
            "unchanged_share": float(np.mean(np.rint(field) == 0)),
        }
    return DenoiseRecord(
        histomend=histomend.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source={
            "name": None if job.stack.source is None else job.stack.source.name,
            "pixels_sha256": pixels_sha256(job.stack.axes.restored(job.stack.values)),
            "axes": job.stack.axes.letters,
            "shape": job.stack.axes.shape,
            "dtype": job.stack.values.dtype.name,
        },
        output_pixels_sha256=pixels_sha256(job.stack.axes.restored(pixels)),
        intensity={"low": job.intensity.low, "high": job.intensity.high},
        model=None if job.model is None else job.model.record(),
        method=job.method,
        settings=job.settings,
        seed=seed,
        nfe={"total": sum(nfe), "mean": float(np.mean(nfe)), "most": max(nfe)},
        t=t,
        tiles=len(job.tiles) * len(job.stack.values),
        notices=job.notices,
    )
