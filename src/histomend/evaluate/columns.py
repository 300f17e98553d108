"""The registry of measures: the columns of tables, and what each needs.

`MEASURES` lists them all: of images one by one, in the order of Histo-Diffusion's Tables 2, 3 and
5; of what is inside masks (ArtiFusion's Table 1); of sets of images (RSCD's). A measure whose
weights or package are not at hand has no column: `open_measures` says so in a note instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from histomend.errors import (
    MissingDependencyError,
    ModelError,
    ModelMismatchError,
    SettingError,
)
from histomend.evaluate import metrics
from histomend.evaluate.column import (
    Column,
    Compares,
    Measure,
    Pixels,
    Place,
    top,
    unavailable,
)
from histomend.evaluate.hover import nuclei_segmenter
from histomend.evaluate.inside import INSIDE
from histomend.evaluate.iqa import load_iqa
from histomend.evaluate.nuclear_features import nuclear_l1
from histomend.evaluate.perceptual import Lpips, ShiftTolerantLpips
from histomend.evaluate.pretrained import features
from histomend.evaluate.pyiqa_scores import pyiqa_scores
from histomend.evaluate.sets import SETS
from histomend.evaluate.similarity import embedding_similarity


def open_measures(
    places: Mapping[str, str | Path], *, mpp: float = 0.5, keys: Sequence[str] | None = None
) -> tuple[dict[str, tuple[Measure, Any]], list[str]]:
    """Load the measures that are at hand.

    Parameters
    ----------
    places : mapping of str to str or Path
        By a measure's name in `MEASURES`, the folder, file or hub name of its weights.
    mpp : float
        Pixel size of the images in um, for the nuclei.
    keys : sequence of str, optional
        Names of the measures that are wanted; by default all that compare images one by one.

    Returns
    -------
    measures : by name, each with what computes its figures (`Measure.of` says what that is)
    notes : for each of the others, that it is not available, and what it needs

    Raises
    ------
    SettingError
        No measure has one of the names.
    """
    images = [name for name, measure in MEASURES.items() if measure.of == "images"]
    wanted = images if keys is None else list(keys)
    unknown = [name for name in (*wanted, *places) if name not in MEASURES]
    if unknown:
        raise SettingError(f"No measure is called {unknown[0]!r}. There are {', '.join(MEASURES)}.")
    opened: dict[str, tuple[Measure, Any]] = {}
    notes = []
    for name in wanted:
        measure, given = MEASURES[name], places.get(name)
        named = " and ".join(column.name for column in measure.columns)
        if measure.asks and given is None:
            notes.append(unavailable(named, measure.needs))
            continue
        try:
            opened[name] = measure, measure.load(Place(given, mpp))
        except (MissingDependencyError, ModelError) as error:
            notes.append(unavailable(named, measure.needs, error))
    return opened, notes


def _each(key: str, of: Callable[[Pixels, Pixels], float]) -> Callable[[Place], Compares]:
    """Return the loader of a measure that is a plain function of a pair."""

    def compares(truth: Pixels, images: Pixels) -> dict[str, npt.NDArray[np.float64]]:
        pairs = zip(truth, images, strict=True)
        return {key: np.array([of(*pair) for pair in pairs], dtype=np.float64)}

    return lambda _: compares


def _pairs(
    key: str, load: Callable[[Place], Callable[[Pixels, Pixels], npt.NDArray[np.float64]]]
) -> Callable[[Place], Compares]:
    """Return the loader of a measure that compares whole batches of pairs."""

    def loaded(place: Place) -> Compares:
        compare = load(place)
        return lambda truth, images: {key: compare(truth, images)}

    return loaded


def _alone(
    key: str, load: Callable[[Place], Callable[[Pixels], npt.NDArray[np.float64]]]
) -> Callable[[Place], Compares]:
    """Return the loader of a measure that does not look at the truth."""

    def loaded(place: Place) -> Compares:
        score = load(place)
        return lambda _, images: {key: score(images)}

    return loaded


def _nuclei(place: Place) -> Compares:
    segment = nuclei_segmenter(None if place.given is None else place.path)

    def compares(truth: Pixels, images: Pixels) -> dict[str, npt.NDArray[np.float64]]:
        found = [
            nuclear_l1(clean, image, segment(clean, place.mpp))
            for clean, image in zip(truth, images, strict=True)
        ]
        return {
            "l1_texture": np.array([one.texture for one in found]),
            "l1_intensity": np.array([one.intensity for one in found]),
        }

    return compares


def _similar(key: str, network: str) -> Callable[[Place], Compares]:
    def load(place: Place) -> Callable[[Pixels, Pixels], npt.NDArray[np.float64]]:
        describes = features(network, place.given or "")
        return lambda truth, images: embedding_similarity(describes, truth, images)

    return _pairs(key, load)


def _pyiqa(
    key: str, name: str, better: Literal["lower", "higher"], digits: int, within: str
) -> Measure:
    return Measure(
        (Column(key, name, better, digits, within=within),),
        _alone(key, lambda _: pyiqa_scores(key, lower_is_better=better == "lower")),
        "the package pyiqa, whose licence forbids commercial use, and weights that it downloads",
        library="pyiqa",
        alone=True,
    )


def _blur(blur: str, name: str) -> Measure:
    key = f"iqa_{blur}"

    def load(place: Place) -> Callable[[Pixels], npt.NDArray[np.float64]]:
        model = load_iqa(place.path)
        if model.config.blur not in (blur, "both"):
            raise ModelMismatchError(
                f"{place.path} learned {model.config.blur} blur, and the column is of {blur} blur: "
                "name another model."
            )
        return model.score

    return Measure(
        (Column(key, name, "higher", 4, within="0 (blurred) to 1"),),
        _alone(key, load),
        f"a model that `histomend train iqa --blur {blur}` wrote",
        asks=True,
        library="own (Histo-Diffusion, section 3.3)",
        alone=True,
    )


def _similarity(key: str, name: str, network: str, needs: str, library: str) -> Measure:
    return Measure(
        (Column(key, name, "higher", 4, within="-1 to 1"),),
        _similar(key, network),
        needs,
        asks=True,
        library=library,
    )


MEASURES: dict[str, Measure] = {
    "psnr": Measure(
        (Column("psnr", "PSNR", "higher", 2, within="dB, 0 to infinity"),),
        _each("psnr", lambda a, b: metrics.psnr(a, b, data_range=top(a))),
        library="own (definition)",
        deep=True,
    ),
    "ssim": Measure(
        (Column("ssim", "SSIM", "higher", 3, within="-1 to 1"),),
        _each("ssim", lambda a, b: metrics.ssim(a, b, data_range=top(a))),
        library="scikit-image, uniform 7x7 window",
        deep=True,
    ),
    "lpips": Measure(
        (Column("lpips", "LPIPS", "lower", 3, within="0 to about 1"),),
        _pairs("lpips", lambda place: Lpips(place.path)),
        "AlexNet and LPIPS's own weights",
        asks=True,
        library="own (Zhang et al. 2018), as lpips 0.1.4",
    ),
    "st_lpips": Measure(
        (Column("st_lpips", "ST-LPIPS", "lower", 3, within="0 to about 1"),),
        _pairs("st_lpips", lambda p: ShiftTolerantLpips(None if p.given is None else p.path)),
        "ST-LPIPS's weights, in the package stlpips-pytorch",
        library="own (Ghildyal and Liu 2022), as stlpips-pytorch 0.0.2",
    ),
    "clipiqa": _pyiqa("clipiqa", "CLIP-IQA", "higher", 4, "0 to 1"),
    "musiq": _pyiqa("musiq", "MUSIQ", "higher", 2, "0 to 100"),
    "niqe": _pyiqa("niqe", "NIQE", "lower", 2, "0 to about 100"),
    "brisque": _pyiqa("brisque", "BRISQUE", "lower", 2, "0 to about 150"),
    "nrqm": _pyiqa("nrqm", "NRQM", "higher", 2, "0 to 10"),
    "nuclei": Measure(
        (
            Column("l1_texture", "L1-texture", "lower", 2, within="0 to infinity"),
            Column("l1_intensity", "L1-intensity", "lower", 2, within="0 to infinity"),
        ),
        _nuclei,
        "outlines of nuclei",
        library="own (Histo-Diffusion, section 3.3), nuclei by stain or HoVer-Net",
        colours=True,
        by_mpp=True,
    ),
    "iqa_box": _blur("box", "blur IQA (box)"),
    "iqa_gaussian": _blur("gaussian", "blur IQA (Gaussian)"),
    "uni": _similarity(
        "uni",
        "UNI similarity",
        "timm",
        "UNI, given to those who agree to its licence (timm's format)",
        "timm",
    ),
    "plip": _similarity(
        "plip", "PLIP similarity", "clip", "PLIP (transformers' format)", "transformers"
    ),
    "encoder": _similarity(
        "encoder",
        "similarity (own encoder)",
        "histology",
        "an encoder that `histomend train encoder` wrote",
        "own",
    ),
    **INSIDE,
    **SETS,
}
