"""Measures of restored regions: the columns of ArtiFusion's Table 1, texture and nuclei."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError
from histomend.evaluate import metrics, nuclei, texture
from histomend.evaluate.column import Column, ComparesInside, Mask, Measure, Pixels, Place, top
from histomend.evaluate.tables import geometric_mean, ratio_of_sums

Array = npt.NDArray[np.float64]
Of = Callable[[Pixels, Pixels, Mask], float]
Loads = Callable[[Place], ComparesInside]
_RATIO_LIMITS = (1e-3, 1e3)
"""One blank image must not make the whole mean 0 or infinite; NaN stays NaN."""


def _figures(key: str, of: Of) -> Loads:
    """Return the loader of a measure that is a plain function; NaN where a mask is too thin."""

    def one(truth: Pixels, image: Pixels, mask: Mask) -> float:
        try:
            return of(truth, image, mask)
        except MaskError:
            return float("nan")

    def compares(truth: Pixels, images: Pixels, masks: Mask) -> dict[str, Array]:
        rows = zip(truth, images, masks, strict=True)
        return {key: np.array([one(*row) for row in rows], dtype=np.float64)}

    return lambda _: compares


def _ratios(key: str, of: Of) -> Loads:
    return _figures(key, lambda *row: float(np.clip(of(*row), *_RATIO_LIMITS)))


def _whole(key: str, of: Callable[[Pixels, Pixels], float]) -> Loads:
    return _figures(key, lambda truth, image, _: of(truth, image))


def _nuclei(place: Place) -> ComparesInside:
    """Return number and area of nuclei beside the truth's, whose sums give the ratios."""

    def one(truth: Pixels, image: Pixels, mask: Mask) -> list[tuple[float, float]]:
        after, before = (
            nuclei.nuclei_in(nuclei.segment_nuclei(pixels, place.mpp), mask, place.mpp)
            for pixels in (image, truth)
        )
        return [(float(a), float(b)) for a, b in zip(after, before, strict=True)]

    def compares(truth: Pixels, images: Pixels, masks: Mask) -> dict[str, Array]:
        found = [one(*row) for row in zip(truth, images, masks, strict=True)]
        return {
            key: np.array([of[turn] for of in found], dtype=np.float64)
            for turn, key in enumerate(("nuclei_number", "nuclei_area"))
        }

    return compares


def _psnr_inside(truth: Pixels, image: Pixels, mask: Mask) -> float:
    error = np.square(truth[mask].astype(np.float64) - image[mask]).mean()
    return math.inf if error == 0 else float(10 * np.log10(top(truth) ** 2 / error))


def _measure(
    column: Column, load: Loads, library: str, *, deep: bool = True, colours: bool = False
) -> Measure:
    return Measure((column,), load, of="masks", library=library, deep=deep, colours=colours)


_LANARAS = "own (Lanaras et al. 2018)"
_PACKAGE = "own, with the defaults of the package behind ArtiFusion's Table 1"
_ANY = "0 to infinity"

INSIDE: dict[str, Measure] = {
    "psnr_inside": _measure(
        Column("psnr_inside", "PSNR inside", "higher", 2, within="dB, 0 to infinity"),
        _figures("psnr_inside", _psnr_inside),
        "own (definition)",
    ),
    "l2": _measure(
        Column("l2", "L2 ×10⁴", "lower", 3, within=_ANY),
        _figures("l2", lambda *row: metrics.l2(*row) * 1e-4),
        "own (definition)",
    ),
    "mse": _measure(
        Column("mse", "MSE", "lower", 0, within=_ANY),
        _whole("mse", metrics.mse),
        "own (definition)",
    ),
    "fsim": _measure(
        Column("fsim", "FSIM", "higher", 4, within="0 to 1"),
        _whole("fsim", metrics.fsim),
        "own (Zhang et al. 2011)",
        deep=False,
    ),
    "sre": _measure(
        Column("sre", "SRE", "higher", 2, within="dB, to infinity"),
        _whole("sre", lambda a, b: metrics.sre(a, b, data_range=top(a))),
        _LANARAS,
    ),
    "psnr_paper": _measure(
        Column("psnr_paper", "PSNR, 4095", "higher", 2, within="dB, 24 to infinity"),
        _whole("psnr_paper", lambda a, b: metrics.psnr(a, b, compat="paper")),
        _PACKAGE,
        deep=False,
    ),
    "ssim_paper": _measure(
        Column("ssim_paper", "SSIM, 4095", "higher", 4, within="-1 to 1"),
        _whole("ssim_paper", lambda a, b: metrics.ssim(a, b, compat="paper")),
        _PACKAGE,
        deep=False,
    ),
    "sre_paper": _measure(
        Column("sre_paper", "SRE, root", "higher", 2, within="dB, to infinity"),
        _whole("sre_paper", lambda a, b: metrics.sre(a, b, compat="paper")),
        _PACKAGE,
        deep=False,
    ),
    "laplacian": _measure(
        Column("laplacian", "Laplacian", "one", 2, geometric_mean, _ANY),
        _ratios("laplacian", texture.laplacian_ratio),
        "own (variance of the Laplacian inside the mask, over the truth's)",
    ),
    "spectrum": _measure(
        Column("spectrum", "spectrum", "one", 2, geometric_mean, _ANY),
        _ratios("spectrum", lambda *row: texture.spectrum_ratio(*row).summary),
        "own (power of four octaves inside the mask, over the truth's)",
    ),
    "border": _measure(
        Column("border", "border step", "one", 2, geometric_mean, _ANY),
        _ratios("border", texture.border_step),
        "own (colour step across the mask's border, over the truth's)",
        colours=True,
    ),
    "colour": _measure(
        Column("colour", "colour, ΔE00", "lower", 2, within="0 to about 100"),
        _figures("colour", texture.mean_ciede2000),
        "scikit-image, CIEDE2000 of the mean colours inside the mask",
        colours=True,
    ),
    "nuclei_inside": Measure(
        (
            Column("nuclei_number", "nuclei, number", "one", 2, ratio_of_sums, _ANY),
            Column("nuclei_area", "nuclei, area", "one", 2, ratio_of_sums, _ANY),
        ),
        _nuclei,
        of="masks",
        library="own (nuclei by stain inside the mask, over the truth's)",
        colours=True,
        by_mpp=True,
    ),
}
