"""What a training is made of: a lesson, what it trains, and what is random in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from histomend.train.optimisers import ADAMW, AdamW

Crops = TypeVar("Crops")


class Trainee(Protocol):
    """What is trained: a denoiser, an autoencoder."""

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when a run is resumed, in values that JSON holds."""

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights to start from, of the model `init`."""

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a model into the new folder."""


@dataclass(frozen=True)
class Step:
    """A step of a training, and everything random in it: nothing depends on what came before.

    Parameters
    ----------
    seed, number, process : int
        Of the run, the step (from 0), and of several processes.
    device : torch.device
        Where the network is.
    """

    seed: int
    number: int
    process: int
    device: torch.device

    @cached_property
    def rng(self) -> np.random.Generator:
        """The step's generator: crops, damages, masks."""
        return self.further(None)

    @cached_property
    def noise(self) -> torch.Generator:
        """Another one for noise and noise levels, on the CPU."""
        return torch.Generator().manual_seed(self.noise_seed)

    @property
    def noise_seed(self) -> int:
        """What `noise` is seeded with, and PyTorch's own generator, for stochastic depth."""
        return drawn_seed(self.further(1))

    def further(self, stream: int | None) -> np.random.Generator:
        """Return one more generator that is independent of the others."""
        key = [self.seed, self.number, self.process]
        return np.random.default_rng(key if stream is None else [*key, stream])


def drawn_seed(rng: np.random.Generator) -> int:
    """Draw a seed for PyTorch."""
    return int(rng.integers(2**62))


@dataclass(frozen=True)
class Figures:
    """How good a network is on held-out crops.

    Parameters
    ----------
    values : figures by name, for the log
    rows : sequence of (B, C, H, W) in [-1, 1]
        Rows of a picture of some crops, none for no picture.
    """

    values: Mapping[str, float]
    rows: Sequence[Tensor] = field(default=())


class Lesson(Protocol[Crops]):
    """What is to be learned: of which crops, by which loss, and how well it was.

    Attributes
    ----------
    trainee : Trainee
    optimiser : AdamW
    mixed_precision : bool
        Whether bf16 may be used, where the device has it in hardware.
    """

    trainee: Trainee
    optimiser: AdamW = ADAMW
    mixed_precision: bool = True

    def crops(self, step: Step) -> Crops:
        """Draw what the network is to see in a step."""

    def loss(self, network: nn.Module, crops: Crops, step: Step) -> Tensor:
        """Return the loss on crops, a scalar. All that is random comes from the step."""

    def figures(self, network: nn.Module) -> Figures:
        """Return how good a network is, on crops that it is never trained on.

        It has the averaged weights, and is in evaluation mode; no gradients are kept.
        """

    def facts(self) -> Mapping[str, float]:
        """Return figures that no training changes, for the first line of the log."""
        return {}
