"""Every arch and preset is listed, with what it costs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from histomend.errors import SettingError
from histomend.methods import METHODS, catalogue
from histomend.networks.build import ARCHS, CALIBRATED_ARCHS, LATENT_ARCHS, TRANSLATION_ARCHS
from histomend.networks.latent_unet import latent_unet
from histomend.networks.rrdb import RRDB_ARCHS
from histomend.networks.swinir import SWINIR_ARCHS


def presets(method: str) -> list[str]:
    return list(METHODS[method].presets)


@lru_cache(maxsize=1)
def rows() -> list[dict[str, Any]]:
    return catalogue.table()


def test_the_table_has_a_row_for_every_arch_and_preset() -> None:
    keys = ["method", "arch", "preset", "parameters", "macs", "steps", "use", "how"]
    assert all(list(row) == keys for row in rows())
    priors = [arch for arch, network in LATENT_ARCHS.items() if network.make is latent_unet]
    expected = [
        *(("artifusion", arch, preset) for arch in ARCHS for preset in presets("artifusion")),
        *(
            ("latent-artifusion", arch, p)
            for arch in LATENT_ARCHS
            for p in presets("latent-artifusion")
        ),
        *(("rscd", arch, preset) for arch in CALIBRATED_ARCHS for preset in presets("rscd")),
        *(("conditional", arch, p) for arch in CALIBRATED_ARCHS for p in presets("conditional")),
        *(("noise2noise", arch, "fast") for arch in CALIBRATED_ARCHS),
        *(("cyclegan", arch, "fast") for arch in TRANSLATION_ARCHS),
        *(("swinir", arch, "any") for arch in SWINIR_ARCHS),
        *(
            ("histo-diffusion", arch, preset)
            for arch in (*priors, "stable-diffusion")
            for preset in presets("histo-diffusion")
        ),
        *(("rrdb-gan", arch, "any") for arch in RRDB_ARCHS),
        *(("swinir-gan", arch, "any") for arch in SWINIR_ARCHS),
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
    assert steps["generate"] <= 25


def test_a_method_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingError, match=r"'median'.*artifusion"):
        catalogue.table("median")


def test_the_table_has_the_latent_papers_sizes() -> None:
    latent = [row for row in catalogue.table("latent-artifusion") if row["arch"] == "paper"]
    assert [row["preset"] for row in latent] == ["exemplar", "generate", "paper"]
    assert {row["parameters"] for row in latent} == {113_675_524}
    assert latent[0]["macs"] / 1e9 == pytest.approx(3.9, abs=0.2)
    assert "83.7 M parameters, 136.4 GMAC to encode and 311.1 to decode" in latent[0]["use"]


def test_the_table_says_that_with_rscd_the_calibrator_plans() -> None:
    paper = [row for row in catalogue.table("rscd") if row["arch"] == "paper"]
    steps = {row["preset"]: row["steps"] for row in paper}
    assert (steps["fast"], steps["paper"], steps["fixed_50"]) == (8, "as calibrated", 50)
    # The authors' two channels make 1,298 GMAC.
    assert paper[0]["macs"] / 1e9 == pytest.approx(1298, rel=0.01)


def test_both_stages_of_histo_diffusion_are_listed_with_the_papers_sizes() -> None:
    rows = {(row["method"], row["arch"]): row for row in catalogue.table("histo-diffusion")}
    assert rows["swinir", "paper"]["parameters"] == 15_792_587
    paper = rows["histo-diffusion", "stable-diffusion"]
    assert paper["parameters"] == 865_910_724 + 363_153_280
    assert (paper["preset"], paper["steps"]) == ("paper", 50)
