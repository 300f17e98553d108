"""Denoisers: a network, told what it predicts, gives x0 and eps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from histomend.diffusion.schedule import Schedule
from histomend.diffusion.windows import ramp, window_origins
from histomend.errors import SettingError

PredictionType = Literal["epsilon", "x0", "v"]


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told besides x and t.

    Parameters
    ----------
    maps : (B, K, H, W) or None
        Maps on x's own grid (visible pixels and mask, a low-resolution image); cropped with x.
    vectors : (B, D) or None
        One vector per sample (pixel size, text embedding).
    """

    maps: Tensor | None = None
    vectors: Tensor | None = None

    def rows(self, index: Tensor) -> Condition:
        """Return the condition of some samples of the batch."""
        return Condition(
            None if self.maps is None else self.maps[index],
            None if self.vectors is None else self.vectors[index],
        )


NO_CONDITION = Condition()


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says about x_t.

    Parameters
    ----------
    x0, eps : (B, C, H, W)
        Clean signal and noise, consistent with each other: x = alpha x0 + sigma eps.
    variance_mix : (B, C, H, W) in [0, 1] or None
        Learned variance, as the place between the posterior's log-variance (0) and log beta (1)
        (Nichol and Dhariwal 2021, eq. 15). The variance itself depends on t_next, which only
        the sampler knows.
    """

    x0: Tensor
    eps: Tensor
    variance_mix: Tensor | None = None


class Denoises(Protocol):
    """Anything that predicts: a `Denoiser`, a `TiledDenoiser`, or a function in a test."""

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """Return the prediction for x (B, C, H, W) at times t (B,)."""


def prediction_from(
    output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, kind: PredictionType
) -> tuple[Tensor, Tensor]:
    """Return (x0, eps) from a network output of the given kind.

    v is that of Salimans and Ho 2022: v = alpha eps - sigma x0, on a variance-preserving schedule.
    """
    if kind == "epsilon":
        return (x - sigma * output) / alpha, output
    if kind == "x0":
        return output, (x - alpha * output) / sigma
    if kind == "v":
        return alpha * x - sigma * output, sigma * x + alpha * output
    raise SettingError(f"No prediction type is called {kind!r}. There are epsilon, x0 and v.")


class Denoiser:
    """Wraps a network once, so that loop and samplers see only x0 and eps.

    Parameters
    ----------
    network : module, called as network(cat(x, maps), t) -> (B, C or 2C, H, W)
        With 2C output channels the second half is the learned variance, in [-1, 1].
    schedule : Schedule
    prediction : "epsilon", "x0" or "v"
    """

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: PredictionType):
        self.network = network
        self.schedule = schedule
        self.prediction = prediction

    def __call__(self, x: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Prediction:
        """Return the prediction for x (B, C, H, W) at times t (B,) in 1..steps."""
        entry = x if condition.maps is None else torch.cat([x, condition.maps], 1)
        output = self.network(entry, t.to(x.device)).to(x.dtype)
        mix = None
        if output.shape[1] == 2 * x.shape[1]:
            output, mix = output.chunk(2, 1)
            mix = (mix + 1) / 2
        alpha, sigma = self.schedule.at(t, x)
        x0, eps = prediction_from(output, x, alpha, sigma, self.prediction)
        return Prediction(x0, eps, mix)


class TiledDenoiser:
    """Lets a denoiser with a fixed window see a larger field, without seams.

    At every step the field is cut into overlapping windows, each is denoised, and the
    predictions are averaged with weights that fall to the window's border. As the average is
    taken before the sampler acts, neighbouring windows agree at every step.

    Parameters
    ----------
    denoiser : Denoises
    window : int
        Side of the square windows, in x's own pixels.
    overlap : int
        Pixels that neighbouring windows share, less than `window`.
    batch : int
        Windows in one network call. It is a constant of the result, not a tuning knob: the
        arithmetic of a batch may depend on its size in the last bit.
    needed : (H, W) bool, optional
        Where a prediction is of use; windows without any such place are left out, and the
        prediction there is zero.
    """

    def __init__(
        self,
        denoiser: Denoises,
        window: int,
        overlap: int,
        batch: int = 1,
        needed: Tensor | None = None,
    ):
        if not 0 <= overlap < window:
            raise SettingError(f"The overlap {overlap} must be at least 0 and less than {window}.")
        self.denoiser = denoiser
        self.window = window
        self.overlap = overlap
        self.batch = batch
        self.needed = needed

    def origins(self, length: int) -> list[int]:
        """Return where windows begin along a side of `length` pixels; the last one is flush."""
        return window_origins(length, self.window, self.overlap)

    def weights(self) -> Tensor:
        """Return the (window, window) weights: a raised cosine, positive everywhere."""
        across = ramp(self.window)
        return across[:, None] * across[None, :]

    def _windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        for y in self.origins(height):
            for x in self.origins(width):
                window = slice(y, y + self.window), slice(x, x + self.window)
                if self.needed is None or self.needed[window].any():
                    yield window

    def __call__(self, x: Tensor, t: Tensor, condition: Condition = NO_CONDITION) -> Prediction:
        """Return the blended prediction for the whole field x (B, C, H, W)."""
        height, width = x.shape[-2:]
        if height <= self.window and width <= self.window:
            return self.denoiser(x, t, condition)
        weights = self.weights().to(x)
        total = x.new_zeros(1, 1, height, width)
        sums: list[Tensor | None] = [None, None, None]
        windows = list(self._windows(height, width))
        for first in range(0, len(windows), self.batch):
            group = windows[first : first + self.batch]
            crops = torch.cat([x[..., rows, columns] for rows, columns in group])
            part = replace(
                condition,
                maps=None
                if condition.maps is None
                else torch.cat([condition.maps[..., rows, columns] for rows, columns in group]),
                vectors=None
                if condition.vectors is None
                else condition.vectors.repeat(len(group), 1),
            )
            found = self.denoiser(crops, t.repeat(len(group)), part)
            for k, field in enumerate((found.x0, found.eps, found.variance_mix)):
                if field is None:
                    continue
                if sums[k] is None:
                    sums[k] = x.new_zeros(x.shape)
                for (rows, columns), piece in zip(group, field.chunk(len(group)), strict=True):
                    w = weights[: piece.shape[-2], : piece.shape[-1]]
                    sums[k][..., rows, columns] += w * piece  # type: ignore[index]
            for rows, columns in group:
                spot = total[..., rows, columns]
                spot += weights[: spot.shape[-2], : spot.shape[-1]]
        total = torch.where(total > 0, total, 1)
        x0, eps, mix = (None if s is None else s / total for s in sums)
        if x0 is None or eps is None:
            return Prediction(torch.zeros_like(x), torch.zeros_like(x))
        return Prediction(x0, eps, mix)
