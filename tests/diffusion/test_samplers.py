"""Every sampler against the one of diffusers, over whole trajectories and with the same noise.

diffusers is the oracle only; the package never imports it. Importing it takes seconds, so all
comparisons with it are in this file, and it may warn about its own dependencies, which says
nothing about ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from histomend.diffusion import samplers, schedule
from histomend.diffusion.denoiser import Denoiser, Prediction
from histomend.diffusion.loop import Recipe, State, sample
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.samplers import Sampler
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import FixedTrajectory, Step
from histomend.errors import SettingError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    from diffusers.schedulers import scheduling_ddpm
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning:diffusers.*", "ignore::DeprecationWarning:diffusers.*"
)

SHAPE = (2, 3, 4, 5)
# Our name of a schedule, and diffusers' name and settings of the same.
BETAS: dict[str, tuple[Schedule, dict[str, Any]]] = {
    "linear": (
        schedule.linear(1000),
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    ),
    "scaled_linear": (
        schedule.scaled_linear(1000),
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
    "cosine": (schedule.cosine(1000), {"beta_schedule": "squaredcos_cap_v2"}),
}


class Gaussian(nn.Module):
    """Knows the noise in x_t exactly if x0 is normal around 0.3 with deviation 0.5.

    A little more makes it nonlinear, and the second half of its output is a learned variance.
    """

    def __init__(self, levels: Schedule, learned_variance: bool = False):
        super().__init__()
        self.levels = levels
        self.learned_variance = learned_variance

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.levels.at(t, x)
        eps = sigma * (x - 0.3 * alpha) / (0.25 * alpha**2 + sigma**2)
        eps = eps + 0.1 * alpha * torch.tanh(x)
        return torch.cat([eps, torch.sin(3 * x)], 1) if self.learned_variance else eps


class Draws(NoiseStream):
    """Noise from a list that diffusers gets too."""

    def __init__(self, values: list[Tensor]):
        super().__init__([], [])
        self.values = iter(values)

    def draw(self, like: Tensor, which: Tensor | None = None) -> Tensor:
        return next(self.values).to(like)


class FromNoise(Recipe):
    def start(self, noise: NoiseStream) -> Tensor:
        return noise.draw(torch.zeros(SHAPE, dtype=torch.float64))


def noises(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


def ours(
    network: Gaussian, sampler: Sampler, times: list[int], draws: list[Tensor]
) -> list[Tensor]:
    """Return x after every step of our loop."""
    states: list[Tensor] = []

    def keep(state: State) -> None:
        states.append(state.x.clone())

    levels = network.levels
    denoiser = Denoiser(network, levels, "epsilon")
    sample(
        denoiser, FromNoise(), FixedTrajectory(times), sampler, Draws(draws), levels, callback=keep
    )
    return states


def theirs(
    network: Gaussian,
    timesteps: Tensor,
    step: Callable[[Tensor, int, Tensor, Tensor], Any],
    draws: list[Tensor],
) -> list[Tensor]:
    """Return x after every step of a diffusers scheduler."""
    x, *rest = draws
    states = []
    for k, noise in zip(timesteps.tolist(), rest, strict=False):
        output = network(x, torch.full((len(x),), k + 1))
        x = step(output, k, x, noise).prev_sample
        states.append(x)
    return states


def in_float64(scheduler: Any, levels: Schedule) -> Any:
    """Give a diffusers scheduler exact tables: its own lose digits to float32."""
    alphas = levels.alpha[1:] ** 2
    assert torch.allclose(scheduler.alphas_cumprod.double(), alphas, rtol=1e-4, atol=1e-7)
    scheduler.alphas_cumprod = alphas
    for name in ("alpha_t", "sigma_t", "lambda_t"):
        if hasattr(scheduler, name):
            alpha, sigma = levels.alpha[1:], levels.sigma[1:]
            exact = {"alpha_t": alpha, "sigma_t": sigma, "lambda_t": (alpha / sigma).log()}
            setattr(scheduler, name, exact[name])
    return scheduler


def assert_equal(mine: list[Tensor], oracle: list[Tensor], tolerance: float = 1e-5) -> None:
    assert len(mine) == len(oracle)
    worst = max(float((a - b).abs().max()) for a, b in zip(mine, oracle, strict=True))
    assert worst <= tolerance, worst


@pytest.mark.parametrize("name", BETAS)
def test_schedules_have_the_betas_of_diffusers(name: str) -> None:
    levels, settings = BETAS[name]
    alpha_bar = levels.alpha**2
    betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
    oracle = DDPMScheduler(num_train_timesteps=1000, **settings).betas.double()
    assert torch.allclose(betas, oracle, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "steps"), [("linear", 1000), ("linear", 50), ("scaled_linear", 50), ("cosine", 50)]
)
@pytest.mark.parametrize(
    ("variance", "kind"),
    [("posterior", "fixed_small"), ("beta", "fixed_large"), ("learned", "learned_range")],
)
def test_ddpm(
    name: str, steps: int, variance: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels, settings = BETAS[name]
    network = Gaussian(levels, learned_variance=variance == "learned")
    # The last step adds no noise (DDPM, algorithm 1); diffusers sees to that at timestep 0 only.
    draws = [*noises(steps), torch.zeros(SHAPE, dtype=torch.float64)]
    scheduler = in_float64(
        DDPMScheduler(
            variance_type=kind, clip_sample=False, timestep_spacing="trailing", **settings
        ),
        levels,
    )
    scheduler.set_timesteps(steps)

    def step(output: Tensor, k: int, x: Tensor, noise: Tensor) -> Any:
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: noise)
        return scheduler.step(output, k, x)

    times = levels.spaced(steps)
    assert times == [*(k + 1 for k in scheduler.timesteps.tolist()), 0]
    mine = ours(network, samplers.ddpm(levels, variance), times, draws)
    assert_equal(mine, theirs(network, scheduler.timesteps, step, draws))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "steps"), [("linear", 1000), ("scaled_linear", 20), ("cosine", 25)]
)
def test_ddim(name: str, steps: int, eta: float) -> None:
    levels, settings = BETAS[name]
    network = Gaussian(levels)
    draws = noises(steps + 1)
    scheduler = in_float64(
        DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **settings), levels
    )
    scheduler.set_timesteps(steps)

    def step(output: Tensor, k: int, x: Tensor, noise: Tensor) -> Any:
        return scheduler.step(output, k, x, eta=eta, variance_noise=noise if eta else None)

    mine = ours(network, samplers.ddim(levels, eta), levels.spaced(steps), draws)
    assert_equal(mine, theirs(network, scheduler.timesteps, step, draws))


@pytest.mark.parametrize(
    ("name", "steps"), [("linear", 1000), ("scaled_linear", 20), ("cosine", 8)]
)
@pytest.mark.parametrize(
    ("make", "kind"),
    [(samplers.dpmpp_2m, "dpmsolver++"), (samplers.dpmpp_2m_sde, "sde-dpmsolver++")],
)
def test_dpmpp(name: str, steps: int, make: Callable[[Schedule], Sampler], kind: str) -> None:
    levels, settings = BETAS[name]
    network = Gaussian(levels)
    draws = noises(steps + 1)
    scheduler = in_float64(
        DPMSolverMultistepScheduler(
            algorithm_type=kind,
            solver_order=2,
            solver_type="midpoint",
            final_sigmas_type="zero",
            timestep_spacing="trailing",
            **settings,
        ),
        levels,
    )
    scheduler.set_timesteps(steps)
    # Its own noise levels are float32 again.
    index = scheduler.timesteps + 1
    sigmas = levels.sigma[index] / levels.alpha[index]
    assert torch.allclose(scheduler.sigmas[:-1].double(), sigmas, rtol=1e-4)
    scheduler.sigmas = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])

    def step(output: Tensor, k: int, x: Tensor, noise: Tensor) -> Any:
        return scheduler.step(output, k, x, variance_noise=noise)

    mine = ours(network, make(levels), levels.spaced(steps), draws)
    assert_equal(mine, theirs(network, scheduler.timesteps, step, draws))


@pytest.mark.parametrize("t_next", [(400, 1, 0), (0, 699, 2)])
@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_a_step_may_have_any_length_and_differ_within_a_batch(
    name: str, t_next: tuple[int, ...]
) -> None:
    levels = schedule.linear(1000)
    sampler = samplers.SAMPLERS[name](levels)
    t = torch.tensor([500, 700, 3])
    noise = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(1)).double()
    denoiser = Denoiser(Gaussian(levels), levels, "epsilon")

    def moved(rows: slice) -> Tensor:
        x = noise[rows] + 0.3
        step = Step(t[rows], torch.tensor(t_next)[rows])
        drawn = 2 * noise[rows]
        return sampler(x, denoiser(x, step.t), step, lambda: drawn, None)[0]

    alone = torch.cat([moved(slice(row, row + 1)) for row in range(3)])
    torch.testing.assert_close(moved(slice(0, 3)), alone, rtol=0, atol=1e-12)


def test_extra_noise_widens_what_is_sampled() -> None:
    """x0 is normal here with a known deviation, so what the noise adds can be seen."""
    levels = schedule.cosine(1000)
    spread = []
    for extra in (0.0, 0.12, 0.3):
        sampler = samplers.dpmpp_2m_sde(levels, extra)
        last = ours(Gaussian(levels), sampler, levels.spaced(12), noises(13))[-1]
        spread.append(float(last.std()))
    assert spread[0] < spread[1] < spread[2]


def test_learned_variance_needs_a_network_that_has_one() -> None:
    levels = schedule.linear(10)
    with pytest.raises(SettingError, match="'posterior' or 'beta'"):
        ours(Gaussian(levels), samplers.ddpm(levels, "learned"), [10, 5], noises(3))


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(SettingError, match=r"'euler'.*ddpm, ddim, dpmpp_2m, dpmpp_2m_sde"):
        samplers.sampler_named("euler", schedule.linear(10))


def test_extra_noise_grows_with_the_square_of_sigma() -> None:
    """S_noise is 1 + extra sigma_t^2, so that late steps hardly get any."""
    levels, unit = schedule.cosine(1000), torch.ones(1, 1, 1, 1)
    flat = Prediction(x0=torch.zeros_like(unit), eps=torch.zeros_like(unit))
    step = Step(torch.tensor([500]), torch.tensor([400]))
    plain, more = (
        samplers.dpmpp_2m_sde(levels, extra)(0 * unit, flat, step, lambda: unit, None)[0]
        for extra in (0.0, 0.5)
    )
    sigma = levels.at(step.t, unit)[1]
    assert torch.allclose(more / plain, 1 + 0.5 * sigma**2)
