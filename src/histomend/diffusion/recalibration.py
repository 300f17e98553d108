"""A trajectory that looks at x to see how far it still has to go, for each sample by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from histomend.diffusion.trajectory import Step
from histomend.errors import ModelError


@dataclass(frozen=True)
class Stretch:
    """What a sample walks before anything is asked again.

    Parameters
    ----------
    times : decreasing sequence of int
        From where x is taken to be; with fewer than two of them there is nothing to walk.
    last : bool
        Whether the sample has finished after it.
    """

    times: Sequence[int]
    last: bool


# (predicted t, number of the round, from 1) -> what to walk. Some round must be the last.
Plan = Callable[[float, int], Stretch]
# x (B, C, H, W) -> predicted t (B,), any real number.
Calibrates = Callable[[Tensor], Tensor]


class RecalibratingTrajectory:
    """Asks at which t each sample is, walks a stretch from there, and asks again.

    Samples of a batch are at different times and finish at different times; one that has
    finished rests at t = 0.

    Parameters
    ----------
    calibrate : Calibrates
        Is shown only the samples that have come to the end of a stretch, as they are then.
    plan : Plan
    first : (B,) float, optional
        Predictions for the first round, where they are known already: from neighbouring windows,
        or fixed by the user.

    Attributes
    ----------
    predictions : for each sample a list of float
        What was predicted in each round, and with it how many rounds there were.
    """

    def __init__(self, calibrate: Calibrates, plan: Plan, first: Tensor | None = None):
        self.calibrate = calibrate
        self.plan = plan
        self.predictions: list[list[float]] = []
        self._first = first
        self._ahead: list[list[tuple[int, int]]] = []
        self._finished: list[bool] = []

    def next(self, x: Tensor) -> Step | None:
        """Return the next step of every sample, or None when all have finished.

        Raises
        ------
        ModelError
            If a prediction is no finite number.
        """
        if not self._ahead:
            self.predictions = [[] for _ in range(len(x))]
            self._ahead = [[] for _ in range(len(x))]
            self._finished = [False] * len(x)
        asking = [
            row for row, ahead in enumerate(self._ahead) if not ahead and not self._finished[row]
        ]
        if asking:
            for row, predicted in zip(asking, self._predicted(x, asking), strict=True):
                self._take(row, predicted)
        if not any(self._ahead):
            return None
        moves = [ahead.pop(0) if ahead else (0, 0) for ahead in self._ahead]
        t, t_next = (torch.tensor(times, dtype=torch.int64) for times in zip(*moves, strict=True))
        return Step(t, t_next)

    def _predicted(self, x: Tensor, rows: list[int]) -> list[float]:
        if self._first is not None and not self.predictions[rows[0]]:
            return [float(v) for v in self._first[rows]]
        return [float(v) for v in self.calibrate(x[rows])]

    def _take(self, row: int, predicted: float) -> None:
        if not math.isfinite(predicted):
            raise ModelError(
                f"The calibrator says t={predicted} for sample {row} of the batch. The image has "
                "values that are no numbers, or the calibrator's weights are damaged."
            )
        self.predictions[row].append(predicted)
        stretch = self.plan(predicted, len(self.predictions[row]))
        self._ahead[row] = list(pairwise(stretch.times))
        # Where nothing is walked x stays as it is, and so would the next prediction.
        self._finished[row] = stretch.last or not self._ahead[row]
