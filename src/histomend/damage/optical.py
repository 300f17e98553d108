"""Whole fields degraded as by a microscope that looks into tissue: dim, hazy, blurred and noisy.

Light that crosses tissue is scattered and absorbed, and what is left is counted by a detector.
Unlike the renderers of artifacts this has no mask: all of the field is hit, unevenly.

- Unscattered (ballistic) light falls as exp(-mu_s z) (Beer-Lambert), with a scattering
  coefficient mu_s that falls with the wavelength as a power law (Jacques 2013, "Optical properties
  of biological tissues"). Methods that need two beams at one place lose both.
- Scattered light goes mostly forward, so that it still arrives, but spread: after many small
  deflections the lateral variance is (1 - g) mu_s z³ / 3 (Fermi-Eyges theory, g the mean cosine of
  one deflection). It is a haze over the image where it is detected.
- Aberrations, from refractive indices that do not match, blur the sharp part in proportion to z.
- Absorption is that of the blood in the tissue, whose bands lie in blue and green.
- The detector counts photons: Poisson noise, which grows with the signal, and the noise of
  reading, or of a bright laser, which does not. A gain that makes good for lost light amplifies
  both.

The thickness and the density of what lies above vary over the field, and so do light and noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.damage import shapes
from histomend.damage.optics import Field, Picture, soften
from histomend.damage.photons import counted
from histomend.errors import ImageSizeError, SettingError
from histomend.image import FINEST_MPP, Intensity, check_mpp
from histomend.image.signals import signal_range

SMALLEST_PX = 16
DEEPEST_UM = 500.0

# Mean free path between two deflections in soft tissue at 550 nm, and how it grows with the
# wavelength; mean cosine of a deflection (Jacques 2013).
FREE_PATH_UM, FREE_PATH_NM, POWER = 80.0, 550.0, 1.3
MEAN_COSINE = 0.9
# Sharp light's blur (sigma) per length of tissue.
ABERRATION = 0.005


@dataclass(frozen=True)
class Optics:
    """A microscope, and what tissue does to its light.

    Parameters
    ----------
    wavelengths_nm : one number per channel
    absorption_um : one number per channel
        Length over which absorption leaves 1/e of the light.
    beams : 1 or 2
        How many beams must arrive unscattered where the signal arises.
    haze : float in [0, 1]
        Share of the scattered light that the detector takes for signal.
    photons : float
        Counted at full scale, without any tissue above.
    read_noise : float
        Standard deviation of the noise that does not depend on the signal, in photons.
    uneven : float
        Standard deviation of the logarithm of the tissue's thickness over the field; light is a
        fifth as uneven.
    compensation : float in [0, 1]
        How much of the mean loss (of its logarithm) the gain makes good: at 1 the field is as
        bright as at the surface, and noisier.
    """

    wavelengths_nm: tuple[float, ...]
    absorption_um: tuple[float, ...]
    beams: int = 1
    haze: float = 1.0
    photons: float = 250.0
    read_noise: float = 3.0
    uneven: float = 0.3
    compensation: float = 0.9

    def __post_init__(self) -> None:
        positive = (*self.wavelengths_nm, *self.absorption_um, self.photons)
        if not all(math.isfinite(v) and v > 0 for v in positive):
            raise SettingError("Wavelengths, absorption lengths and photons must be above 0.")
        if len(self.wavelengths_nm) != len(self.absorption_um) or self.beams not in (1, 2):
            raise SettingError(
                "Optics need as many absorption lengths as wavelengths, and 1 or 2 beams."
            )
        if self.read_noise < 0 or self.uneven < 0:
            raise SettingError("read_noise and uneven must not be negative.")
        if not (0 <= self.haze <= 1 and 0 <= self.compensation <= 1):
            raise SettingError("haze and compensation must lie between 0 and 1.")


# By number of channels. Haemoglobin absorbs some twenty times less in red than in green, and
# still less in the near infrared (Prahl's compilation); the lengths are those of tissue with
# about a twelfth of blood.
OPTICS = {
    # Widefield fluorescence in green.
    1: Optics((520.0,), (900.0,), haze=0.8, photons=120.0),
    # Stimulated Raman: with the Stokes beam at 1020 nm the pump is at 790.6 and 785.3 nm for
    # 2845 and 2930 cm⁻¹. The signal is a small change of a bright beam, the shot noise of which
    # does not depend on it.
    2: Optics((790.6, 785.3), (3e4, 3e4), beams=2, haze=0.0, photons=400.0, read_noise=14.0),
    # A colour camera in transmitted light.
    3: Optics((610.0, 540.0, 460.0), (9000.0, 450.0, 520.0)),
}


@dataclass(frozen=True)
class Degraded:
    """A degraded field.

    Attributes
    ----------
    pixels : (H, W, C) of the type of the input
    noise : (H, W) float32
        Standard deviation of the noise before clipping, as a share of the full range, mean over
        channels: how noisy each place truly is.
    seed : int
    """

    pixels: npt.NDArray[np.generic]
    noise: Field
    seed: int


def degrade(
    pixels: npt.NDArray[np.generic],
    *,
    seed: int,
    depth_um: float = 40.0,
    mpp: float = 0.5,
    optics: Optics | None = None,
) -> Degraded:
    """Degrade a clean field as if it lay under tissue.

    The unevenness depends on the seed alone and the noise on depth and seed, so that the planes
    of a stack, made with one seed, look through the same tissue and have noise of their own.

    Parameters
    ----------
    pixels : (H, W, C) uint8, uint16, or float in [0, 1]; C is 1, 2 or 3
        It is not changed.
    seed : int
        Not negative; the same seed, depth and image give the same values.
    depth_um : float in [0, 500]
        Length of tissue that the light has to cross, in micrometres. At 0 there is only the noise
        of the detector in uneven light.
    mpp : float
        Micrometres per pixel, 0.05 to 20.
    optics : Optics, optional
        By default `OPTICS` for the number of channels.

    Returns
    -------
    Degraded

    Raises
    ------
    SettingError
        A negative seed, an impossible depth, or optics for another number of channels.
    ImageSizeError
        A side is shorter than 16 px.
    PixelSizeError
        `mpp` is outside 0.05 to 20.
    UnsupportedImageError, ValueRangeError
        See `signal_range`.
    """
    intensity = signal_range(pixels, "the array")
    optics = _check(pixels, seed, depth_um, mpp, optics)
    clean = (intensity.encode(pixels) + 1) / 2
    size = (pixels.shape[0], pixels.shape[1])
    path_um, light = _uneven(size, optics, depth_um, np.random.default_rng((seed, 0)))
    seen, passed = _through_tissue(clean, path_um, optics, depth_um, 1.0 / mpp)
    gain = float((passed * light[..., None]).mean()) ** -optics.compensation
    expected = seen * light[..., None]
    rng = np.random.default_rng((seed, 1, round(1000 * depth_um)))
    found = counted(expected, optics.photons, optics.read_noise, rng)
    measured = np.clip(found * (gain / optics.photons), 0, 1)
    variance = expected / optics.photons + (optics.read_noise / optics.photons) ** 2
    noise = gain * np.sqrt(variance).mean(axis=2)
    return Degraded(_stored(measured, intensity, pixels.dtype), noise.astype(np.float32), seed)


def _uneven(
    size: tuple[int, int], optics: Optics, depth_um: float, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Draw the thickness of the tissue above each place, in um, and the light that reaches it."""

    def wavy(cells: float, spread: float) -> Field:
        drawn = shapes.noise(shapes.coarse(size), rng, cells=cells, octaves=2)
        return shapes.enlarge(np.exp(spread * np.clip(drawn, -2.5, 2.5)), size)

    path_um = depth_um * np.maximum(wavy(3, optics.uneven), 0)
    light = wavy(2, optics.uneven / 5)
    return path_um, np.clip(light / light.max(), 0.05, 1)


