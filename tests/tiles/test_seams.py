"""What is done with the pixels around a mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from histomend.tiles.seams import RIM_FADE_PX, meet_surround

SIZE = (64, 72)


def masked(left: int, top: int, side: int) -> np.ndarray:
    hidden = np.zeros(SIZE, bool)
    hidden[top : top + side, left : left + side] = True
    return hidden


@given(
    cast=st.floats(-0.3, 0.3),
    left=st.integers(0, 30),
    top=st.integers(0, 20),
    side=st.integers(1, 40),
)
def test_no_step_is_left_at_the_border_of_the_mask(
    cast: float, left: int, top: int, side: int
) -> None:
    tissue = np.random.default_rng(0).uniform(-0.5, 0.5, (*SIZE, 3)).astype(np.float32)
    hidden = masked(left, top, side)
    met = meet_surround(tissue + np.float32(cast), tissue, hidden)
    inside = np.pad(hidden, 1, mode="edge")
    rim = hidden & ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
    assert np.abs(met - tissue)[rim].max() < 0.02


def test_what_lies_deeper_stays_as_decoded() -> None:
    hidden = masked(8, 8, 48)
    decoded = np.zeros((*SIZE, 3), np.float32)
    met = meet_surround(decoded, decoded + 0.4, hidden)
    assert met[8, 32, 0] > 0.35
    assert np.abs(met[32, 32]).max() < 0.4 * np.exp(-20 / RIM_FADE_PX)


def test_what_is_hidden_is_not_read() -> None:
    hidden = masked(20, 20, 12)
    tissue = np.zeros((*SIZE, 3), np.float32)
    artifact = np.where(hidden[..., None], np.float32(1), tissue)
    np.testing.assert_array_equal(
        meet_surround(tissue, artifact, hidden), meet_surround(tissue, tissue, hidden)
    )
