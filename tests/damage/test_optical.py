"""Degraded fields: seeded, worse with depth, uneven, and never Gaussian noise alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.damage.optical import OPTICS, Optics, degrade
from histomend.errors import (
    ImageSizeError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
    ValueRangeError,
)


@pytest.fixture(scope="module")
def field(tissue):
    """Return tissue of three channels, (256, 256, 3) uint8."""
    return np.ascontiguousarray(tissue[100:356, 100:356])


def with_channels(field, channels, dtype):
    scale = 1 / 255 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max / 255
    return (field[..., :channels] * scale).astype(dtype)


def share(pixels):
    """Give values in [0, 1]."""
    kind = pixels.dtype
    return pixels / (1.0 if kind.kind == "f" else np.iinfo(kind).max)


def error(pixels, truth):
    return float(np.square(share(pixels) - share(truth)).mean())


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    channels=st.integers(1, 3),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
    seed=st.integers(0, 10_000),
    depth=st.floats(0, 200),
    mpp=st.sampled_from([0.25, 0.5, 2.0]),
)
def test_type_and_shape_stay_and_the_seed_decides(height, width, channels, dtype, seed, depth, mpp):
    rng = np.random.default_rng(seed)
    pixels = with_channels(rng.integers(0, 256, (height, width, 3)), channels, dtype)
    before = pixels.copy()
    found = degrade(pixels, seed=seed, depth_um=depth, mpp=mpp)
    np.testing.assert_array_equal(pixels, before)
    assert (found.pixels.dtype, found.pixels.shape) == (pixels.dtype, pixels.shape)
    assert found.noise.shape == (height, width)
    assert np.isfinite(found.noise).all()
    assert 0 <= share(found.pixels).min() <= share(found.pixels).max() <= 1
    again = degrade(pixels, seed=seed, depth_um=depth, mpp=mpp)
    np.testing.assert_array_equal(found.pixels, again.pixels)
    other = degrade(pixels, seed=seed + 1, depth_um=depth, mpp=mpp)
    assert (found.pixels != other.pixels).any()


def test_turned_and_mirrored_views_are_degraded_as_their_copies_are(field):
    view = np.rot90(field)[:, ::-1]
    found = degrade(view, seed=2, depth_um=60)
    copied = degrade(np.ascontiguousarray(view), seed=2, depth_um=60)
    np.testing.assert_array_equal(found.pixels, copied.pixels)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_quality_falls_with_depth(field, channels):
    clean = with_channels(field, channels, np.uint16)
    stack = [degrade(clean, seed=4, depth_um=depth) for depth in (0, 20, 40, 80, 160)]
    errors = [error(plane.pixels, clean) for plane in stack]
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]


def test_planes_of_a_stack_look_through_the_same_tissue(field):
    clean = with_channels(np.full_like(field, 120), 2, np.uint16)
    near, far = (degrade(clean, seed=4, depth_um=depth) for depth in (60, 61))
    coarse = [cv2.GaussianBlur(share(plane.pixels), (0, 0), 12) for plane in (near, far)]
    assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.95
    grain = [
        share(plane.pixels) - blurred for plane, blurred in zip((near, far), coarse, strict=True)
    ]
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.05


def test_bright_places_are_noisier_than_dark_ones():
    halves = np.zeros((128, 256, 1), np.uint16)
    halves[:, :128], halves[:, 128:] = 6_000, 50_000
    found = degrade(halves, seed=0, depth_um=0)
    dark, bright = (share(found.pixels)[:, part].std() for part in np.s_[8:120, 136:248])
    assert bright > 1.5 * dark
    assert bright == pytest.approx(float(found.noise[:, 136:248].mean()), rel=0.3)


def test_noise_and_loss_are_uneven_over_the_field(field):
    clean = np.full((256, 256, 2), 30_000, np.uint16)
    found = degrade(clean, seed=3, depth_um=60)
    seen = cv2.GaussianBlur(share(found.pixels), (0, 0), 12)
    assert seen.max() > 1.3 * seen.min()
    even = Optics(**{**vars(OPTICS[2]), "uneven": 0.0})
    flat = cv2.GaussianBlur(
        share(degrade(clean, seed=3, depth_um=60, optics=even).pixels), (0, 0), 12
    )
    assert flat.max() < 1.1 * flat.min()


def test_there_is_more_than_noise(field):
    clean = with_channels(field, 3, np.float64)
    noisy = degrade(clean, seed=3, depth_um=60).pixels
    silent = Optics(**{**vars(OPTICS[3]), "photons": 1e9, "read_noise": 0.0})
    without = degrade(clean, seed=3, depth_um=60, optics=silent).pixels

    def detail(pixels):
        return cv2.Laplacian(pixels.mean(axis=2), cv2.CV_64F).var()

    assert detail(without) < 0.6 * detail(clean), "scattering takes the contrast of detail"
    assert detail(noisy) > detail(without)


def test_blood_takes_blue_and_green_before_red():
    white = np.full((64, 64, 3), 0.6, np.float32)
    red, green, blue = degrade(white, seed=0, depth_um=150).pixels.mean(axis=(0, 1))
    assert red > 1.2 * green
    assert red > 1.2 * blue


def test_only_light_that_needs_one_beam_leaves_a_haze():
    spot = np.zeros((128, 128, 2), np.float64)
    spot[60:68, 60:68] = 1
    quiet = {"photons": 1e9, "read_noise": 0.0, "uneven": 0.0, "compensation": 0.0}
    two_beams = Optics(**{**vars(OPTICS[2]), **quiet})
    one_beam = Optics(**{**vars(OPTICS[2]), **quiet, "beams": 1, "haze": 1.0})
    around = [
        degrade(spot, seed=0, depth_um=60, optics=optics).pixels[64, 76, 0]
        for optics in (two_beams, one_beam)
    ]
    assert around[0] < 1e-4
    assert around[1] > 1e-3


@pytest.mark.parametrize(
    ("changed", "kind", "word"),
    [
        ({"seed": -1}, SettingError, "-1"),
        ({"depth_um": -5.0}, SettingError, "depth_um"),
        ({"depth_um": float("nan")}, SettingError, "depth_um"),
        ({"mpp": 0.0}, PixelSizeError, "mpp"),
        ({"optics": OPTICS[3]}, SettingError, "3 wavelengths and the image 1"),
        ({"pixels": np.zeros((8, 64, 1), np.uint8)}, ImageSizeError, "16x16"),
        ({"pixels": np.zeros((4, 64, 64, 1), np.uint8)}, ImageSizeError, "one by one"),
        ({"pixels": np.zeros((64, 64, 4), np.uint8)}, UnsupportedImageError, "1, 2 or 3"),
        ({"pixels": np.full((64, 64, 1), np.nan)}, ValueRangeError, "NaN"),
    ],
)
def test_what_cannot_be_degraded_is_refused(changed, kind, word):
    arguments = {"pixels": np.zeros((64, 64, 1), np.uint8), "seed": 0, **changed}
    with pytest.raises(kind, match=word):
        degrade(arguments.pop("pixels"), **arguments)


@pytest.mark.parametrize(
    "changed",
    [
        {"photons": 0.0},
        {"absorption_um": (1.0, 2.0)},
        {"beams": 3},
        {"haze": 2.0},
        {"uneven": -1.0},
    ],
)
def test_impossible_optics_are_refused(changed):
    with pytest.raises(SettingError):
        Optics(**{**vars(OPTICS[1]), **changed})
