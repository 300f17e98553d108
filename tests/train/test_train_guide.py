from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from histomend.cli.adversarial_training import cyclegan
from histomend.cli.calibrated_training import calibrator, rscd
from histomend.cli.judging_training import encoder, iqa
from histomend.cli.paired_training import conditional, noise2noise
from histomend.cli.training import artifusion, latent_artifusion, vae
from histomend.cli.upscaling_training import control, rrdb_gan, swinir, swinir_gan
from histomend.train import conditional as conditioned
from histomend.train import cyclegan as unpaired
from histomend.train import latent_artifusion as latent
from histomend.train import noise2noise as noisy
from histomend.train import rscd as whole_fields
from histomend.train import settings
from histomend.train.artifusion import train
from histomend.train.autoencoder import train_vae
from histomend.train.calibrator import train_calibrator
from histomend.train.control import train_control
from histomend.train.encoder import train_encoder
from histomend.train.iqa import train_iqa
from histomend.train.restoration_module import train_restoration
from histomend.train.restoring_gan import train_restoring_gan

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "train.md"
# Of other commands in the guide.
OTHERS = {"--model", "--mask", "--method", "--multi_gpu", "--num_processes", "--scale"}
VERBS: dict[Callable[..., None], Callable[..., Any]] = {
    artifusion: train,
    vae: train_vae,
    latent_artifusion: latent.train,
    calibrator: train_calibrator,
    rscd: whole_fields.train,
    swinir: train_restoration,
    control: train_control,
    rrdb_gan: train_restoring_gan,
    swinir_gan: train_restoring_gan,
    cyclegan: unpaired.train,
    conditional: conditioned.train,
    noise2noise: noisy.train,
    encoder: train_encoder,
    iqa: train_iqa,
}


def parameters(function: Callable[..., Any]) -> set[str]:
    """Return the names of a function's own parameters, and for `**options` those in its type."""
    names = set(inspect.signature(function).parameters)
    if "options" in names:
        kind = re.fullmatch(r"Unpack\[(\w+)\]", function.__annotations__["options"])
        assert kind is not None
        names |= set(get_type_hints(getattr(settings, kind[1])))
    return names - {"options"}


def test_every_option_in_the_guide_exists() -> None:
    named = set(re.findall(r"--[a-z][a-z_-]*", GUIDE.read_text(encoding="utf-8"))) - OTHERS
    options = {"--" + name.replace("_", "-") for verb in VERBS for name in parameters(verb)}
    assert named - options - {"--no-context", "--no-augmented"} == set()


def test_every_command_in_the_guide_names_options_of_its_verb() -> None:
    commands = re.findall(r"^.*histomend train (\S+) (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _ in commands} == {verb.__name__.replace("_", "-") for verb in VERBS}
    for name, words in commands:
        (verb,) = (v for v in VERBS if v.__name__ == name.replace("-", "_"))
        options = {"--" + each.replace("_", "-") for each in parameters(verb)}
        assert set(re.findall(r"--[a-z][a-z-]*", words)) <= options


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_hands_on_only_what_training_takes(verb: Callable[..., None]) -> None:
    assert parameters(verb) <= parameters(VERBS[verb])


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_and_python_have_the_same_defaults(verb: Callable[..., None]) -> None:
    theirs = inspect.signature(VERBS[verb]).parameters
    for name, own in inspect.signature(verb).parameters.items():
        if name in theirs:
            assert getattr(own.default, "value", own.default) == theirs[name].default


@pytest.mark.parametrize(
    ("settled", "given"),
    [
        (settings.RunSettings, settings.RunOptions),
        (settings.MixedSettings, settings.MixedOptions),
    ],
)
def test_all_that_is_settled_may_be_given(settled: type, given: type) -> None:
    assert get_type_hints(settled) == get_type_hints(given)
