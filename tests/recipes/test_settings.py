from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest

from histomend.errors import SettingError
from histomend.models import ModelConfig
from histomend.networks.build import ARCHS, CALIBRATED_ARCHS, LATENT_ARCHS, TRANSLATION_ARCHS
from histomend.recipes import settings
from histomend.recipes.calibrated import CALIBRATED_PRESETS
from histomend.recipes.settings import CONDITIONAL_PRESETS, LATENT_PRESETS, PRESETS, sampling

CONFIG = ModelConfig("artifusion", "small", fast_steps=9, sampler="dpmpp_2m")
LEVELS = CONFIG.noise_schedule()


@lru_cache(maxsize=1)
def rows() -> list[dict[str, Any]]:
    return settings.table()


def test_fast_is_what_the_model_was_measured_best_with() -> None:
    chosen = sampling("fast", CONFIG)
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
    assert callable(sampling("fast", CONFIG, sampler=name).make_sampler(LEVELS, learned))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "slow"}, r"'slow'.*fast, paper, author_code"),
        ({"preset": "fast", "sampler": "euler"}, r"'euler'.*ddpm, ddim, dpmpp_2m"),
        ({"preset": "fast", "steps": 1001}, "from 1 to 1000"),
        ({"preset": "paper", "steps": 0}, "from 1 to 1000"),
    ],
)
def test_settings_that_do_not_exist_are_refused(arguments: dict[str, Any], message: str) -> None:
    preset = arguments.pop("preset")
    with pytest.raises(SettingError, match=message):
        sampling(preset, CONFIG, **arguments)


def test_the_table_has_a_row_for_every_arch_and_preset() -> None:
    keys = ["method", "arch", "preset", "parameters", "macs", "steps", "use"]
    assert all(list(row) == keys for row in rows())
    expected = [
        *(("artifusion", arch, preset) for arch in ARCHS for preset in PRESETS),
        *(("latent-artifusion", arch, p) for arch in LATENT_ARCHS for p in LATENT_PRESETS),
        *(("rscd", arch, preset) for arch in CALIBRATED_ARCHS for preset in CALIBRATED_PRESETS),
        *(("conditional", arch, p) for arch in CALIBRATED_ARCHS for p in CONDITIONAL_PRESETS),
        *(("noise2noise", arch, "fast") for arch in CALIBRATED_ARCHS),
        *(("cyclegan", arch, "fast") for arch in TRANSLATION_ARCHS),
    ]
    assert [(row["method"], row["arch"], row["preset"]) for row in rows()] == expected


def test_the_table_has_the_papers_sizes() -> None:
    sizes = {
        row["arch"]: (row["parameters"], row["macs"] / 1e9)
        for row in rows()
        if row["method"] == "artifusion"
    }
    assert [sizes[arch][0] for arch in ("full", "add", "unet")] == [
        *[29_671_620, 27_742_740, 108_414_979]
    ]
    # The paper counts 7.73 G multiply-accumulates without the attention products.
    assert sizes["full"][1] == pytest.approx(8.1, abs=0.2)


def test_the_table_counts_network_calls() -> None:
    steps = {row["preset"]: row["steps"] for row in rows() if row["method"] == "artifusion"}
    assert (steps["paper"], steps["author_code"]) == (250, 2410)
    assert steps["fast"] <= 25


def test_a_method_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingError, match=r"'median'.*artifusion"):
        settings.table("median")


def test_the_latent_system_takes_50_ancestral_steps_or_at_most_ten_calls() -> None:
    config = ModelConfig("latent-artifusion", "small", latent_channels=8, factor=8, fast_steps=12)
    paper = sampling("paper", config)
    assert (paper.sampler, paper.context, paper.nfe(LEVELS)) == ("ddpm", False, 50)
    assert sampling("fast", config).nfe(LEVELS) == 10
    assert sampling("fast", replace(config, fast_steps=6)).nfe(LEVELS) == 6
    with pytest.raises(SettingError, match=r"author_code does not exist for latent.*clean pixels"):
        sampling("author_code", config)


def test_the_table_has_the_latent_papers_sizes() -> None:
    latent = [row for row in settings.table("latent-artifusion") if row["arch"] == "paper"]
    assert [row["preset"] for row in latent] == ["fast", "paper"]
    assert {row["parameters"] for row in latent} == {113_675_524}
    assert latent[0]["macs"] / 1e9 == pytest.approx(3.9, abs=0.2)
    assert "83.7 M parameters, 136.4 GMAC to encode and 311.1 to decode" in latent[0]["use"]


def test_conditional_diffusion_takes_few_calls_or_sr3s_100() -> None:
    config = ModelConfig("conditional", "small", "v", context=False, fast_steps=8)
    paper = sampling("paper", config)
    assert (paper.sampler, paper.variance, paper.nfe(LEVELS)) == ("ddpm", "beta", 100)
    assert sampling("fast", config).nfe(LEVELS) == 8
    with pytest.raises(SettingError, match=r"conditional is called 'author_code'.*fast, paper"):
        sampling("author_code", config)


def test_the_table_says_that_with_rscd_the_calibrator_plans() -> None:
    paper = [row for row in settings.table("rscd") if row["arch"] == "paper"]
    steps = {row["preset"]: row["steps"] for row in paper}
    assert (steps["fast"], steps["paper"], steps["fixed_50"]) == (8, "as calibrated", 50)
    # The authors' two channels make 1,298 GMAC.
    assert paper[0]["macs"] / 1e9 == pytest.approx(1298, rel=0.01)
