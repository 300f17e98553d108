"""An audit of one result: everything that can be checked without knowing the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import histomend
from histomend.errors import LedgerError, SettingError
from histomend.evaluate.audit import checks, whole_field
from histomend.evaluate.audit.findings import Finding
from histomend.evaluate.audit.intervals import Intervals, intervals, luma
from histomend.evaluate.audit.trials import choose, run
from histomend.exemplar.provenance import Provenance
from histomend.image import Image
from histomend.image.depth import eight_bit
from histomend.image.stacks import Stack
from histomend.jobs.companions import record_of
from histomend.ledger import Record, Verification, ledger_mask, read_described, undo, verify

SEEDS, TRIALS = 4, 12
USUAL_MPP = 0.5
Tick = Callable[[int, int], Any]


@dataclass(frozen=True)
class Audit:
    """What was found out about a result.

    Attributes
    ----------
    image : Path
    task, method : str
    findings : tuple of Finding
    intervals : Intervals or None
        Of a restoration, for `width_map`.
    mask : (H, W) bool or None
    """

    image: Path
    task: str
    method: str
    findings: tuple[Finding, ...]
    intervals: Intervals | None = None
    mask: npt.NDArray[np.bool_] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON holds."""
        return {
            "image": str(self.image),
            "task": self.task,
            "method": self.method,
            "findings": [finding.as_json() for finding in self.findings],
        }

    def width_map(self) -> npt.NDArray[np.float32] | None:
        """Return the width of each pixel's interval, (H, W) luma from 0 to 1; 0 outside the mask.

        None where no interval could be promised.
        """
        found = self.intervals
        if found is None or self.mask is None or not np.isfinite(found.factor):
            return None
        return np.where(self.mask, np.minimum(2 * found.half_width, 1), 0).astype(np.float32)


def audit(
    image: str | Path,
    *,
    source: str | Path | None = None,
    model: str | Path | None = None,
    seeds: int = SEEDS,
    trials: int = TRIALS,
    device: str = "auto",
    tick: Tick | None = None,
) -> Audit:
    """Find out what may be trusted of a restored, denoised or enlarged image.

    Of a restoration the source is not needed, as the record holds it. The method is run again on
    the same image with other seeds, and on holes of the same shape in sound tissue of the image.

    Parameters
    ----------
    image : path
        With its record beside it.
    source : path, optional
        What was denoised or enlarged; needed for these.
    model : str or Path, optional
        Where the model lies now, if it is no longer where the record says.
    seeds : int, at least 2
        Other seeds to draw.
    trials : int
        Sound places to restore; 9 are the least that an interval of 90 % can be promised from.
    device : "auto", "cpu", "cuda", "mps"
    tick : function of (runs done, runs in all), optional

    Raises
    ------
    LedgerError
        There is no record, or it belongs to another image.
    SettingError
        The task is none that can be audited, or the source is missing.
    """
    image = Path(image)
    if seeds < 2:
        raise SettingError(f"--seeds is {seeds}, but chance shows from 2 draws on.")
    record = Record.read(record_of(image))
    if record.output.container is not None:
        raise SettingError(
            f"{image}: is a whole slide. Audit a part of it: restore it with --region to an image."
        )
    name = model if model is not None else (record.model or {}).get("name")
    again = _Again(record, name, device)
    if record.task == "restore":
        return _restoration(image, record, again, seeds, trials, tick)
    if source is None:
        raise SettingError(
            f"{image}: of a task that changes every pixel ({record.task}) the record holds no "
            "source. Name it: --source FILE."
        )
    return _whole(image, record, again, Path(source), tick)


@dataclass(frozen=True)
class _Again:
    """Runs what a record says once more."""

    record: Record
    model: Any
    device: str

    def options(self, seed: int) -> dict[str, Any]:
        known = {"method": self.record.method, **self.record.options, "seed": seed}
        return {**known, "device": self.device, **({"model": self.model} if self.model else {})}

    def restore(self, pixels: npt.NDArray[Any], mask: npt.NDArray[np.bool_], seed: int) -> Any:
        options = {**self.options(seed), "samples": 1, "mpp": self.record.source.mpp}
        return histomend.restore(pixels, mask, **options).pixels


