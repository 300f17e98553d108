"""Checks of methods that work on every pixel: denoising and enlarging."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from histomend.evaluate.audit.findings import Finding, percent
from histomend.evaluate.instances import lost_and_gained
from histomend.evaluate.nuclei import segment_nuclei

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

# Patches whose Fourier rings are correlated, and how far apart they are.
PATCH, STEP = 64, 32
# Rings up to this share of the source's Nyquist frequency hold what it plainly shows.
PLAIN_BAND = 0.25
# Below this correlation in that band a patch does not show what the source shows.
LEAST_CORRELATION = 0.5
# A source patch shows something if its plain band has so much more power than its highest one,
# which is mostly noise.
LEAST_SIGNAL = 4.0


def ring_correlation(one: Floats, other: Floats, *, band: float = PLAIN_BAND) -> float:
    """Return the correlation of two patches over the rings of low frequencies.

    Fourier ring correlation, over all rings up to `band` times the Nyquist frequency at once, the
    mean left out.

    Parameters
    ----------
    one, other : (n, n) float

    Returns
    -------
    float from -1 to 1; NaN where a patch is even.
    """
    a, b = _spectrum(one), _spectrum(other)
    inside = _rings(one.shape[0]) <= band
    inside[0, 0] = False
    across = float((a[inside] * b[inside].conj()).real.sum())
    energy = float((np.abs(a[inside]) ** 2).sum() * (np.abs(b[inside]) ** 2).sum())
    return across / math.sqrt(energy) if energy > 0 else math.nan


def hallucination_map(source: Floats, result: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scan two fields patch by patch for what the one shows and the other does not.

    In the manner of sFRC (scanning Fourier ring correlation, Kc, Zeng, Sivaraman and others 2024),
    which compares with the truth: here the noisy source takes its place, so only frequencies that
    it plainly shows are compared, and only where it shows something.

    Parameters
    ----------
    source, result : (H, W) float
        Of one size, at least 64 px a side.

    Returns
    -------
    correlation : (rows, columns) float32
    judged : (rows, columns) bool
        Patches in which the source shows something.
    """
    rows = range(0, source.shape[0] - PATCH + 1, STEP)
    columns = range(0, source.shape[1] - PATCH + 1, STEP)
    found = np.ones((len(rows), len(columns)), np.float32)
    judged = np.zeros(found.shape, np.bool_)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            here = np.s_[y : y + PATCH, x : x + PATCH]
            judged[i, j] = _shows_something(source[here])
            value = ring_correlation(source[here], result[here])
            found[i, j] = value if math.isfinite(value) else 1.0
    return found, judged


def scan(source: Floats, result: Floats) -> Finding:
    """Say in which share of the patches the result does not show what the source shows."""
    if min(source.shape) < PATCH:
        return Finding("scan for inventions", "unknown", "the field is too small to scan", {})
    correlation, judged = hallucination_map(source, result)
    if not judged.any():
        said = "the source shows nothing plainly enough to compare"
        return Finding("scan for inventions", "unknown", said, {"patches": 0})
    low = judged & (correlation < LEAST_CORRELATION)
    share = float(low.sum() / judged.sum())
    values: dict[str, float | None] = {
        "patches": int(judged.sum()),
        "low": int(low.sum()),
        "least": float(correlation[judged].min()),
    }
    said = (
        f"in {percent(1 - share)} of {int(judged.sum())} patches of {PATCH} px the result shows "
        "what the source plainly shows"
    )
    if low.any():
        row, column = np.unravel_index(
            int(np.where(judged, correlation, np.inf).argmin()), correlation.shape
        )
        said += f"; least at x={int(column) * STEP}, y={int(row) * STEP}"
    return Finding("scan for inventions", "look" if low.any() else "fine", said, values)


def nuclei_kept(source: Pixels, result: Pixels, mpp: float) -> Finding:
    """Count nuclei that a method of the whole field lost or put in."""
    before, after = segment_nuclei(source, mpp), segment_nuclei(result, mpp)
    lost, gained = lost_and_gained(before, after)
    count = int(before.max())
    values: dict[str, float | None] = {
        "before": count, "after": int(after.max()), "lost": lost, "gained": gained,
    }  # fmt: skip
    said = f"{count} nuclei before, {int(after.max())} after: {lost} lost, {gained} gained"
    if count == 0:
        return Finding("nuclei", "unknown", "no nuclei are found in the source", values)
    fine = lost + gained <= 0.05 * count
    return Finding("nuclei", "fine" if fine else "look", said, values)


def repeated(once: Floats, twice: Floats) -> Finding:
    """Say whether the method leaves its own result alone, which is clean."""
    error = float(np.square(once.astype(np.float64) - twice).mean())
    psnr = 99.0 if error == 0 else min(99.0, -10 * math.log10(error))
    said = f"applied to its own result it changes that by {psnr:.1f} dB (PSNR)"
    return Finding("clean input", "fine" if psnr >= 40 else "look", said, {"psnr": psnr})


def brightness(source: Floats, result: Floats) -> Finding:
    """Say how far the mean moved, as a share of the source's own spread."""
    spread = float(cv2.GaussianBlur(source, (0, 0), 4.0).std())
    moved = float(result.mean() - source.mean())
    share = abs(moved) / max(spread, 1e-4)
    said = f"the mean moved by {moved:+.4f} of the range, {percent(share)} of the field's spread"
    return Finding("brightness", "fine" if share < 0.05 else "look", said, {"moved": moved})


def _spectrum(patch: Floats) -> npt.NDArray[np.complex64]:
    window = np.hanning(patch.shape[0]).astype(np.float32)
    weight = window[:, None] * window[None]
    mean = float((patch * weight).sum() / weight.sum())
    return np.asarray(np.fft.fft2((patch - mean) * weight), np.complex64)


def _rings(side: int) -> Floats:
    """Return the frequency of each coefficient, 1 being that of Nyquist."""
    axis = np.fft.fftfreq(side) * 2
    return np.asarray(np.hypot(axis[:, None], axis[None]), np.float32)


def _shows_something(patch: Floats) -> bool:
    power = np.abs(_spectrum(patch)) ** 2
    rings = _rings(patch.shape[0])
    low, high = power[(rings > 0) & (rings <= PLAIN_BAND)], power[rings > 0.8]
    return bool(low.mean() > LEAST_SIGNAL * (high.mean() + 1e-12) and low.mean() > 1e-4)
