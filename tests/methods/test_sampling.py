from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from histomend.errors import SettingError
from histomend.methods.sampling import sampling
from histomend.models import ModelConfig

CONFIG = ModelConfig("artifusion", "small", fast_steps=9, sampler="dpmpp_2m")
LEVELS = CONFIG.noise_schedule()


def test_fast_is_what_the_model_was_measured_best_with() -> None:
    chosen = sampling("generate", CONFIG)
    assert (chosen.steps, chosen.sampler, chosen.context) == (9, "dpmpp_2m", True)
    assert chosen.nfe(LEVELS) == 9


def test_paper_takes_250_ancestral_steps_without_context() -> None:
    chosen = sampling("paper", CONFIG)
    assert (chosen.sampler, chosen.context) == ("ddpm", False)
    assert chosen.nfe(LEVELS) == 250
    assert len(chosen.times(LEVELS)) == 251


def test_author_code_makes_the_authors_2410_calls() -> None:
    chosen = sampling("author_code", CONFIG)
    times = chosen.times(LEVELS)
    assert chosen.nfe(LEVELS) == 2410
    assert len(times) - 1 - 2410 == 2160
    assert (times[0], times[-1]) == (1000, 0)


def test_steps_and_sampler_override_the_preset() -> None:
    chosen = sampling("paper", CONFIG, steps=7, sampler="ddim")
    assert (chosen.preset, chosen.steps, chosen.sampler) == ("paper", 7, "ddim")
    assert chosen.nfe(LEVELS) == 7


def test_a_model_with_a_short_schedule_takes_all_its_steps() -> None:
    short = replace(CONFIG, steps=100)
    assert sampling("paper", short).nfe(short.noise_schedule()) == 100


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize("learned", [False, True])
def test_every_sampler_can_be_made(name: str, learned: bool) -> None:
    assert callable(sampling("generate", CONFIG, sampler=name).make_sampler(LEVELS, learned))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "slow"}, r"'slow'.*exemplar, generate, paper, author_code"),
        ({"preset": "generate", "sampler": "euler"}, r"'euler'.*ddpm, ddim, dpmpp_2m"),
        ({"preset": "generate", "steps": 1001}, "from 1 to 1000"),
        ({"preset": "paper", "steps": 0}, "from 1 to 1000"),
    ],
)
def test_settings_that_do_not_exist_are_refused(arguments: dict[str, Any], message: str) -> None:
    preset = arguments.pop("preset")
    with pytest.raises(SettingError, match=message):
        sampling(preset, CONFIG, **arguments)


def test_the_latent_system_takes_50_ancestral_steps_or_at_most_ten_calls() -> None:
    config = ModelConfig("latent-artifusion", "small", latent_channels=8, factor=8, fast_steps=12)
    paper = sampling("paper", config)
    assert (paper.sampler, paper.context, paper.nfe(LEVELS)) == ("ddpm", False, 50)
    assert sampling("generate", config).nfe(LEVELS) == 10
    assert sampling("generate", replace(config, fast_steps=6)).nfe(LEVELS) == 6
    with pytest.raises(
        SettingError, match=r"latent-artifusion is called .author_code.*clean pixels"
    ):
        sampling("author_code", config)


def test_conditional_diffusion_takes_few_calls_or_sr3s_100() -> None:
    config = ModelConfig("conditional", "small", "v", context=False, fast_steps=8)
    paper = sampling("paper", config)
    assert (paper.sampler, paper.variance, paper.nfe(LEVELS)) == ("ddpm", "beta", 100)
    assert sampling("fast", config).nfe(LEVELS) == 8
    with pytest.raises(SettingError, match=r"conditional is called 'author_code'.*fast, paper"):
        sampling("author_code", config)
