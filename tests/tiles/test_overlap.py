"""Tiles of a whole field: no seam, no clean tile touched, no more memory than a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histomend.tiles.overlap import blended, grouped, make_tiles, smoothed, t_map


@given(st.integers(64, 300), st.integers(64, 300), st.sampled_from([64, 96]))
def test_the_shares_of_all_tiles_add_up_to_one_everywhere(height, width, window):
    tiles = make_tiles(height, width, window)
    np.testing.assert_allclose(t_map(tiles, [1.0] * len(tiles), height, width), 1, atol=1e-5)


@given(st.integers(64, 300), st.integers(64, 300))
def test_tiles_that_agree_give_the_field_back_in_bands(height, width):
    field = np.random.default_rng(0).random((height, width, 2)).astype(np.float32)
    tiles = make_tiles(height, width, 64)
    out = np.full_like(field, np.nan)
    for top, band in blended(tiles, (field[tile.place] for tile in tiles), width, 2):
        assert len(band) <= 64
        out[top : top + len(band)] = band
    np.testing.assert_allclose(out, field, atol=1e-5)


def test_tiles_that_disagree_pass_into_each_other_without_a_step():
    tiles = make_tiles(64, 256, 64)
    values = (np.full((64, 64, 1), k, np.float32) for k in range(len(tiles)))
    ((_, band),) = blended(tiles, values, 256, 1)
    assert np.abs(np.diff(band[..., 0], axis=1)).max() < 0.12


def test_neighbours_draw_each_other_closer_and_what_is_clean_stays_clean():
    tiles = make_tiles(64, 160, 64)
    assert len(tiles) == 3
    starts = smoothed(tiles, [0.3, 30.0, 90.0], 200, 64, 160)
    assert starts[0] == 0
    assert 25 < starts[1] < 60
    assert 60 < starts[2] < 90
    field = t_map(tiles, starts, 64, 160)
    assert (field[:, :48] == 0).all()
    assert smoothed(tiles, [-5.0, 900.0, 900.0], 200, 64, 160)[2] == pytest.approx(200)


def test_groups_keep_the_order_and_do_not_depend_on_anything_else():
    tiles = make_tiles(200, 200, 64)
    assert [tile for group in grouped(tiles) for tile in group] == list(tiles)
