"""Scores of the package pyiqa, which judge an image without its truth.

Its licence (PolyForm Noncommercial) forbids commercial use, so no extra of ours brings it, and
nothing imports it unless one of its scores is asked for. It downloads the weights itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from histomend.errors import MissingDependencyError, ModelMismatchError, ModelNotFoundError
from histomend.evaluate.encoder import checked_rgb


def pyiqa_scores(
    name: str, *, lower_is_better: bool, device: str | torch.device = "cpu"
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]:
    """Return what scores images (N, H, W, 3) uint8, one by one, as (N,).

    Parameters
    ----------
    name : str
        Of a metric without reference: "clipiqa", "musiq", "niqe", "brisque", "nrqm", ...
    lower_is_better : bool
        As the column says; compared with what the package says.

    Raises
    ------
    MissingDependencyError
        pyiqa is not installed, or does not work here.
    ModelNotFoundError
        It has no such metric, or cannot get its weights.
    ModelMismatchError
        The metric needs a reference, or is better in the other direction.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pyiqa
    except (ImportError, RuntimeError) as error:
        raise MissingDependencyError(
            "pyiqa is not installed, or does not work here. If its licence allows your use: "
            "pip install pyiqa"
        ) from error
    where = torch.device(device)
    try:
        metric = pyiqa.create_metric(name, device=where)
    except Exception as error:  # Whatever the package makes of a missing connection or of a name.
        raise ModelNotFoundError(
            f"pyiqa could not make its metric {name} ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}). It downloads weights when a metric is first "
            "used: check the connection."
        ) from error
    if metric.metric_mode != "NR" or bool(metric.lower_better) != lower_is_better:
        raise ModelMismatchError(
            f"pyiqa's metric {name} needs a reference, or is better in the other direction than "
            "the column says. This version of pyiqa does not fit: use 0.1.16."
        )

    @torch.no_grad()
    def scores(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        found = []
        for image in checked_rgb(images):
            pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
            found.append(float(metric(pixels[None].to(where))))
        return np.array(found, dtype=np.float64)

    return scores
