"""Where the time of a restoration goes: a model whose parts are timed.

Used by ``latent_speed.py``; nothing to run here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.space import Space
from histomend.models import Model


class Stopwatch:
    """Adds up the seconds of the calls of each part of a model."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def around(self, part: str, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return `call`, timed under the name of a part."""

        def timed(*arguments: Tensor) -> Tensor:
            synchronise(self.device)
            began = time.perf_counter()
            result = call(*arguments)
            synchronise(self.device)
            self.seconds[part] = self.seconds.get(part, 0) + time.perf_counter() - began
            self.calls[part] = self.calls.get(part, 0) + 1
            return result

        return timed

    def model(self, model: Model) -> Model:
        """Return the model with its autoencoder and its network timed."""
        space = TimedSpace(model.space, self)
        network: Any = self.around("network", model.denoiser.network)
        denoiser = Denoiser(network, model.denoiser.schedule, model.denoiser.prediction)
        return replace(model, denoiser=denoiser, space=space)


class TimedSpace:
    """A space whose encoding and decoding are timed."""

    def __init__(self, space: Space, watch: Stopwatch) -> None:
        self.factor = space.factor
        self.mask = space.mask
        self.encode = watch.around("encode", space.encode)
        self.decode = watch.around("decode", space.decode)


def synchronise(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
