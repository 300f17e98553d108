from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from histomend.diffusion.denoiser import Condition, Prediction, prediction_from
from histomend.diffusion.loop import Recipe, Sampled, State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.samplers import Sampler, ddim, ddpm, dpmpp_2m
from histomend.diffusion.schedule import linear
from histomend.diffusion.trajectory import FixedTrajectory, Step, Trajectory, repaint_times
from histomend.models import bundled

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "write-a-recipe.md"
LEVELS = linear(1000)
SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm(LEVELS),
    "ddpm learned": ddpm(LEVELS, "learned"),
    "ddim": ddim(LEVELS),
    "ddim noisy": ddim(LEVELS, eta=1.0),
    "dpmpp_2m": dpmpp_2m(LEVELS),
}


class Watched:
    """A denoiser that works pixel by pixel and writes down who called it at which time."""

    def __init__(self) -> None:
        self.times: list[list[int]] = []

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        self.times.append(t.tolist())
        alpha, sigma = LEVELS.at(t, x)
        shift = 0.0 if condition.maps is None else condition.maps
        if condition.vectors is not None:
            shift = shift + condition.vectors[:, :, None, None]
        x0, eps = prediction_from(torch.tanh(x * alpha + shift), x, alpha, sigma, "x0")
        return Prediction(x0, eps, torch.sigmoid(x))


class Pasting(Recipe):
    """Draws noise in every hook that may, and gives each sample its own condition."""

    def __init__(self, numbers: Sequence[int]):
        level = torch.tensor([0.1 * k for k in numbers], dtype=torch.float64)
        self.known = level.reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)
        self.condition = Condition(self.known, level[:, None])

    def start(self, noise: NoiseStream) -> Tensor:
        return noise.draw(self.known)

    def before(self, x: Tensor, step: Step, noise: NoiseStream) -> Tensor:
        alpha, sigma = LEVELS.at(step.t, x)
        pasted = alpha * self.known + sigma * noise.draw(x, step.down)
        return torch.cat([pasted[..., :2], x[..., 2:]], -1)


class OwnTimes:
    """A path on which every sample has its own times, and rests when they are used up."""

    def __init__(self, times: Sequence[Sequence[int]]):
        self.times = times
        self.position = 0

    def next(self, x: Tensor) -> Step | None:
        self.position += 1
        if self.position >= max(map(len, self.times)):
            return None
        last = [[ts[min(self.position - k, len(ts) - 1)] for ts in self.times] for k in (1, 0)]
        return Step(torch.tensor(last[0]), torch.tensor(last[1]))


def run(
    numbers: Sequence[int],
    path: Trajectory,
    sampler: Sampler,
    denoiser: Any = None,
    callback: Any = None,
) -> Sampled:
    fields = [NoiseField(k) for k in numbers]
    stream = NoiseStream(fields, [(0, 100 * k) for k in numbers])
    return sample(denoiser or Watched(), Pasting(numbers), path, sampler, stream, LEVELS, callback)


TIMES = st.lists(st.sampled_from([0, 1, 300, 301, 700, 1000]), min_size=2, max_size=7)


@settings(max_examples=60, deadline=None)
@given(st.lists(TIMES, min_size=2, max_size=3), st.sampled_from(sorted(SAMPLERS)))
def test_each_sample_of_a_mixed_batch_gets_what_it_gets_alone(
    times: list[list[int]], name: str
) -> None:
    """Whether the others rest, finish, or are noised again."""
    numbers = range(len(times))
    together = run(numbers, OwnTimes(times), SAMPLERS[name])
    for k, own in enumerate(times):
        alone = run([k], OwnTimes([own]), SAMPLERS[name])
        torch.testing.assert_close(together.x[k], alone.x[0], rtol=1e-9, atol=1e-9)
        calls = sum(b < a for a, b in pairwise(own))
        assert int(together.nfe[k]) == int(alone.nfe) == calls


def test_a_multistep_sampler_remembers_across_a_rest() -> None:
    walk = run([0], OwnTimes([[900, 600, 300, 0]]), SAMPLERS["dpmpp_2m"])
    pause = run(
        [0, 1], OwnTimes([[900, 600, 600, 300, 0], [900, 5, 4, 3, 2]]), SAMPLERS["dpmpp_2m"]
    )
    torch.testing.assert_close(pause.x[0], walk.x[0], rtol=1e-9, atol=1e-9)


