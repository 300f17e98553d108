"""Labels are chosen by what pieces look like, and each expansion is a minimum cut."""

from itertools import product

import numpy as np
import pytest

from histomend.exemplar.labels import Choice, choose, neighbours


def some_choice(seed: int, labels: int, seam: float = 0.05) -> Choice:
    rng = np.random.default_rng(seed)
    own = rng.random((9, labels)).astype(np.float32)
    looks = rng.random((9, labels, 3)).astype(np.float32) / 2
    return Choice(own, looks, neighbours(np.arange(9).reshape(3, 3)), seam)


@pytest.mark.parametrize("seed", range(6))
def test_of_two_labels_the_best_choice_is_found(seed: int) -> None:
    """With two labels an expansion from all-first is an exact minimum cut."""
    choice = some_choice(seed, 2)
    every = [np.array(labels) for labels in product((0, 1), repeat=9)]
    best = min(every, key=choice.energy)
    found = choice.expanded(np.zeros(9, np.int64), 1)
    assert choice.energy(found) == pytest.approx(choice.energy(best), abs=2e-3)


@pytest.mark.parametrize("seed", range(6))
def test_from_any_start_the_best_places_change_to_a_label(seed: int) -> None:
    """Seams cost about the same here whatever meets, so an expansion is exact too."""
    choice = some_choice(seed, 3, seam=0.4)
    choice.looks[:] /= 4
    start = np.random.default_rng(seed + 50).integers(0, 2, 9)
    changed = [np.where(taken, 2, start) for taken in product((False, True), repeat=9)]
    best = min(changed, key=choice.energy)
    found = choice.expanded(start, 2)
    assert choice.energy(found) == pytest.approx(choice.energy(best), abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_choice_is_no_worse_than_its_start_and_never_impossible(seed: int) -> None:
    choice = some_choice(seed, 5)
    choice.own[np.random.default_rng(seed).random((9, 5)) < 0.3] = np.inf
    choice.own[:, 4] = 3
    labels = choose(choice, np.random.default_rng(0))
    assert np.isfinite(choice.own[np.arange(9), labels]).all()
    assert choice.energy(labels) <= choice.energy(choice.start())


def test_the_energy_is_what_it_says() -> None:
    looks = np.zeros((2, 2, 1), np.float32)
    looks[0, 1], looks[1, 1] = 0.5, 3.0
    choice = Choice(np.array([[1, 2], [4, 8]], np.float32), looks, np.array([[0, 1]]), seam=0.25)
    # Own costs; then 0.5 squared where the first lies, a difference cut off at 1 where the second
    # does, and the seam.
    assert choice.energy(np.array([0, 0])) == 5
    assert choice.energy(np.array([0, 1])) == pytest.approx(1 + 8 + 0.25 + 1 + 0.25)


def test_dear_seams_make_few_pieces() -> None:
    cheap, dear = (choose(some_choice(1, 5, seam), np.random.default_rng(0)) for seam in (0.0, 5.0))
    assert len(np.unique(cheap)) > 1
    assert len(np.unique(dear)) == 1


def test_neighbours_share_a_side() -> None:
    numbers = np.array([[0, 1, -1], [2, 3, 4]])
    pairs = {tuple(pair) for pair in neighbours(numbers).tolist()}
    assert pairs == {(0, 1), (2, 3), (3, 4), (0, 2), (1, 3)}
