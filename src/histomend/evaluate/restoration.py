"""The experiment: damage clean crops on purpose, restore them, measure what came back.

Every crop's truth is known, since the damage is simulated. Results are kept as one JSON line per
restored crop, so a run that was stopped goes on where it was, and a new row costs only itself.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from histomend.errors import MaskError
from histomend.evaluate import metrics, nuclei, realism, texture
from histomend.evaluate.crops import Crop

# Counted up whenever a measure changes, so that old records are not mixed with new ones.
MEASURES_VERSION = 1
Restorer = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One way to restore, a row of the table.

    Attributes
    ----------
    name : str
    restore : callable
        From pixels (H, W, 3) uint8, mask (H, W) bool and seed to restored pixels.
    settings : mapping
        What else the result depends on, such as preset and steps; JSON values.
    model : str
        sha256 of the weights, empty if there are none.
    calls : int
        Network calls per window, 0 if there is no network.
    """

    name: str
    restore: Restorer
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    calls: int = 0


@dataclass(frozen=True)
class Record:
    """What was measured on one crop restored by one row.

    Attributes
    ----------
    key : str
        Hash of everything the figures depend on.
    row, crop, tile, slide, kind : str
    seconds : float
        Wall time of the restoration.
    measures : dict of str to float
        See :func:`measure`.
    features : dict of str to list of float
        See :func:`histomend.evaluate.realism.features`: ``true`` and ``restored``, and both
        averaged over 2x2 blocks, ``true_2`` and ``restored_2``; empty where there is no such block.
    """

    key: str
    row: str
    crop: str
    tile: str
    slide: str
    kind: str
    seconds: float
    measures: dict[str, float]
    features: dict[str, list[float]]


def measure(
    truth: np.ndarray, restored: np.ndarray, mask: np.ndarray, *, mpp: float = 0.5
) -> dict[str, float]:
    """Compute every measure of one restored crop.

    Parameters
    ----------
    truth, restored : (H, W, 3) uint8
    mask : (H, W) bool
    mpp : float
        Micrometres per pixel.

    Returns
    -------
    dict
        ``l2 mse psnr ssim fsim sre psnr_paper ssim_paper sre_paper``, ``laplacian_ratio
        spectrum_ratio spectrum_1`` (coarse) to ``spectrum_4`` (fine) ``ciede2000 border_step``,
        and inside the mask ``nuclei nuclei_um2`` with their true counterparts ``true_nuclei
        true_nuclei_um2``. NaN where the mask is too thin for a measure.
    """
    spectrum = texture.spectrum_ratio(truth, restored, mask)
    try:
        laplacian = texture.laplacian_ratio(truth, restored, mask)
    except MaskError:
        laplacian = float("nan")
    found: dict[str, float] = {
        "l2": metrics.l2(truth, restored, mask),
        "mse": metrics.mse(truth, restored),
        "psnr": metrics.psnr(truth, restored),
        "ssim": metrics.ssim(truth, restored),
        "fsim": metrics.fsim(truth, restored),
        "sre": metrics.sre(truth, restored),
        "psnr_paper": metrics.psnr(truth, restored, compat="paper"),
        "ssim_paper": metrics.ssim(truth, restored, compat="paper"),
        "sre_paper": metrics.sre(truth, restored, compat="paper"),
        "laplacian_ratio": laplacian,
        "spectrum_ratio": spectrum.summary,
        "ciede2000": texture.mean_ciede2000(truth, restored, mask),
        "border_step": texture.border_step(truth, restored, mask),
    }
    found |= {f"spectrum_{i + 1}": ratio for i, ratio in enumerate(spectrum.ratios)}
    for prefix, pixels in (("true_", truth), ("", restored)):
        labels = nuclei.segment_nuclei(pixels, mpp)
        count, area = nuclei.nuclei_in(labels, mask, mpp)
        found |= {f"{prefix}nuclei": float(count), f"{prefix}nuclei_um2": area}
    return found


def evaluate_rows(
    rows: Sequence[Row],
    fields: Sequence[Crop],
    records: Path,
    *,
    report: Callable[[str], None] | None = None,
) -> list[Record]:
    """Restore and measure every crop with every row, except what is on record already.

    Parameters
    ----------
    rows : sequence of Row
    fields : sequence of Crop
    records : Path
        JSON lines, read first and appended to.
    report : callable, optional
        Told after each crop, with a line of text.

    Returns
    -------
    list of Record
        One for each row and crop, rows first. A record is reused if its weights, settings, crop
        and measures are the same.
    """
    known = {record.key: record for record in read_records(records)}
    records.parent.mkdir(parents=True, exist_ok=True)
    result = []
    hashes = [crop.sha256() for crop in fields]
    with records.open("a", encoding="utf-8") as file:
        if file.tell() and not records.read_bytes().endswith(b"\n"):
            file.write("\n")  # what a killed run left half-written stays a line of its own
        for row in rows:
            for crop, crop_hash in zip(fields, hashes, strict=True):
                key = _key(row, crop, crop_hash)
                record = known.get(key)
                if record is None:
                    record = _measured(row, crop, key)
                    known[key] = record
                    file.write(json.dumps(asdict(record)) + "\n")
                    file.flush()
                    if report is not None:
                        psnr = record.measures["psnr"]
                        report(f"{row.name}: {crop.name} {record.seconds:.2f} s {psnr:.2f} dB")
                result.append(record)
    return result


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of earlier runs, skipping lines that a kill left half-written."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield Record(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue


def _measured(row: Row, crop: Crop, key: str) -> Record:
    started = time.perf_counter()
    restored = row.restore(crop.damaged, crop.mask, crop.seed)
    seconds = time.perf_counter() - started
    return Record(
        key=key,
        row=row.name,
        crop=crop.name,
        tile=crop.tile,
        slide=crop.slide,
        kind=crop.kind,
        seconds=seconds,
        measures=measure(crop.truth, restored, crop.mask, mpp=crop.mpp),
        features=_features(crop, restored),
    )


def _features(crop: Crop, restored: np.ndarray) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, pixels in (("true", crop.truth), ("restored", restored)):
        found[name] = realism.features(pixels, crop.mask).tolist()
        try:
            found[f"{name}_2"] = realism.features(pixels, crop.mask, shrink=2).tolist()
        except MaskError:
            found[f"{name}_2"] = []
    return found


def _key(row: Row, crop: Crop, crop_hash: str) -> str:
    parts = [MEASURES_VERSION, row.name, row.model, dict(row.settings), crop.seed, crop_hash]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
