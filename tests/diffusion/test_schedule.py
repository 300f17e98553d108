from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.diffusion import schedule
from histomend.errors import SettingError

NAMES = list(schedule.SCHEDULES)


@pytest.mark.parametrize("name", NAMES)
def test_signal_and_noise_keep_the_variance_and_go_from_clean_to_noise(name: str) -> None:
    levels = schedule.named(name, 1000)
    assert levels.steps == 1000
    assert levels.name == name
    torch.testing.assert_close(levels.alpha**2 + levels.sigma**2, torch.ones(1001).double())
    assert (float(levels.alpha[0]), float(levels.sigma[0])) == (1, 0)
    assert bool((levels.alpha.diff() < 0).all())
    assert levels.alpha[-1] < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_forward_process_equals_its_closed_form(name: str) -> None:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, with alpha_bar from the betas."""
    levels = schedule.named(name, 100)
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, 5, 6, generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 30, 77, 100])
    betas = 1 - (levels.alpha[1:] / levels.alpha[:-1]) ** 2
    alpha_bar = torch.stack([torch.prod(1 - betas[:k]) for k in t.tolist()]).reshape(-1, 1, 1, 1)
    expected = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    torch.testing.assert_close(levels.noised(x0, t, eps), expected)


def test_linear_betas_end_as_noisy_for_few_steps_as_for_many() -> None:
    assert float(schedule.linear(250).alpha[-1]) == pytest.approx(
        float(schedule.linear(1000).alpha[-1]), rel=0.15
    )


def test_at_gives_one_level_per_sample_in_the_type_of_x() -> None:
    levels = schedule.cosine(10)
    alpha, sigma = levels.at(torch.tensor([0, 10]), torch.zeros(2, 3, 4, 4, dtype=torch.float32))
    assert alpha.shape == sigma.shape == (2, 1, 1, 1)
    assert alpha.dtype == torch.float32
    assert sigma.flatten()[0] == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 1000), st.data())
def test_spaced_times_fall_from_the_start_to_zero(start: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, start))
    times = schedule.linear(1000).spaced(count, start)
    assert (len(times), times[0], times[-1]) == (count + 1, start, 0)
    gaps = [a - b for a, b in pairwise(times)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 2


@pytest.mark.parametrize("count", [0, 101])
def test_steps_that_the_schedule_lacks_are_refused(count: int) -> None:
    with pytest.raises(SettingError, match="from 1 to 100"):
        schedule.linear(100).spaced(count)


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(SettingError, match=r"'quadratic'.*linear, scaled_linear, cosine"):
        schedule.named("quadratic", 10)


def test_the_same_noise_is_at_the_same_time_only_on_the_same_schedule() -> None:
    ours, theirs = schedule.named("cosine", 1000), schedule.cosine(1000, least=1e-3)
    t = torch.tensor([0.0, 0.5, 7.25, 400.0, 1000.0, 2000.0, -3.0])
    torch.testing.assert_close(
        schedule.same_noise(t, ours, ours), t.clamp(0, 1000), rtol=1e-5, atol=1e-4
    )
    later = schedule.same_noise(t, theirs, ours)
    assert (later[1:4] > t[1:4]).all()
    assert (theirs.name, ours.name) == ("custom", "cosine")
    torch.testing.assert_close(
        schedule.same_noise(later, ours, theirs)[:4], t[:4], rtol=1e-4, atol=1e-3
    )
