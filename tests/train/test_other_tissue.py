"""What is laid into scenes of a detector's training: other tissue, keratin, real artifacts."""

from __future__ import annotations

import numpy as np
import pytest

from histomend.masks.artifact_classes import CLASSES
from histomend.train.found_artifacts import LAID_IN_SHARE, FoundArtifacts
from histomend.train.other_tissue import keratin, patched, without_cells
from histomend.train.scenes import LOOKS, damaged, scene

GLASS, TISSUE, INK = (CLASSES.index(name) for name in ("glass", "tissue", "ink"))
PINK = (230, 150, 190)


def even(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    return np.full((side, side, 3), PINK, np.uint8)


def found(background: tuple[int, int, int], kind: str = "ink") -> FoundArtifacts:
    """Return a green square of 30 px in a picture of 96."""
    pixels = np.full((96, 96, 3), background, np.uint8)
    pixels[30:60, 30:60] = (20, 120, 90)
    labels = np.full((96, 96), TISSUE, np.uint8)
    labels[30:60, 30:60] = CLASSES.index(kind)
    return FoundArtifacts([pixels], [labels], [kind])


def test_every_class_is_drawn_as_often_with_real_artifacts_as_without() -> None:
    looks = found(PINK).looks()
    for kind in {look.label for look in LOOKS}:
        before = sum(look.weight for look in LOOKS if look.label == kind)
        assert sum(look.weight for look in looks if look.label == kind) == pytest.approx(before)
    real = looks[len(LOOKS) :]
    assert [look.label for look in real] == ["ink"]
    ink = sum(look.weight for look in LOOKS if look.label == "ink")
    assert real[0].weight == pytest.approx(LAID_IN_SHARE * ink)


def test_an_artifact_takes_the_place_of_tissue_and_is_labelled() -> None:
    look = found(PINK).looks()[-1]
    pixels = even(np.random.default_rng(0))
    labels = np.full((96, 96), TISSUE, np.uint8)
    for seed in range(4):
        after, marked = damaged(pixels, labels, look, np.random.default_rng(seed))
        ink = marked == INK
        assert 300 < ink.sum() < 3000
        np.testing.assert_array_equal(after[~ink], pixels[~ink])
        # Ink is green in whatever stain: red is absorbed far more than where there was none.
        assert after[ink][:, 0].mean() < 140


def test_what_lay_on_glass_darkens_what_is_below() -> None:
    dark = np.full((96, 96, 3), (120, 60, 110), np.uint8)
    laid, mask = found((250, 250, 250)).laid_in("ink", dark, np.random.default_rng(1), 1.0, 1.0)
    assert mask.any()
    assert (laid[mask].mean(0) < (120, 60, 110)).all()


def test_a_bubble_brings_what_is_seen_through_it() -> None:
    clear = found((250, 250, 250), "bubble")
    dark = np.full((96, 96, 3), (120, 60, 110), np.uint8)
    laid, mask = clear.laid_in("bubble", dark, np.random.default_rng(1), 1.0, 1.0)
    # The square's own green, not darker than it.
    assert laid[mask][:, 1].mean() > 85


def test_keratin_is_stained_wavy_and_often_peels() -> None:
    drawn = [keratin(128, np.random.default_rng(seed)) for seed in range(20)]
    assert all(each.shape == (128, 128, 3) and each.min() >= 0 for each in drawn)
    bare = [float((each.mean(2) < 0.05).mean()) for each in drawn]
    assert sum(share > 0.1 for share in bare) >= 5
    assert sum(share < 0.01 for share in bare) >= 3
    # Green is absorbed most, as by eosin and by haematoxylin.
    means = np.mean([each.mean((0, 1)) for each in drawn], 0)
    assert means[1] > means[2] > 0.1
    np.testing.assert_array_equal(drawn[3], keratin(128, np.random.default_rng(3)))


def test_tissue_without_cells_has_no_holes() -> None:
    drawn = [without_cells(96, np.random.default_rng(seed)) for seed in range(10)]
    assert all(float(each.mean(2).min()) > 0.03 for each in drawn)


def test_patches_leave_most_of_a_scene_as_it_is() -> None:
    for seed in range(10):
        pixels = even(np.random.default_rng(0))
        after = patched(pixels, even, np.random.default_rng(seed))
        changed = (np.abs(after.astype(int) - pixels).max(2) > 2).mean()
        assert changed < 0.75


def test_scenes_are_drawn_from_the_looks_that_are_given() -> None:
    only = (found(PINK).looks()[-1],)
    seen = set()
    for seed in range(12):
        _, labels = scene(even, np.random.default_rng(seed), only)
        seen |= set(np.unique(labels).tolist())
    assert seen <= {GLASS, TISSUE, INK, 255}
    assert INK in seen
