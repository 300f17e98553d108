"""Variance stabilisation: noise that grows with the signal becomes noise of one strength.

Cameras and photomultipliers count light, so their noise is Poisson-Gaussian: its variance is a
line in the mean. RSCD, like BM3D, assumes Gaussian noise of one strength. The generalised Anscombe
transform (Starck, Murtagh and Bijaoui 1998) makes the one into the other, with a standard
deviation of about 1; the exact unbiased inverse (Mäkitalo and Foi 2013) leads back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError
from histomend.image.pixels import Intensity, Pixels

Array = npt.NDArray[np.floating[Any]]
# The range ends where the smoothed signal does but for this share of the pixels at either end, and
# so much further.
OUTSIDE, MARGIN = 0.001, 0.05
# Pixels that the range is taken from, at most, of each plane.
MOST_PIXELS = 1_000_000
# The transform's additive constant, in photons (Anscombe 1948).
ANSCOMBE = 3 / 8


@dataclass(frozen=True)
class CameraNoise:
    """Poisson-Gaussian noise of a detector: variance = gain (mean - offset) + read_noise².

    Parameters
    ----------
    gain : float
        Values of the file per counted photon, above 0.
    offset : float
        Value where no light falls.
    read_noise : float
        Standard deviation of the noise in the dark, in values of the file.

    Raises
    ------
    SettingError
        If the gain is not positive, or a value is not finite or negative where it must not be.
    """

    gain: float
    offset: float = 0.0
    read_noise: float = 0.0

    def __post_init__(self) -> None:
        finite = np.isfinite([self.gain, self.offset, self.read_noise]).all()
        if not finite or self.gain <= 0 or self.read_noise < 0:
            raise SettingError(
                f"A detector with gain {self.gain:g}, offset {self.offset:g} and read noise "
                f"{self.read_noise:g} cannot exist: the gain must be above 0, and the read noise "
                "0 or more, all in values of the file."
            )

    def variance(self, mean: Array) -> Array:
        """Return the variance of the noise where the mean of many exposures is `mean`."""
        signal = np.maximum(np.asarray(mean, np.float64) - self.offset, 0)
        return self.gain * signal + self.read_noise**2

    def stabilised(self, values: npt.NDArray[Any]) -> Array:
        """Return the generalised Anscombe transform of values of the file, float32.

        The noise of the result has a standard deviation of about 1 wherever more than a few
        photons were counted.
        """
        photons = (np.asarray(values, np.float32) - np.float32(self.offset)) / np.float32(self.gain)
        dark = np.float32(ANSCOMBE + (self.read_noise / self.gain) ** 2)
        return np.asarray(2 * np.sqrt(np.maximum(photons + dark, 0)), np.float32)

    def unstabilised(self, stabilised: Array) -> Array:
        """Return the mean, in values of the file, whose stabilised values have this expectation.

        The inverse is unbiased: squaring alone would make dim places too dark. It is the
        closed form of Mäkitalo and Foi (2011, eq. 12; 2013, eq. 10), never below the offset.
        """
        d = np.maximum(np.asarray(stabilised, np.float64), 2 * np.sqrt(ANSCOMBE))
        root = np.sqrt(1.5)
        photons = (d**2 / 4 - 1 / 8 + root / 4 / d - 11 / 8 / d**2 + 5 * root / 8 / d**3) - (
            self.read_noise / self.gain
        ) ** 2
        return np.asarray(self.offset + self.gain * np.maximum(photons, 0), np.float32)

    def expected(self, mean: Array) -> Array:
        """Return the expectation of the stabilised values where the mean is `mean`, float32.

        It is what `unstabilised` inverts, found by looking it up there.
        """
        top = float(self.stabilised(np.asarray(mean)).max()) + 1
        grid = np.linspace(2 * np.sqrt(ANSCOMBE), max(top, 4.0), 4096)
        # Where the inverse is cut off at the offset several values have one mean: the last of
        # them is the one next to those that are not cut off.
        means = self.unstabilised(grid).astype(np.float64)
        first = max(int(np.searchsorted(means, means[0], "right")) - 1, 0)
        return np.interp(mean, means[first:], grid[first:]).astype(np.float32)


@dataclass(frozen=True)
class StabilisedRange:
    """Map file values to a model's range by way of variance stabilisation, and back.

    It takes the place of `Intensity` for models that were trained on such values.

    Parameters
    ----------
    noise : CameraNoise
    low, high : float
        The stabilised values that become -1 and 1.
    """

    noise: CameraNoise
    low: float
    high: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in the model's range, where `noise` is right."""
        return 2 / (self.high - self.low)

    def record(self) -> dict[str, float]:
        """Return what the record says of the map."""
        noise = self.noise
        return {
            "gain": noise.gain,
            "offset": noise.offset,
            "read_noise": noise.read_noise,
            "low": self.low,
            "high": self.high,
            "sigma": self.sigma,
        }

    def encode(self, values: Pixels) -> npt.NDArray[np.float32]:
        """Return file values of any shape as float32, mostly in [-1, 1]."""
        x = self.noise.stabilised(values)
        x -= np.float32(self.low)
        x *= np.float32(self.sigma)
        x -= np.float32(1)
        return np.asarray(x, np.float32)

    def decode(self, x: Pixels, dtype: npt.DTypeLike) -> Pixels:
        """Return file values of what a model made, without the bias of a plain square.

        They are clipped to the range of the type, and rounded where it holds integers.

        Raises
        ------
        ValueRangeError
            If `x` holds NaN or infinity.
        """
        stabilised = (np.asarray(x, np.float32) + 1) / np.float32(self.sigma) + np.float32(self.low)
        kind = np.dtype(dtype)
        limits = Intensity(0.0, 1.0) if kind.kind == "f" else Intensity.for_dtype(kind)
        # In the type's own range, which knows how to clip and to round.
        return limits.decode(limits.encode(self.noise.unstabilised(stabilised)), kind)


def stabilised_range(
    planes: Iterable[npt.NDArray[Any]], noise: CameraNoise, most_sigma: float
) -> StabilisedRange:
    """Return the range in which a model sees planes of one exposure.

    It reaches from the darkest to the brightest place of the smoothed, stabilised planes but for
    single hot or dead pixels. As the ends come from the image and not from its type, the same
    light in 8, 12 or 16 bits is seen alike.

    Parameters
    ----------
    planes : (H, W) arrays
    noise : CameraNoise
    most_sigma : float
        The strongest noise that the model was trained on, in its range: dim images fill a part
        of the range only, so that their noise is not stronger.
    """
    ends = []
    for plane in planes:
        smooth = cv2.GaussianBlur(noise.stabilised(plane), (0, 0), 2.0)
        step = int(np.ceil(np.sqrt(smooth.size / MOST_PIXELS)))
        ends.append(np.quantile(smooth[::step, ::step], (OUTSIDE, 1 - OUTSIDE)))
    low, high = float(np.min(ends)), float(np.max(ends))
    margin = MARGIN * (high - low)
    low, high = low - margin, high + margin
    return StabilisedRange(noise, low, max(high, low + 2 / most_sigma))
