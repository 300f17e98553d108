"""LPIPS with random weights in the layout of the published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histomend.errors import (
    ImageSizeError,
    ModelNotFoundError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.evaluate.perceptual import (
    BACKBONE_FILE,
    LINEAR_FILE,
    SHIFT_TOLERANT_FILE,
    Lpips,
    ShiftTolerantLpips,
    smoothly_halved,
)

SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file as torchvision's and one as that of the package lpips."""
    draw = torch.Generator().manual_seed(0)
    alexnet, linear = {}, {}
    for level, (number, (there, here, side)) in enumerate(SHAPES.items()):
        weight = torch.randn(there, here, side, side, generator=draw)
        alexnet[f"features.{number}.weight"] = weight * (2 / (here * side * side)) ** 0.5
        alexnet[f"features.{number}.bias"] = 0.1 * torch.randn(there, generator=draw)
        linear[f"lin{level}.model.1.weight"] = torch.rand(1, there, 1, 1, generator=draw)
    alexnet["classifier.6.bias"] = torch.zeros(1000)
    made = tmp_path_factory.mktemp("lpips")
    torch.save(alexnet, made / BACKBONE_FILE)
    torch.save(linear, made / LINEAR_FILE)
    return made


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 80, 3)).astype(np.uint8)


def as_published(folder: Path, truth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Compute the distance from the files, layer by layer as the paper's section 3 has it."""
    alexnet, linear = (torch.load(folder / name) for name in (BACKBONE_FILE, LINEAR_FILE))
    total = torch.zeros(len(truth))
    maps = [torch.from_numpy(of).permute(0, 3, 1, 2).float() / 127.5 - 1 for of in (truth, seen)]
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    maps = [(m - shift) / torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1) for m in maps]
    for level, number in enumerate(SHAPES):
        weight, bias = (alexnet[f"features.{number}.{key}"] for key in ("weight", "bias"))
        if number in (3, 6):
            maps = [F.max_pool2d(m, 3, 2) for m in maps]
        stride, padding = (4, 2) if number == 0 else (1, weight.shape[-1] // 2)
        maps = [F.conv2d(m, weight, bias, stride, padding).relu() for m in maps]
        one, other = (F.normalize(m, dim=1) for m in maps)
        weighted = F.conv2d((one - other) ** 2, linear[f"lin{level}.model.1.weight"])
        total += weighted.mean((1, 2, 3))
    return total.numpy()


def test_the_distance_is_the_papers(folder: Path) -> None:
    truth = images()
    seen = truth[::-1].copy()
    found = Lpips(folder)(truth, seen)
    np.testing.assert_allclose(found, as_published(folder, truth, seen), rtol=1e-4)
    np.testing.assert_allclose(found, Lpips(folder)(seen, truth), rtol=1e-5)


def test_equal_images_are_at_no_distance_and_worse_ones_farther(folder: Path) -> None:
    distance, truth = Lpips(folder), np.full((1, 64, 64, 3), 128, np.uint8)
    truth[:, 20:40, 20:40] = 60
    noise = np.random.default_rng(1).normal(size=truth.shape)
    seen = [np.clip(truth + strength * noise, 0, 255).astype(np.uint8) for strength in (0, 8, 40)]
    found = [float(distance(truth, image)[0]) for image in seen]
    assert found[0] == 0
    assert found[0] < found[1] < found[2]
    assert distance(truth[:0], truth[:0]).shape == (0,)


def test_pairs_of_other_sizes_or_types_are_refused(folder: Path) -> None:
    distance = Lpips(folder)
    with pytest.raises(ImageSizeError, match="pairs of one size"):
        distance(images(2), images(1))
    with pytest.raises(ImageSizeError, match="at least 32"):
        distance(images()[:, :20], images()[:, :20])
    with pytest.raises(UnsupportedImageError, match="8-bit RGB"):
        distance(images() / 255, images())


@pytest.mark.parametrize("missing", [BACKBONE_FILE, LINEAR_FILE])
def test_a_missing_file_is_named_with_its_origin(
    missing: str, folder: Path, tmp_path: Path
) -> None:
    for name in {BACKBONE_FILE, LINEAR_FILE} - {missing}:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelNotFoundError, match=rf"no {missing}.*torchvision.*package lpips"):
        Lpips(tmp_path)


def test_files_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / BACKBONE_FILE).write_bytes((folder / BACKBONE_FILE).read_bytes())
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / LINEAR_FILE)
    with pytest.raises(WeightsError, match="lacks the tensor lin1"):
        Lpips(tmp_path)


# Numbers of the convolutions in the file of ST-LPIPS, by ours.
SLICES = {0: "slice1.0", 3: "slice2.5", 6: "slice3.9", 8: "slice4.11", 10: "slice5.13"}


@pytest.fixture(scope="module")
def shift_tolerant(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file as that of the package stlpips-pytorch."""
    alexnet, tensors = torch.load(folder / BACKBONE_FILE), torch.load(folder / LINEAR_FILE)
    tensors["scaling_layer.shift"] = torch.zeros(1, 3, 1, 1)
    for number, place in SLICES.items():
        for kind in ("weight", "bias"):
            tensors[f"net.{place}.{kind}"] = alexnet[f"features.{number}.{kind}"]
    tensors["net.slice1.1.filt"] = torch.ones(64, 1, 3, 3)
    path = tmp_path_factory.mktemp("st-lpips") / SHIFT_TOLERANT_FILE
    torch.save(tensors, path)
    return path


def test_a_shift_counts_for_less_in_st_lpips(folder: Path, shift_tolerant: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 256, (1, 24, 24, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    pair, other = (coarse[:, :-1, :-1], coarse[:, 1:, 1:]), coarse[:, 1:, 1:][:, ::-1]
    plain, tolerant = Lpips(folder), ShiftTolerantLpips(shift_tolerant)
    assert tolerant(pair[0], pair[0]) == 0
    assert tolerant(*pair) / tolerant(pair[0], other) < plain(*pair) / plain(pair[0], other)


def test_maps_are_halved_by_a_mean_over_neighbours() -> None:
    rising = torch.arange(9.0).expand(1, 2, 9, 9)
    halved = smoothly_halved(rising)
    assert halved.shape == (1, 2, 6, 6)
    assert halved[0, 0, 2].tolist() == [1, 1, 3, 5, 7, 7]  # mirrored at 0 and at 8


def test_st_lpips_says_where_its_weights_come_from(
    tmp_path: Path, shift_tolerant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match="pip install --no-deps stlpips-pytorch"):
        ShiftTolerantLpips(tmp_path / "nowhere.pth")
    package = tmp_path / "stlpips_pytorch"
    (package / "weights" / "vST0.0").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it is not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=SHIFT_TOLERANT_FILE):
        ShiftTolerantLpips()
    kept = package / "weights" / "vST0.0" / SHIFT_TOLERANT_FILE
    kept.write_bytes(shift_tolerant.read_bytes())
    pair = images(), images()[::-1].copy()
    assert ShiftTolerantLpips()(*pair) == pytest.approx(ShiftTolerantLpips(shift_tolerant)(*pair))
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, kept)
    with pytest.raises(WeightsError, match="lacks the tensor"):
        ShiftTolerantLpips()
