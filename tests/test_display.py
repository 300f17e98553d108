"""Virtual H&E: what is shown of two channels."""

import numpy as np
import pytest

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image.display import virtual_he


def channels(dtype=np.uint16, seed=0):
    """Return CH2 and CH3, of which the latter is the brighter one nearly everywhere."""
    drawn = np.random.default_rng(seed).beta(2, 8, (80, 90, 2))
    drawn[..., 1] = 0.9 * drawn[..., 0] + drawn[..., 1] / 2
    return (drawn * (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_channel_is_equalised(dtype):
    shown = virtual_he(channels(dtype))
    assert (shown.shape, shown.dtype) == ((80, 90, 3), np.uint8)
    for channel in np.moveaxis(shown, -1, 0):
        assert channel.min() == 0
        assert channel.max() == 255
        np.testing.assert_allclose(np.quantile(channel, [0.25, 0.5, 0.75]), [64, 128, 191], atol=6)


def test_the_order_is_difference_lipid_protein():
    values = channels()
    shown = virtual_he(values)
    lipid, protein = np.moveaxis(values.astype(int), -1, 0)
    for channel, signal in zip(
        np.moveaxis(shown, -1, 0), (protein - lipid, lipid, protein), strict=True
    ):
        rising = np.argsort(signal.ravel(), kind="stable")
        above = signal.ravel()[rising] > -5000
        assert (np.diff(channel.ravel()[rising][above].astype(int)) >= 0).all()


def test_exposure_hardly_changes_what_is_shown():
    values = channels() // 4
    lipid_and_protein = np.s_[..., 1:]
    bright, dim = (virtual_he(v)[lipid_and_protein].astype(int) for v in (2 * values, values))
    assert np.abs(bright - dim).max() <= 1


def test_an_empty_channel_is_black():
    values = channels()
    values[..., 0] = 700
    assert not virtual_he(values)[..., 1].any()


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 3), (2, 64, 64, 2)])
def test_only_one_image_of_two_channels_can_be_shown(shape):
    with pytest.raises(UnsupportedImageError, match="two channels"):
        virtual_he(np.zeros(shape, np.uint16))


def test_values_of_an_unknown_range_are_refused():
    with pytest.raises(ValueRangeError, match="up to 40"):
        virtual_he(np.full((64, 64, 2), 40.0))
