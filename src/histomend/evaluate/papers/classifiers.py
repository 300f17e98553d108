"""Classifiers of tissue, small enough to be trained here: what downstream tasks are judged by."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import histomend
from histomend.errors import InputError, MissingDependencyError
from histomend.evaluate.efficientnet import FEATURES, EfficientNetEncoder
from histomend.evaluate.harness.store import digest, pixels_digest
from histomend.evaluate.papers.setting import Setting
from histomend.image import read_image

Pixels = npt.NDArray[np.uint8]
SMALL, FROZEN = "small network of torch", "EfficientNet-lite0, frozen"
TIMM = {
    "ResNet18": "resnet18",
    "ResNet34": "resnet34",
    "ResNet50": "resnet50",
    "RexNet100": "rexnet_100",
    "EfficientNetB0": "efficientnet_b0",
}
"""Those of ArtiFusion's Table 3, by timm's names."""


@dataclass(frozen=True)
class Tile:
    """A tile of known class."""

    name: str
    label: int
    mpp: float
    pixels: Pixels = field(repr=False)


@dataclass(frozen=True)
class Labelled:
    """Tiles to learn from and to be tested on, of other parts of the slides."""

    classes: tuple[str, ...]
    train: tuple[Tile, ...]
    test: tuple[Tile, ...]


def labelled_tissue(folder: Path, train: int | None, test: int | None) -> Labelled:
    """Read tiles of all classes, as many of each.

    Parameters
    ----------
    folder : with a manifest.csv of the columns file, class, split (train, test) and mpp
    train, test : of each class; all unless given

    Raises
    ------
    InputError
        The manifest is not there, or lacks a column or a split.
    """
    manifest = folder / "manifest.csv"
    try:
        with manifest.open(newline="", encoding="utf-8") as lines:
            listed = sorted(csv.DictReader(lines), key=lambda row: row["file"])
        classes = tuple(sorted({row["class"] for row in listed}))
        by = {
            (name, split): [r for r in listed if (r["class"], r["split"]) == (name, split)]
            for name in classes
            for split in ("train", "test")
        }
    except (OSError, KeyError) as error:
        raise InputError(
            f"{manifest} cannot be read, or lacks a column ({error}): labelled tissue needs file, "
            "class, split and mpp."
        ) from error
    if not classes or not all(by.values()):
        raise InputError(f"{manifest}: every class needs tiles of the splits train and test.")

    def tiles(split: str, count: int | None) -> tuple[Tile, ...]:
        return tuple(
            Tile(
                row["file"],
                label,
                float(row["mpp"].split()[0]),
                np.asarray(read_image(folder / row["file"]).pixels),
            )
            for label, name in enumerate(classes)
            for row in _spread(by[name, split], count)
        )

    return Labelled(classes, tiles("train", train), tiles("test", test))


def _spread(rows: Sequence[dict[str, str]], count: int | None) -> list[dict[str, str]]:
    """Return rows evenly over the list, which is in the order of slides and places."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[round(k * (len(rows) - 1) / max(count - 1, 1))] for k in range(count)]


