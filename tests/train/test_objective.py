from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from histomend.diffusion.schedule import Schedule, cosine, linear
from histomend.errors import SettingError
from histomend.train import objective

SCHEDULES = {"linear": linear(250), "cosine": cosine(1000)}


def sample(levels: Schedule, t: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x0, eps, t and x_t; pixels of x0 are 8-bit, black and white among them."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(t), 3, 8, 8)
    grey = torch.randint(0, 256, shape, generator=generator)
    grey[:, :, 0, 0], grey[:, :, 0, 1] = 0, 255
    x0 = grey.double() / 127.5 - 1
    eps = torch.randn(shape, generator=generator, dtype=torch.float64)
    times = torch.tensor(t)
    return x0, eps, times, levels.noised(x0, times, eps)


def answers(levels: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> dict[str, Tensor]:
    alpha, sigma = levels.at(t, x0)
    return {"x0": x0, "epsilon": eps, "v": alpha * eps - sigma * x0}


@pytest.mark.parametrize("kind", ["x0", "epsilon", "v"])
def test_the_right_answer_has_no_loss_and_a_wrong_one_has(kind: str) -> None:
    levels = SCHEDULES["cosine"]
    x0, eps, t, x = sample(levels, [1, 500, 1000])
    answer = answers(levels, x0, eps, t)[kind]
    mask = torch.ones(3, 1, 8, 8)

    def loss(output: Tensor) -> float:
        return float(objective.loss(output, x0, x, eps, t, mask, levels, kind))  # type: ignore[arg-type]

    assert loss(answer) == 0
    assert loss(answer + 0.1) > 0


def test_the_error_of_x0_is_weighted_to_be_that_of_v() -> None:
    levels = SCHEDULES["cosine"]
    x0, eps, t, x = sample(levels, [400, 900])
    guess = x0 + 0.2
    alpha, sigma = levels.at(t, x)
    v = alpha * (x - alpha * guess) / sigma - sigma * guess
    mask = torch.ones(2, 1, 8, 8)
    losses = [
        objective.loss(output, x0, x, eps, t, mask, levels, kind)  # type: ignore[arg-type]
        for output, kind in ((guess, "x0"), (v, "v"))
    ]
    torch.testing.assert_close(losses[0], losses[1])
    # Near the clean end the weight would have no limit.
    x0, eps, t, x = sample(levels, [1])
    bounded = objective.loss(x0 + 1, x0, x, eps, t, mask[:1], levels, "x0")
    assert float(bounded) == pytest.approx(objective.MAX_X0_WEIGHT)


def test_what_is_shown_counts_for_a_tenth() -> None:
    levels = SCHEDULES["cosine"]
    x0, eps, t, x = sample(levels, [500])
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    inside, outside = eps.clone(), eps.clone()
    inside[..., :4] += 1
    outside[..., 4:] += 1
    first, second = (
        float(objective.loss(output, x0, x, eps, t, mask, levels, "epsilon"))
        for output in (inside, outside)
    )
    assert second == pytest.approx(objective.VISIBLE_WEIGHT * first)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", ["epsilon", "x0", "v"])
def test_the_learned_variance_is_trained_on_the_variational_bound(name: str, kind: str) -> None:
    """Written out with PyTorch's distributions (Ho et al. 2020, eq. 5 to 8 and 13)."""
    levels = SCHEDULES[name]
    x0, eps, t, x = sample(levels, [1, 2, 100, 250])
    mean = answers(levels, x0, eps, t)[kind] * 0.9
    variance = torch.sin(3 * x)
    found = objective.likelihood_term(mean, variance, x0, x, t, levels, kind)  # type: ignore[arg-type]

    alpha_bar = levels.alpha**2
    betas = torch.cat([torch.zeros(1).double(), 1 - alpha_bar[1:] / alpha_bar[:-1]])
    for row, k in enumerate(t.tolist()):
        a, s = levels.alpha[k], levels.sigma[k]
        guess = {
            "epsilon": (x[row] - s * mean[row]) / a,
            "x0": mean[row],
            "v": a * x[row] - s * mean[row],
        }[kind]

        def posterior_variance(k: int) -> Tensor:
            return betas[k] * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])

        def posterior_mean(clean: Tensor, k: int = k, row: int = row) -> Tensor:
            return (
                alpha_bar[k - 1].sqrt() * betas[k] / (1 - alpha_bar[k]) * clean
                + (1 - betas[k]).sqrt() * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k]) * x[row]
            )

        # The first step's posterior has no width and borrows that of the second.
        least = posterior_variance(max(k, 2))
        mix = (variance[row] + 1) / 2
        width = torch.exp(0.5 * (mix * betas[k].log() + (1 - mix) * least.log()))
        if k > 1:
            truth = Normal(posterior_mean(x0[row]), least.sqrt().expand_as(width))
            nats = kl_divergence(truth, Normal(posterior_mean(guess), width))
        else:
            model = Normal(guess.clamp(-1, 1), width)
            upper, lower = model.cdf(x0[row] + 1 / 255), model.cdf(x0[row] - 1 / 255)
            upper = torch.where(x0[row] == 1, 1, upper)
            lower = torch.where(x0[row] == -1, 0, lower)
            nats = -(upper - lower).clamp(min=1e-12).log()
        torch.testing.assert_close(found[row], nats / math.log(2), rtol=1e-6, atol=1e-6)


def test_the_bound_trains_the_variance_alone() -> None:
    levels = SCHEDULES["linear"]
    x0, eps, t, x = sample(levels, [3, 200])
    output = torch.cat([eps, torch.sin(x)], 1).requires_grad_()
    mask = torch.ones(2, 1, 8, 8)
    loss = objective.loss(output, x0, x, eps, t, mask, levels, "epsilon")
    bits = objective.likelihood_term(eps, torch.sin(x), x0, x, t, levels, "epsilon")
    torch.testing.assert_close(loss.detach(), bits.mean() * 250 / 1000)
    loss.backward()
    assert output.grad is not None
    assert not output.grad[:, :3].any()
    assert bool(output.grad[:, 3:].any())


def test_an_unknown_prediction_is_named() -> None:
    levels = SCHEDULES["linear"]
    x0, eps, t, x = sample(levels, [3])
    mask = torch.ones(1, 1, 8, 8)
    with pytest.raises(SettingError, match="'score'"):
        objective.loss(eps, x0, x, eps, t, mask, levels, "score")  # type: ignore[arg-type]
