"""What is wrong with an image, and what is done about it: the plan of `histomend auto`.

It prefers to leave an image alone: what is not sure, or more than a small share of the tissue, is
told and not done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histomend.baselines.noise_estimate import noise_level
from histomend.detect.found import Found
from histomend.detect.learned import find
from histomend.detect.suitability import odd_stain
from histomend.errors import SettingError
from histomend.image.depth import eight_bit
from histomend.image.pixels import Region
from histomend.masks.artifact_classes import INSTEAD, RESTORABLE
from histomend.methods import MAX_SHARE
from histomend.slides.source import ImageLike, picture_source

# Regions of a class that is restored are at least as likely artifacts as this, each of them.
SURE = 0.8
# Standard deviation of the noise, of 255, from which on an image is noisy: clean scans have 1 or
# less, and what a denoiser takes away from them is detail.
NOISY = 4.0
# Middle of the image that noise is estimated in, px.
_NOISE_PX = 256
# What is as coarse as this has lost what nuclei are judged by.
COARSE_UM = 0.8


@dataclass(frozen=True)
class AutoStep:
    """One thing that may be done.

    Parameters
    ----------
    what : str
        The verb, or what is wrong where no verb helps.
    done : bool
        Whether it is done, or only told.
    why : str
    """

    what: str
    done: bool
    why: str


@dataclass(frozen=True)
class AutoPlan:
    """What is to be done to an image.

    Parameters
    ----------
    steps : tuple of AutoStep
    classes : tuple of str
        Of artifacts that are restored; empty to leave the image alone.
    """

    steps: tuple[AutoStep, ...]
    classes: tuple[str, ...]


def plan(
    image: ImageLike,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    max_share: float = MAX_SHARE,
    sure: float = SURE,
) -> AutoPlan:
    """Look at an image, and decide what to do.

    Parameters
    ----------
    image : (H, W, 3) array, PIL image, path, or Image
    mpp, region
        As of `histomend.restore`.
    max_share : float in [0, 1]
        Of the tissue, that is restored at most.
    sure : float in [0, 1]
        How likely each region of a class must be an artifact for the class to be restored.

    Raises
    ------
    InputError
    SettingError
        A share or a probability that is none.
    """
    for name, value in (("--max-share", max_share), ("--sure", sure)):
        if not 0 <= value <= 1:
            raise SettingError(f"{name} is {value:g}, but must be from 0 to 1.")
    source = picture_source(image, mpp=mpp, region=region)
    pixels = eight_bit(source.values[0])
    found = find(pixels, mpp=source.mpp, where=source.where).found
    steps, classes = _artifacts(found, odd_stain(pixels), max_share, sure)
    steps += _badly_seen(found)
    y, x = (max(0, (n - _NOISE_PX) // 2) for n in pixels.shape[:2])
    middle = pixels[y : y + _NOISE_PX, x : x + _NOISE_PX].astype(np.float64)
    noise = noise_level(middle)
    if noise >= NOISY:
        why = f"noise of {noise:.1f} of 255: histomend denoise changes all of the image, so look"
        steps.append(AutoStep("denoise", False, why))
    if found.places.mpp >= COARSE_UM:
        why = f"{found.places.mpp:g} um per pixel: histomend upscale makes detail up"
        steps.append(AutoStep("upscale", False, why))
    return AutoPlan(tuple(steps), classes)


def _artifacts(
    found: Found, odd: str | None, max_share: float, sure: float
) -> tuple[list[AutoStep], tuple[str, ...]]:
    """Decide which classes of artifacts are restored."""
    shares = found.shares()
    steps: list[AutoStep] = []
    classes: list[str] = []
    for name in RESTORABLE:
        regions = found.of([name])
        if not regions:
            continue
        least = min(region.probability for region in regions)
        what = f"{name.replace('_', ' ')}: {len(regions)} on {shares[name]:.2%} of the tissue"
        if odd is not None:
            steps.append(AutoStep("restore", False, f"{what}; {odd}"))
        elif least < sure:
            why = f"{what}; the least sure with probability {least:.2f}, under {sure:g}"
            steps.append(AutoStep("restore", False, why))
        else:
            steps.append(AutoStep("restore", True, f"{what}, probability {least:.2f} or more"))
            classes.append(name)
    taken = sum(shares[name] for name in classes)
    if taken > max_share:
        why = f"{taken:.1%} of the tissue, more than --max-share {max_share:g}: look before"
        steps = [AutoStep(step.what, False, f"{step.why}; {why}") for step in steps]
        classes = []
    if not steps:
        steps = [AutoStep("restore", False, "no artifact was found that could be restored")]
    return steps, tuple(classes)


def _badly_seen(found: Found) -> list[AutoStep]:
    shares = found.shares()
    return [
        AutoStep(name.replace("_", " "), False, f"{shares[name]:.1%} of the tissue: {helps}")
        for name, helps in INSTEAD.items()
        if any(region.kind == name for region in found.regions)
    ]


def describe(path: Path, planned: AutoPlan) -> dict[str, object]:
    """Return a plan as values that JSON holds."""
    return {
        "source": str(path),
        "restored": list(planned.classes),
        "steps": [
            {"what": step.what, "done": step.done, "why": step.why} for step in planned.steps
        ],
    }
