from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.diffusion.noise import BLOCK, NoiseField, NoiseStream

SEED = st.sampled_from([0, 1, 2**62, 2**63 - 1])
PLACE = st.integers(-200, 200) | st.integers(-(2**40), 2**40)
SIZE = st.integers(1, 100)


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(0, 3000), PLACE, PLACE, SIZE, SIZE, st.data())
def test_overlapping_windows_see_the_same_noise(
    seed: int, draw: int, y: int, x: int, height: int, width: int, data: st.DataObject
) -> None:
    top = data.draw(st.integers(0, height - 1))
    left = data.draw(st.integers(0, width - 1))
    # The second window begins inside the first and may reach beyond it.
    other = NoiseField(seed).patch(draw, 2, y + top, x + left, 40, 40)
    whole = NoiseField(seed).patch(draw, 2, y, x, height, width)
    common = whole[:, top : top + 40, left : left + 40]
    assert torch.equal(common, other[:, : common.shape[1], : common.shape[2]])


def test_channels_do_not_depend_on_how_many_there_are() -> None:
    field = NoiseField(3)
    assert torch.equal(field.patch(0, 4, 5, 6, 9, 9)[:1], field.patch(0, 1, 5, 6, 9, 9))


def test_seeds_draws_channels_and_places_differ() -> None:
    def one(seed: int = 0, draw: int = 0, y: int = 0, x: int = 0) -> np.ndarray:
        return NoiseField(seed).patch(draw, 2, y, x, BLOCK, BLOCK).numpy()

    fields = [
        *one(),
        one(seed=1)[0],
        one(draw=1)[0],
        one(y=BLOCK)[0],
        one(x=BLOCK)[0],
        one(y=-BLOCK)[0],
        one(x=-BLOCK)[0],
    ]
    correlations = np.corrcoef([field.ravel() for field in fields])
    # 64×64 independent values have correlations of about 1/64.
    assert np.abs(correlations - np.eye(len(fields))).max() < 0.08


@pytest.mark.parametrize("seed", [0, 12345])
def test_the_noise_is_standard_normal_and_white(seed: int) -> None:
    values = NoiseField(seed).patch(0, 3, -70, 30, 300, 300).double().numpy()
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(values) > 1.96).mean() == pytest.approx(0.05, abs=0.003)
    assert (values[:, :, 1:] * values[:, :, :-1]).mean() == pytest.approx(0, abs=0.01)
    assert (values[:, 1:] * values[:, :-1]).mean() == pytest.approx(0, abs=0.01)


def stream(seeds: list[int]) -> NoiseStream:
    return NoiseStream([NoiseField(seed) for seed in seeds], [(0, 7 * seed) for seed in seeds])


def test_a_stream_gives_each_sample_its_own_draws_in_any_batch() -> None:
    like = torch.zeros(3, 2, 8, 8)
    together = stream([4, 5, 6])
    first, second = together.draw(like), together.draw(like)
    alone = stream([5])
    assert torch.equal(alone.draw(like[:1])[0], first[1])
    assert torch.equal(alone.draw(like[:1])[0], second[1])
    assert not torch.equal(first, second)


def test_counters_stand_still_for_samples_that_do_not_draw() -> None:
    like = torch.zeros(2, 1, 4, 4)
    fresh, waiting = stream([0, 1]), stream([0, 1])
    expected = fresh.draw(like)
    got = waiting.draw(like, torch.tensor([True, False]))
    assert torch.equal(got[0], expected[0])
    assert not got[1].any()
    assert torch.equal(waiting.draw(like)[1], expected[1])


def test_a_stream_has_the_type_of_x() -> None:
    drawn = stream([0]).draw(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    assert drawn.dtype == torch.float64
