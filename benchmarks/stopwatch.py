"""Where the time of a restoration goes: a model whose parts are timed.

Used by ``latent_speed.py`` and ``upscale_speed.py``; nothing to run here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.space import LatentSpace, Space
from histomend.models import Model


class Stopwatch:
    """Adds up the seconds of the calls of each part of a model."""

    def __init__(
        self, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.device = device
        self.clock = clock
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def around(self, part: str, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return `call`, timed under the name of a part."""

        def timed(*arguments: Tensor) -> Tensor:
            synchronise(self.device)
            began = self.clock()
            result = call(*arguments)
            synchronise(self.device)
            self.seconds[part] = self.seconds.get(part, 0) + self.clock() - began
            self.calls[part] = self.calls.get(part, 0) + 1
            return result

        return timed

    def model(self, model: Model) -> Model:
        """Return the model with its autoencoder and its network timed."""
        space = TimedSpace(model.space, self.around)
        network: Any = self.around("network", model.denoiser.network)
        denoiser = Denoiser(network, model.denoiser.schedule, model.denoiser.prediction)
        return replace(model, denoiser=denoiser, space=space)


# Around a part of a model, by its name.
Around = Callable[[str, Callable[..., Tensor]], Callable[..., Tensor]]


class TimedSpace:
    """A space whose encoding and decoding are timed, or counted, by what is put around them."""

    def __init__(self, space: Space, around: Around) -> None:
        self.factor = space.factor
        self.mask = space.mask
        self.encode = around("encode", space.encode)
        self.decode = around("decode", space.decode)
        if isinstance(space, LatentSpace):
            self.decode_difference = around("decode", space.decode_difference)


def synchronise(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
