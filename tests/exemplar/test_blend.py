"""Colours meet by a smooth shift in whole numbers."""

import numpy as np
import pytest

from histomend.exemplar.blend import FRACTION, averaged, membrane, on_lattice, shifted


def row_of_cells(
    count: int, difference: float
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    a = np.arange(count - 1)
    between = a, a + 1, np.zeros((count - 1, 3), np.float32)
    return between, (np.array([0]), np.full((1, 3), difference, np.float32))


def test_a_difference_at_the_border_is_carried_inwards_and_dies_away() -> None:
    between, border = row_of_cells(40, 0.01)
    shift = membrane(between, border, 40)[:, 0]
    assert 0.006 < shift[0] < 0.01
    assert (np.diff(shift) < 0).all()
    assert shift[-1] < shift[0] / 10


def test_a_dark_rim_that_the_mask_has_left_out_counts_for_little() -> None:
    """A hundred levels are no shift of stain."""
    small, large = (membrane(*row_of_cells(40, value), 40)[5, 0] for value in (0.02, 0.4))
    assert large / 0.4 < small / 0.02 / 10


def test_where_pieces_meet_one_is_lifted_above_the_other() -> None:
    apart = np.zeros((9, 3), np.float32)
    apart[4] = 0.02
    ends = np.array([0, 9]), np.array([[0.01] * 3, [-0.01] * 3], np.float32)
    shift = membrane((np.arange(9), np.arange(1, 10), apart), ends, 10)[:, 0]
    assert shift[:5] == pytest.approx([0.01] * 5, abs=3e-3)
    assert shift[5:] == pytest.approx([-0.01] * 5, abs=3e-3)
    assert np.diff(shift)[4] < 20 * np.abs(np.diff(shift)[3])


def test_the_mean_around_a_place_is_that_of_what_counts() -> None:
    values = np.full((9, 9, 3), 7, np.float32)
    weights = np.zeros((9, 9), np.float32)
    weights[4, 4], values[0, 0] = 1, 1e6
    mean = averaged(values, weights, 1)
    assert mean[4, 5] == pytest.approx([7, 7, 7])


def test_an_even_shift_is_the_same_at_every_node_and_pixel() -> None:
    inside = np.ones((6, 6), bool)
    lattice = on_lattice(np.full((6, 6, 3), 4 / 255, np.float32), inside, (4, 4))
    assert (lattice == 4 * FRACTION).all()
    y, x = (each.ravel() for each in np.mgrid[:24, :24])
    copied = np.full((len(y), 3), 100, np.uint8)
    assert (shifted(copied, lattice, y, x, 8) == 104).all()
    deep = np.full((len(y), 3), 25700, np.uint16)
    assert (shifted(deep, lattice, y, x, 8) == 26728).all()


def test_between_nodes_a_shift_is_linear_and_ends_at_the_range() -> None:
    lattice = np.zeros((2, 2, 3), np.int16)
    lattice[:, 1] = 8 * FRACTION
    zero = np.zeros(9, np.int64)
    x = np.arange(8)
    grey = np.full((8, 3), 100, np.uint8)
    assert shifted(grey, lattice, zero[:8], x, 8)[:, 0].tolist() == list(range(100, 108))
    white = np.full((8, 3), 254, np.uint8)
    assert shifted(white, lattice, zero[:8], x, 8).max() == 255


def test_a_shift_of_half_a_level_is_rounded_up_and_less_of_it_down() -> None:
    zero, grey = np.zeros(1, np.int64), np.full((1, 3), 100, np.uint8)
    for sixteenths, level in ((7, 100), (8, 101), (-8, 100), (-9, 99)):
        lattice = np.full((2, 2, 3), sixteenths * FRACTION // 16, np.int16)
        assert shifted(grey, lattice, zero, zero, 8)[0, 0] == level
