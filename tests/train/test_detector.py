"""What a detector learns from: scenes with the right labels, and real artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histomend.damage import dirt, imaging
from histomend.errors import TrainingError
from histomend.masks.artifact_classes import CLASSES
from histomend.models.detector import UNLABELLED
from histomend.train.detector import agreement
from histomend.train.found_artifacts import read_found
from histomend.train.scenes import Artifact, damaged, partly_unscanned, scene, sound_labels

GLASS, TISSUE, INK = (CLASSES.index(name) for name in ("glass", "tissue", "ink"))


def stroma(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """Draw pink tissue with dark dots, and glass on its right third."""
    od = np.abs(rng.normal(1, 0.15, (side, side, 1))) * np.array([0.15, 0.5, 0.3])
    od[rng.random((side, side)) < 0.1] = (0.9, 1.0, 0.5)
    od[:, 2 * side // 3 :] = 0.03
    return (255 * np.exp(-od)).astype(np.uint8)


def test_tissue_is_told_from_glass() -> None:
    labels = sound_labels(stroma(np.random.default_rng(0)))
    assert (labels[:, :58] == TISSUE).mean() > 0.99
    assert (labels[:, 72:] == GLASS).all()


def test_what_is_seen_of_an_artifact_has_its_label_and_the_rest_stays() -> None:
    rng = np.random.default_rng(1)
    pixels = stroma(rng)
    labels = sound_labels(pixels)
    spot = Artifact("dark_spot", dirt.dark_spot, 1, (0.1, 0.1))
    after, marked = damaged(pixels, labels, spot, np.random.default_rng(2))
    changed = (after != pixels).any(axis=2)
    is_spot = marked == CLASSES.index("dark_spot")
    assert 0.05 < is_spot.mean() < 0.12
    assert changed[is_spot].mean() > 0.9
    np.testing.assert_array_equal(marked[~changed & ~is_spot & (marked != UNLABELLED)],
                                  labels[~changed & ~is_spot & (marked != UNLABELLED)])  # fmt: skip


def test_a_blur_is_no_artifact_of_glass() -> None:
    pixels = stroma(np.random.default_rng(1))
    labels = sound_labels(pixels)
    blur = Artifact("out_of_focus", imaging.out_of_focus, 1, (0.9, 0.9))
    for seed in range(3):
        _, marked = damaged(pixels, labels, blur, np.random.default_rng(seed))
        focus = marked == CLASSES.index("out_of_focus")
        assert focus.any()
        assert not (focus & (labels == GLASS)).any()


def test_what_was_not_scanned_is_glass() -> None:
    pixels = stroma(np.random.default_rng(0))
    white, labels = partly_unscanned(pixels, sound_labels(pixels), np.random.default_rng(3))
    changed = (white != pixels).any(axis=2)
    assert changed.any()
    assert (labels[changed] == GLASS).all()


def test_scenes_follow_from_the_generator_alone_and_show_every_class() -> None:
    seen: set[int] = set()
    for seed in range(40):
        pixels, labels = scene(stroma, np.random.default_rng(seed))
        assert pixels.shape == (96, 96, 3)
        seen |= set(np.unique(labels).tolist())
    again, same = scene(stroma, np.random.default_rng(39))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(same, labels)
    assert len(seen & set(range(len(CLASSES)))) >= 9


def test_figures_count_what_is_labelled() -> None:
    labels = torch.tensor([[[GLASS, TISSUE, INK, INK], [TISSUE, TISSUE, UNLABELLED, INK]]])
    told = torch.tensor([[[GLASS, INK, INK, INK], [TISSUE, TISSUE, TISSUE, TISSUE]]])
    figures = agreement(told, labels)
    assert figures["dice_ink"] == round(2 * 2 / (3 + 3), 4)
    assert figures["dice_glass"] == 1
    assert figures["false_area"] == 0.25


def test_real_artifacts_are_read_at_the_size_of_the_detector(tmp_path: Path) -> None:
    Image.fromarray(stroma(np.random.default_rng(0), 128)).save(tmp_path / "a.png")
    mask = np.zeros((128, 128), np.uint8)
    mask[40:80, 30:60] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    (tmp_path / "manifest.csv").write_text("file,kind,mask,mpp\na.png,ink,m.png,0.5\n")
    found = read_found(tmp_path, 1.0)
    assert found.kinds == ["ink"]
    assert found.labels[0].shape == (64, 64)
    assert (found.labels[0] == INK).sum() == 20 * 15
    for seed in range(5):
        pixels, labels = found.scene(48, np.random.default_rng(seed))
        assert pixels.shape == (48, 48, 3)
        assert (labels == INK).any()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,kind,mpp\na.png,ink,0.5\n", "cannot be read"),
        ("file,kind,mask,mpp\na.png,ink,m.png,0.5\n", "cannot be read"),
        ("file,kind,mask,mpp\na.png,ink,,0.5\n", "names no artifact"),
    ],
)
def test_a_folder_of_artifacts_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(TrainingError, match=says):
        read_found(tmp_path, 1.0)