def test_only_samples_that_are_denoised_cost_network_calls() -> None:
    denoiser = Watched()
    times = [[900, 500, 700, 0], [800, 800, 100]]
    result = run([0, 1], OwnTimes(times), SAMPLERS["ddim"], denoiser)
    assert denoiser.times == [[900], [800], [700]]
    assert result.nfe.tolist() == [2, 1]


def test_the_callback_sees_every_step() -> None:
    states: list[State] = []
    run([3], FixedTrajectory([1000, 400, 600, 0]), SAMPLERS["ddim"], callback=states.append)
    assert [int(s.step.t_next) for s in states] == [400, 600, 0]
    assert [int(s.nfe) for s in states] == [1, 1, 2]
    assert [s.x0 is None for s in states] == [False, True, False]
    # The last step of an implicit sampler arrives at the prediction itself.
    torch.testing.assert_close(states[-1].x, states[-1].x0)


def test_noising_again_follows_the_forward_process() -> None:
    """From t to s: x_s has alpha_s x0 and a variance of sigma_s^2 if x_t had them at t."""

    class Clean(Recipe):
        def start(self, noise: NoiseStream) -> Tensor:
            return torch.full((1, 1, 200, 200), 0.5)

    stream = NoiseStream([NoiseField(1)], [(0, 0)])
    path = FixedTrajectory([0, 200, 600])
    x = sample(Watched(), Clean(), path, SAMPLERS["ddpm"], stream, LEVELS).x
    assert float(x.mean()) == pytest.approx(0.5 * float(LEVELS.alpha[600]), abs=0.02)
    assert float(x.std()) == pytest.approx(float(LEVELS.sigma[600]), abs=0.02)


def test_repaint_as_the_authors_run_it_makes_2410_calls_and_2160_jumps_up() -> None:
    ups = 0

    def count(state: State) -> None:
        nonlocal ups
        ups += state.x0 is None

    path = FixedTrajectory(repaint_times(LEVELS.spaced(250)))
    result = run([0], path, SAMPLERS["ddim"], callback=count)
    assert int(result.nfe) == path.nfe == 2410
    assert ups == 2160
    assert bool(result.x.isfinite().all())


def test_hooks_are_called_in_order() -> None:
    calls: list[str] = []

    class Noting(Recipe):
        def start(self, noise: NoiseStream) -> Tensor:
            calls.append("start")
            return noise.draw(torch.zeros(1, 1, 2, 2))

        def before(self, x: Tensor, step: Step, noise: NoiseStream) -> Tensor:
            calls.append(f"before {int(step.t)}")
            return x

        def on_x0(self, prediction: Prediction, step: Step) -> Prediction:
            calls.append("on_x0")
            return Prediction(torch.full_like(prediction.x0, 0.25), prediction.eps)

        def after(self, x: Tensor, step: Step) -> Tensor:
            calls.append(f"after {int(step.t_next)}")
            return x

        def finish(self, x: Tensor) -> Tensor:
            calls.append("finish")
            return x + 1

    stream = NoiseStream([NoiseField(0)], [(0, 0)])
    x = sample(Watched(), Noting(), FixedTrajectory([9, 4, 0]), SAMPLERS["ddim"], stream, LEVELS).x
    assert calls == [
        *["start", "before 9", "on_x0", "after 4", "before 4", "on_x0", "after 0", "finish"]
    ]
    assert bool((x == 1.25).all())


@pytest.mark.skipif("artifusion-he" not in bundled(), reason="its weights are not here")
def test_a_recipe_as_an_outsider_would_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs the code of the guide, which uses public modules only."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    recipe = [line for line in blocks[0].splitlines() if line.strip()]
    assert len(recipe) <= 30
    there: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), there)  # noqa: S102
    assert capsys.readouterr().out == "torch.Size([2, 3, 64, 64]) tensor([3, 3])\n"
    image, first = there["image"], there["result"].x
    assert float(first.abs().max()) <= 1
    assert not torch.equal(first[0], first[1])
    # A variation from a lower level of noise is nearer to the image.
    near = there["variations"](image, t=50, steps=2, seeds=[0, 1]).x
    assert (near - image).square().mean() < (first - image).square().mean()
    # Alone it is the same, but for what a batch of another size changes in the last bits.
    alone = there["variations"](image, t=50, steps=2, seeds=[1]).x
    torch.testing.assert_close(alone[0], near[1], rtol=0, atol=1e-4)


def test_a_recipe_must_say_where_x_starts() -> None:
    path, stream = FixedTrajectory([1, 0]), NoiseStream([], [])
    with pytest.raises(NotImplementedError):
        sample(Watched(), Recipe(), path, SAMPLERS["ddim"], stream, LEVELS)