def _through_tissue(
    clean: Picture, path_um: Field, optics: Optics, depth_um: float, um: float
) -> tuple[Picture, Picture]:
    """Scatter, blur and absorb.

    Returns
    -------
    (seen, passed)
        Both (H, W, C): the light of the image, and of a uniformly white field.
    """
    seen, passed = np.empty_like(clean), np.empty_like(clean)
    for c, (nm, absorption_um) in enumerate(
        zip(optics.wavelengths_nm, optics.absorption_um, strict=True)
    ):
        free_path_um = FREE_PATH_UM * (nm / FREE_PATH_NM) ** POWER
        sharp = np.exp(-optics.beams * path_um / free_path_um)
        spread_um = math.sqrt((1 - MEAN_COSINE) * depth_um**3 / (3 * free_path_um))
        # The haze is wide and its width matters little: one for the whole field.
        halo = soften(clean[..., c], _within(spread_um * um, clean.shape))
        core = _blurred_by(clean[..., c], ABERRATION * um * path_um)
        arrives = np.exp(-path_um / absorption_um)
        seen[..., c] = arrives * (sharp * core + optics.haze * (1 - sharp) * halo)
        passed[..., c] = arrives * (sharp + optics.haze * (1 - sharp))
    return seen, passed


def _within(sigma: float, shape: tuple[int, ...]) -> float:
    """Keep a blur within the field, beyond which it only costs time."""
    return min(sigma, 0.25 * min(shape[:2]))


def _blurred_by(plane: Field, sigma: Field, levels: int = 4) -> Field:
    """Blur a plane by a sigma (px) that differs from place to place."""
    low, high = float(sigma.min()), float(sigma.max())
    if high - low < 0.05:
        return soften(plane, (low + high) / 2)
    at = (sigma - low) * ((levels - 1) / (high - low))
    out = np.zeros(plane.shape, np.float32)
    for level, blur in enumerate(np.linspace(low, high, levels)):
        # Neighbouring levels are mixed linearly: the weights of a place add up to 1.
        weight = np.clip(1 - np.abs(at - level), 0, 1)
        out += weight * soften(plane, float(blur))
    return out


def _stored(
    measured: Picture, intensity: Intensity, dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    stored: npt.NDArray[np.generic] = intensity.decode(2 * measured - 1, dtype)
    return stored


def _check(
    pixels: npt.NDArray[np.generic],
    seed: int,
    depth_um: float,
    mpp: float,
    optics: Optics | None,
) -> Optics:
    if pixels.ndim != 3 or min(pixels.shape[:2]) < SMALLEST_PX:
        raise ImageSizeError(
            f"A field of at least {SMALLEST_PX}x{SMALLEST_PX} px with channels can be degraded, "
            f"not one of shape {pixels.shape}. Degrade the planes of a stack one by one."
        )
    if seed < 0:
        raise SettingError(f"seed must not be negative, but is {seed}. Use 0 or more.")
    if not 0 <= depth_um <= DEEPEST_UM:
        raise SettingError(
            f"depth_um is the length of tissue above the field and must lie between 0 and "
            f"{DEEPEST_UM:g}, not {depth_um!r}."
        )
    check_mpp(mpp, "mpp", least=FINEST_MPP)
    channels = pixels.shape[2]
    optics = OPTICS[channels] if optics is None else optics
    if len(optics.wavelengths_nm) != channels:
        raise SettingError(
            f"The optics have {len(optics.wavelengths_nm)} wavelengths and the image {channels} "
            "channels. Give one wavelength and one absorption length per channel."
        )
    return optics