class SmallNet(nn.Module):
    """Four strided convolutions and a linear layer: (B, 3, H, W) in [-1, 1] to (B, classes)."""

    def __init__(self, classes: int, width: int = 24):
        super().__init__()
        layers: list[nn.Module] = []
        here = 3
        for times in (1, 2, 4, 4):
            there = width * times
            layers += [nn.Conv2d(here, there, 3, 2, 1), nn.BatchNorm2d(there), nn.ReLU()]
            here = there
        self.body, self.head = nn.Sequential(*layers), nn.Linear(here, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(self.body(x).mean((2, 3)))


class Frozen(nn.Module):
    """A linear layer on the features of EfficientNet-lite0, which stay as ImageNet left them."""

    def __init__(self, classes: int):
        super().__init__()
        self.head = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of features (B, 1280)."""
        return self.head(x)


def make_network(name: str, classes: int) -> nn.Module:
    """Return a network with fresh weights.

    Raises
    ------
    MissingDependencyError
        timm is not installed.
    """
    if name == SMALL:
        return SmallNet(classes)
    if name == FROZEN:
        return Frozen(classes)
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} comes with timm, which is not installed: pip install 'histomend[eval]'. "
            "--scale tiny takes a small network in its place."
        ) from error
    network: nn.Module = timm.create_model(TIMM[name], pretrained=False, num_classes=classes)
    return network


@dataclass(frozen=True)
class Classifier:
    """A trained network.

    Attributes
    ----------
    name : str
    sees : function of images -> (N, ...) float32 as the network takes it
    network : nn.Module
    """

    name: str
    sees: Callable[[Sequence[Pixels]], Tensor] = field(repr=False)
    network: nn.Module = field(repr=False)

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Pixels]) -> npt.NDArray[np.float64]:
        """Return (N, classes) of images (H, W, 3) uint8 of one size."""
        self.network.eval()
        found = [
            self.network(self.sees(images[first : first + 16])).softmax(1)
            for first in range(0, len(images), 16)
        ]
        return torch.cat(found).double().numpy()


def trained_classifier(
    setting: Setting, name: str, labelled: Labelled, seed: int, *, side: int, epochs: int
) -> Classifier:
    """Train a network on tiles, turned and mirrored, or load what was trained so before.

    Parameters
    ----------
    name : `SMALL`, `FROZEN`, or of `TIMM`
    seed : of the weights, the order of the tiles and how they are turned
    side : of what the network sees, in px
    epochs : how often each tile is seen
    """
    sees = _features() if name == FROZEN else lambda images: _as_input(images, side)
    torch.manual_seed(seed)
    network = make_network(name, len(labelled.classes))
    images = [tile.pixels for tile in labelled.train]
    known = [pixels_digest(image) for image in images]
    key = digest(histomend.__version__, name, seed, side, epochs, known)[:16]
    place = setting.cache / "classifiers" / f"{key}.safetensors"
    if place.exists():
        network.load_state_dict(load_file(place))
        return Classifier(name, sees, network)
    setting.tell(f"training {name}, seed {seed}")
    x, labels = sees(images), torch.tensor([tile.label for tile in labelled.train])
    _fit(network, x, labels, seed, epochs if name != FROZEN else 20 * epochs)
    place.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, place)
    return Classifier(name, sees, network)


def _fit(network: nn.Module, x: Tensor, labels: Tensor, seed: int, epochs: int) -> None:
    """Minimise the cross entropy by AdamW, the rate falling to zero."""
    rng = np.random.default_rng(seed)
    batch = 16
    optim = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    steps = epochs * (len(x) // batch or 1)
    rate = torch.optim.lr_scheduler.OneCycleLR(optim, 2e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        # Drawn with replacement, as many of each class in the long run.
        chosen = torch.from_numpy(rng.integers(len(x), size=batch))
        seen = x[chosen]
        if seen.ndim == 4:
            seen = torch.rot90(seen, int(rng.integers(4)), (2, 3))
            seen = seen.flip(3) if rng.random() < 0.5 else seen
        loss = F.cross_entropy(network(seen), labels[chosen])
        optim.zero_grad()
        loss.backward()
        optim.step()
        rate.step()


def _as_input(images: Sequence[Pixels], side: int) -> Tensor:
    """Return (N, 3, side, side) in [-1, 1], averaged over areas."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(x, size=(side, side), mode="area")


def _features() -> Callable[[Sequence[Pixels]], Tensor]:
    encoder = EfficientNetEncoder()
    return lambda images: torch.from_numpy(encoder(np.stack(images))).float()


def has_efficientnet() -> bool:
    """Return whether the weights of EfficientNet-lite0 are installed."""
    try:
        EfficientNetEncoder()
    except MissingDependencyError:
        return False
    return True


def mcnemar(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return the two-sided p of McNemar's exact test: are as many right only here as only there?

    Parameters
    ----------
    one, other : (N,) bool
        Whether each of the same N cases was right.
    """
    from scipy import stats

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if not only_one + only_other:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other).pvalue)
