"""Windows cover the mask, one per artifact, and stay inside the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.tiles.plan import FIELD, MARGIN, SIDES, _apart, make_plan


def blob(shape: tuple[int, int], x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def test_an_artifact_that_fits_gets_one_window_centred_on_it() -> None:
    plan = make_plan(blob((600, 800), 300, 200, 60, 40), 256)
    (window,) = plan.windows
    assert window.field == (330 - 64, 220 - 64, 128, 128)
    assert window.core == (300, 200, 60, 40)


def test_the_smallest_window_that_shows_enough_tissue_is_taken() -> None:
    for side, smaller in zip(SIDES[1:], SIDES, strict=False):
        plan = make_plan(blob((600, 800), 100, 100, smaller - 2 * MARGIN + 1, 20), 256)
        assert plan.windows[0].field[2:] == (side, side)


def test_a_window_at_the_border_is_moved_inside() -> None:
    (window,) = make_plan(blob((600, 800), 790, 590, 10, 10), 256).windows
    assert window.field == (800 - 128, 600 - 128, 128, 128)


def test_a_large_artifact_becomes_a_chain_of_pieces() -> None:
    plan = make_plan(blob((2600, 2600), 100, 100, 2400, 2400), 256)
    assert len(plan.chains) == 1
    assert len(plan.windows) == 9
    assert all(max(w.field[2:]) <= FIELD for w in plan.windows)


def test_separate_artifacts_are_separate_chains() -> None:
    mask = blob((600, 800), 50, 50, 40, 40) | blob((600, 800), 500, 400, 40, 40)
    assert len(make_plan(mask, 256).chains) == 2


def test_a_model_with_a_small_window_gets_fields_of_its_own_size() -> None:
    (window,) = make_plan(blob((600, 800), 300, 200, 10, 10), 80).windows
    assert window.field[2:] == (80, 80)


def test_nothing_masked_is_nothing_to_do() -> None:
    assert make_plan(np.zeros((100, 100), bool), 256).windows == []


def test_a_finer_image_gets_larger_windows_of_the_same_work() -> None:
    (window,) = make_plan(blob((1200, 1600), 600, 400, 100, 80), 256, scale=0.5).windows
    assert window.field[2:] == (256, 256)
    assert window.work == (128, 128)


def test_an_artifact_in_the_bend_of_another_is_restored_with_it() -> None:
    mask = blob((600, 600), 50, 50, 500, 20) | blob((600, 600), 50, 50, 20, 500)
    mask |= blob((600, 600), 300, 300, 30, 30)
    (window,) = make_plan(mask, 256).windows
    assert window.core == (50, 50, 500, 500)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(64, 400),
    st.integers(64, 400),
    st.sampled_from([0.5, 1.0, 1.6]),
    st.integers(0, 10_000),
)
def test_every_masked_pixel_is_in_exactly_one_core(
    height: int, width: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(1, 6))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        mask[y : y + int(rng.integers(1, 120)), x : x + int(rng.integers(1, 120))] = True
    count = np.zeros(mask.shape, int)
    for window in make_plan(mask, 256, scale).windows:
        x, y, w, h = window.field
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        cx, cy, cw, ch = window.core
        assert x <= cx
        assert y <= cy
        assert cx + cw <= x + w
        assert cy + ch <= y + h
        count[cy : cy + ch, cx : cx + cw] += 1
    assert (count[mask] == 1).all()
    assert pytest.approx(1) == count.max()


def test_a_window_waits_for_those_that_reach_into_its_field_and_for_no_other() -> None:
    plan = make_plan(blob((3200, 3200), 100, 100, 3000, 3000), 256)
    (chain,) = plan.chains
    place = {window.key: number for number, window in enumerate(chain)}
    assert len(place) == len(chain) == 16
    after = [[place[key] for key in window.after] for window in chain]
    # Four rows of four: a piece sees the one before it, and its neighbours in the row above.
    assert after[:2] == [[], [0]]
    assert after[5] == [0, 1, 2, 4]
    assert after[15] == [10, 11, 14]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_boxes_that_overlap_are_joined_until_none_does(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = [tuple(int(n) for n in rng.integers(1, (900, 900, 300, 300))) for _ in range(count)]
    joined = _apart(boxes)  # type: ignore[arg-type]
    covered = np.zeros((1300, 1300), int)
    for x, y, w, h in joined:
        covered[y : y + h, x : x + w] += 1
    assert covered.max() == 1, "no two overlap"
    for x, y, w, h in boxes:
        assert covered[y : y + h, x : x + w].all(), "none is lost"


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_fields_of_a_latent_begin_with_a_cell_and_hold_what_they_restore(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(64, 700, 2))
    mask = np.zeros((height, width), bool)
    for _ in range(3):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        mask[y : y + int(rng.integers(1, 300)), x : x + int(rng.integers(1, 300))] = True
    for window in make_plan(mask, 256, factor=8).windows:
        x, y, w, h = window.field
        assert (x % 8, y % 8) == (0, 0)
        left, top, wide, high = window.core
        assert x <= left
        assert y <= top
        assert left + wide <= x + w <= width
        assert top + high <= y + h <= height
