from __future__ import annotations

import pytest
import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition, Prediction
from histomend.diffusion.loop import Recipe, State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.recalibration import RecalibratingTrajectory, Stretch
from histomend.diffusion.samplers import ddim
from histomend.diffusion.schedule import cosine
from histomend.errors import ModelError

SCHEDULE = cosine(1000)


def walk(path: RecalibratingTrajectory, x: Tensor) -> list[tuple[list[int], list[int]]]:
    steps = []
    while (step := path.next(x)) is not None:
        steps.append((step.t.tolist(), step.t_next.tolist()))
    return steps


def two_at_a_time(predicted: float, number: int) -> Stretch:
    t = round(predicted)
    return Stretch(range(t, max(t - 2, 0) - 1, -1), last=t <= 2 or number == 4)


def test_each_sample_walks_its_own_way_and_rests_when_it_has_finished() -> None:
    answers = iter([torch.tensor([5.0, 2.0, 0.0]), torch.tensor([2.2])])
    shown = []

    def calibrate(x: Tensor) -> Tensor:
        shown.append(x.flatten().tolist())
        return next(answers)

    path = RecalibratingTrajectory(calibrate, two_at_a_time)
    steps = walk(path, torch.tensor([7.0, 8.0, 9.0]).reshape(3, 1, 1, 1))
    assert steps == [
        ([5, 2, 0], [4, 1, 0]),
        ([4, 1, 0], [3, 0, 0]),
        # The calibrator said 2 where 3 was left, and was shown only who had not finished.
        ([2, 0, 0], [1, 0, 0]),
        ([1, 0, 0], [0, 0, 0]),
    ]
    assert shown == [[7, 8, 9], [7]]
    assert [len(p) for p in path.predictions] == [2, 1, 1]


def test_a_batch_of_clean_images_takes_no_step() -> None:
    assert (
        walk(RecalibratingTrajectory(lambda x: x.new_zeros(len(x)), two_at_a_time), torch.ones(2))
        == []
    )


def test_who_walks_nothing_is_not_asked_again() -> None:
    """Nothing changed since, so the answer would be the same."""
    asked = []

    def calibrate(x: Tensor) -> Tensor:
        asked.append(x.flatten().tolist())
        return x.flatten()

    def down_by_two(predicted: float, number: int) -> Stretch:
        t = round(predicted)
        return Stretch(range(t, max(t - 2, 0) - 1, -1), last=number == 2)

    path = RecalibratingTrajectory(calibrate, down_by_two)
    assert len(walk(path, torch.tensor([4.0, 0.0]).reshape(2, 1, 1, 1))) == 4
    assert asked == [[4, 0], [4]]


def test_known_predictions_take_the_place_of_the_first_question() -> None:
    def calibrate(x: Tensor) -> Tensor:
        return x.new_ones(len(x))

    path = RecalibratingTrajectory(calibrate, two_at_a_time, first=torch.tensor([4.0, 1.0]))
    assert [t for t, _ in walk(path, torch.zeros(2, 1, 4, 4))] == [[4, 1], [3, 0], [1, 0]]
    assert path.predictions == [[4, 1], [1]]


def test_a_prediction_that_is_no_number_is_an_error() -> None:
    path = RecalibratingTrajectory(lambda x: x.mean((1, 2, 3)), two_at_a_time)
    with pytest.raises(ModelError, match=r"t=nan for sample 1.*no numbers"):
        path.next(torch.tensor([1.0, torch.nan]).reshape(2, 1, 1, 1))


# In the loop


class Image(Recipe):
    def __init__(self, image: Tensor):
        self.image = image

    def start(self, noise: NoiseStream) -> Tensor:
        return self.image


def towards_zero(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
    _, sigma = SCHEDULE.at(t, x)
    return Prediction(0 * x, x / sigma)


def noise_level(x: Tensor) -> Tensor:
    """Return the t whose noise has the spread of x: right for images that are zero."""
    spread = x.flatten(1).std(1)
    return (SCHEDULE.sigma[None, :].to(x) - spread[:, None]).abs().argmin(1).float()


def run(images: Tensor) -> tuple[Tensor, list[int], list[list[int]]]:
    trace: list[list[int]] = []

    def watch(state: State) -> None:
        trace.append(state.nfe.tolist())

    streams = NoiseStream([NoiseField(3)] * len(images), [(0, 0)] * len(images))
    path = RecalibratingTrajectory(noise_level, two_at_a_time)
    done = sample(towards_zero, Image(images), path, ddim(SCHEDULE), streams, SCHEDULE, watch)
    return done.x, done.nfe.tolist(), trace


def test_the_loop_counts_calls_per_sample_and_a_batch_changes_nothing() -> None:
    noise = torch.randn(1, 1, 64, 64)
    images = torch.cat([float(SCHEDULE.sigma[t]) * noise / noise.std() for t in (3, 1, 0, 2)])
    together, calls, trace = run(images)
    assert calls == [3, 1, 0, 2]
    assert trace[0] == [1, 1, 0, 1]
    assert torch.equal(together[2], images[2]), "a clean image goes through unchanged"
    for k in range(4):
        alone, (count,), _ = run(images[k : k + 1])
        assert count == calls[k]
        torch.testing.assert_close(alone[0], together[k], rtol=1e-4, atol=1e-6)
