from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.recalibration import Plan
from histomend.diffusion.schedule import cosine
from histomend.errors import SettingError
from histomend.methods.rscd import (
    RSCD,
    Undimmed,
    as_authors,
    calibrated_sampling,
    few_calls,
    recalibrated,
)
from histomend.models import ModelConfig

CONFIG = ModelConfig("rscd", "small", context=False, highest_t=200, fast_steps=8)


def calls(plan: Plan, predictions: list[float]) -> int:
    """Return the network calls if the calibrator says `predictions`, the last one for ever."""
    count = 0
    for number in range(1, 1000):
        stretch = plan(predictions[min(number, len(predictions)) - 1], number)
        times = list(stretch.times)
        assert all(a > b >= 0 for a, b in pairwise(times))
        assert not times or times[0] <= 200
        count += max(len(times) - 1, 0)
        if stretch.last or len(times) < 2:
            return count
    raise AssertionError("it never ends")


def test_the_image_itself_is_where_it_starts_unscaled() -> None:
    image = torch.rand(1, 2, 8, 8)
    start = RSCD(image).start(NoiseStream([NoiseField(0)], [(0, 0)]))
    assert torch.equal(start, image)


def test_a_scaled_start_holds_the_signal_of_its_t() -> None:
    """Taken as it is, an image of t = 200 would come out 5 % too strong."""
    schedule = cosine(1000)
    x0, eps = torch.rand(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    t = torch.tensor([50, 200])
    alpha, sigma = schedule.at(t, x0)
    image = x0 + sigma / alpha * eps
    start = RSCD(image, alpha.flatten()).start(NoiseStream([NoiseField(0)], [(0, 0)]))
    torch.testing.assert_close(start, schedule.noised(x0, t, eps))


@pytest.mark.parametrize("t", [1, 50, 200, 300])
def test_the_noise_of_an_unscaled_image_belongs_to_a_smaller_t(t: int) -> None:
    schedule = cosine(1000)
    noise = float(schedule.sigma[t] / schedule.alpha[t])
    # What a perfect calibrator predicts: where sigma alone is the noise of the image.
    predicted = float((schedule.sigma - noise).abs().argmin())
    found = Undimmed(lambda x: torch.full((len(x),), predicted), schedule)
    assert float(found(torch.zeros(1, 1, 8, 8))) == pytest.approx(t, abs=1)
    assert predicted - t <= 0.06 * t**2 / 100


def test_the_papers_rule() -> None:
    plan = recalibrated(200)
    stretch = plan(34.4, 1)
    assert list(stretch.times) == list(range(34, 23, -1))
    assert not stretch.last
    # Exactly d steps remain: they are made, and the calibrator is asked once more.
    assert not plan(10.2, 2).last
    short = plan(9.4, 2)
    assert (list(short.times), short.last) == (list(range(9, -1, -1)), True)
    assert plan(999, 1).times[0] == 200
    assert list(plan(-3, 1).times) == [0]


def test_one_round_is_the_ablation_without_recalibration() -> None:
    stretch = recalibrated(200, rounds=1)(50.0, 1)
    assert (len(stretch.times), stretch.last) == (51, True)


def test_the_authors_rule() -> None:
    plan = as_authors(200)
    stretch = plan(34.9, 1)
    # Ten steps from index 34, which is our time 35.
    assert (stretch.times[0], stretch.times[-1], stretch.last) == (35, 25, False)
    assert plan(700.0, 1).times[0] == 191
    end = plan(9.9, 2)
    assert (len(end.times) - 1, end.last) == (12, True)
    last = plan(100.0, 15)
    assert (len(last.times) - 1, last.last) == (103, True)
    assert len(plan(-0.4, 1).times) - 1 == 3, "cut off, not rounded down"
    assert list(plan(-40.0, 1).times) == [0]


@given(st.lists(st.floats(-50, 2000), min_size=1, max_size=40))
def test_whatever_the_calibrator_says_every_rule_ends(predictions: list[float]) -> None:
    assert calls(recalibrated(200), predictions) <= 19 * 10 + 200
    assert calls(as_authors(200), predictions) <= 14 * 10 + 193
    for most in (2, 3, 8):
        assert calls(few_calls(200, most), predictions) <= most
        assert calls(few_calls(200, most, recalibrations=0), predictions) <= most


def test_fast_walks_half_of_its_calls_asks_again_and_ends() -> None:
    plan = few_calls(200, 8)
    first = plan(80.0, 1)
    assert (list(first.times), first.last) == ([80, 70, 60, 50, 40], False)
    second = plan(32.0, 2)
    assert (list(second.times), second.last) == ([32, 24, 16, 8, 0], True)
    short = plan(3.0, 1)
    assert (list(short.times), short.last) == ([3, 2, 1, 0], True)


def test_presets_have_the_variance_they_are_named_for() -> None:
    schedule = CONFIG.noise_schedule()
    for preset in ("fast", "paper", "author_code"):
        assert callable(calibrated_sampling(preset, CONFIG).make_sampler(schedule))
    fast = calibrated_sampling("fast", CONFIG, steps=5, sampler="dpmpp_2m")
    assert (fast.calls, fast.sampler) == (5, "dpmpp_2m")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "slow"}, "'slow'.*fast, paper, author_code"),
        ({"preset": "paper", "steps": 5}, "the calibrator says how many"),
        ({"preset": "fast", "steps": 0}, "makes 1 to 200"),
        ({"preset": "fast", "sampler": "euler"}, "'euler'.*ddpm"),
    ],
    ids=str,
)
def test_settings_that_do_not_exist_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        calibrated_sampling(config=CONFIG, **arguments)  # type: ignore[arg-type]