def _restoration(
    path: Path, record: Record, again: _Again, seeds: int, trials: int, tick: Tick | None
) -> Audit:
    image = read_described(record, path)
    if isinstance(image, Stack):
        raise LedgerError(f"{path}: its record is of a stack, which no restoration is.")
    outside = _proven(
        verify(record, image),
        "outside the mask",
        "nothing was changed outside the mask, as the record proves",
    )
    if outside.verdict != "fine":
        return Audit(path, record.task, record.method, (outside,))
    truth, mask = undo(record, image), ledger_mask(record)
    mpp = record.source.mpp or USUAL_MPP
    before, after = eight_bit(truth), eight_bit(image.pixels)
    done = 0

    def restore(both: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.uint8]:
        nonlocal done
        pixels = eight_bit(again.restore(truth, both, seed))
        done += 1
        if tick is not None:
            tick(done, seeds)
        return pixels

    rng = np.random.default_rng([record.seed, trials])
    places = choose(before, mask, trials, rng)
    others = tuple(record.seed + 1 + number for number in range(seeds))
    tried = run(before, mask, places, restore, others)
    found = intervals(before, mask, tried)
    shares = None
    if record.provenance is not None:
        shares = Provenance.read(record.provenance, mask.shape).shares()
    said = [
        outside,
        checks.origin(shares, int(mask.sum())),
        checks.chance(after, mask, tried, mpp),
        checks.nuclei(before, tried, mpp),
        checks.stain(after, before, mask, tried),
        checks.sharpness(after, before, mask, tried),
        checks.width(found, before, mask),
    ]
    like = checks.likeness(after, mask, tried)
    missing = Finding(
        "likeness", "unknown", "needs learned features: pip install 'histomend[eval]'", {}
    )
    return Audit(
        path, record.task, record.method, (*said, missing if like is None else like), found, mask
    )


def _whole(path: Path, record: Record, again: _Again, source: Path, tick: Tick | None) -> Audit:
    result, before = read_described(record, path), read_described(record, source, source=True)
    proof = _proven(
        verify(record, result, before),
        "record",
        "the image and its source are those that the record describes",
    )
    if proof.verdict != "fine":
        return Audit(path, record.task, record.method, (proof,))
    found = [proof]
    pairs = list(zip(_planes(before), _planes(result), strict=True))
    one, other = pairs[len(pairs) // 2]
    small = _reduced(other, one.shape[:2])
    found.append(whole_field.scan(_grey(one), _grey(small)))
    found.append(whole_field.brightness(_grey(one), _grey(small)))
    if one.shape[2] == 3:
        mpp = record.source.mpp or USUAL_MPP
        found.append(whole_field.nuclei_kept(eight_bit(one), eight_bit(small), mpp))
    if record.task == "denoise":
        if tick is not None:
            tick(0, 1)
        twice = _planes(_denoised_again(result, again))[len(pairs) // 2]
        found.append(whole_field.repeated(_grey(other), _grey(twice)))
    if tick is not None:
        tick(1, 1)
    return Audit(path, record.task, record.method, tuple(found))


def _proven(checked: Verification, name: str, said: str) -> Finding:
    """Return what `verify` found as a finding; `said` where all holds."""
    if checked.ok:
        return Finding(name, "fine", said, {})
    wrong = "; ".join(check.message for check in checked.checks if not check.ok)
    return Finding(name, "look", wrong, {})


def _denoised_again(result: Image | Stack, again: _Again) -> Image | Stack:
    options = again.options(again.record.seed)
    # What the camera did to the source is not true of the result: it is estimated anew.
    known = {key: v for key, v in options.items() if key not in ("gain", "offset", "read_noise")}
    return histomend.denoise(result, **known).image


def _planes(image: Image | Stack) -> list[npt.NDArray[Any]]:
    return list(image.values) if isinstance(image, Stack) else [image.pixels]


def _grey(plane: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return a plane (H, W, C) as one of (H, W) from 0 to 1."""
    if plane.shape[2] == 3 and plane.dtype == np.uint8:
        return luma(plane)
    top = 1.0 if plane.dtype.kind == "f" else float(np.iinfo(plane.dtype).max)
    return np.asarray(plane.astype(np.float32).mean(2) / top, np.float32)


def _reduced(plane: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an enlarged plane at the size of its source, by averaging."""
    if plane.shape[:2] == tuple(shape):
        return plane
    factor = plane.shape[0] // shape[0]
    blocks = plane.reshape(shape[0], factor, shape[1], factor, plane.shape[2])
    mean = blocks.astype(np.float64).mean((1, 3))
    return (
        mean.astype(plane.dtype) if plane.dtype.kind == "f" else np.rint(mean).astype(plane.dtype)
    )
