from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from histomend.errors import InputError, MaskError, MissingDependencyError
from histomend.evaluate import realism

SIZE = 72


def tissue(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = sum(
        layer / layer.std()
        for layer in (
            ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), s) for s in (0.7, 2, 5)
        )
    )
    colour = np.array([200, 140, 190]) + rng.normal(0, 8, 3)
    return np.clip(colour + 15 * np.asarray(noise)[..., None], 0, 255).astype(np.uint8)


def disc() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    return np.hypot(y, x) < 24


def regions(seeds: range, sigma: float = 0) -> list[np.ndarray]:
    images = [tissue(seed).astype(float) for seed in seeds]
    return [
        realism.features(ndimage.gaussian_filter(image, (sigma, sigma, 0)).astype(np.uint8), disc())
        for image in images
    ]


def tiles(count: int) -> list[str]:
    return [f"tile{i // 2}" for i in range(count)]


def test_the_same_distribution_cannot_be_told_apart() -> None:
    pytest.importorskip("sklearn")
    count = 45
    told = realism.tell_apart(
        regions(range(count)), regions(range(1000, 1000 + count)), tiles(count), draws=200
    )
    assert told.low <= 0.5 <= told.high
    assert 0.3 < told.value < 0.7
    assert told.count == count


def test_a_slight_blur_is_told_apart() -> None:
    pytest.importorskip("sklearn")
    told = realism.tell_apart(
        regions(range(40)), regions(range(40), sigma=1.0), tiles(40), draws=200
    )
    assert told.low > 0.9
    assert told.low <= told.value <= told.high


def test_a_region_that_equals_its_truth_scores_exactly_half() -> None:
    pytest.importorskip("sklearn")
    same = regions(range(20))
    assert realism.tell_apart(same, same, tiles(20), draws=50).value == pytest.approx(0.5)


def test_memorised_tiles_do_not_help() -> None:
    # Each tile has its own arbitrary label-revealing offset: a classifier tested on tiles that
    # it was trained on would be perfect, one that is not must guess.
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    names, true, restored = [], [], []
    for tile in range(30):
        base, sign = 20 * rng.standard_normal(30), rng.choice([-1, 1])
        for _ in range(4):
            names.append(f"tile{tile}")
            true.append(base + sign + 0.01 * rng.standard_normal(30))
            restored.append(base - sign + 0.01 * rng.standard_normal(30))
    assert realism.tell_apart(true, restored, names, draws=50).value < 0.75


def test_the_result_repeats_with_its_seed() -> None:
    pytest.importorskip("sklearn")
    true, restored = regions(range(20)), regions(range(50, 70), sigma=0.6)
    one, two = (realism.tell_apart(true, restored, tiles(20), seed=3, draws=50) for _ in range(2))
    assert one == two


def test_features_see_the_inside_only_and_are_finite() -> None:
    image, mask = tissue(0), disc()
    outside = np.where(ndimage.binary_dilation(mask, iterations=24)[..., None], image, 0)
    inside = realism.features(image, mask)
    assert np.isfinite(inside).all()
    np.testing.assert_allclose(inside, realism.features(outside.astype(np.uint8), mask), atol=0.02)
    blank = np.full((SIZE, SIZE, 3), 240, np.uint8)
    assert np.isfinite(realism.features(blank, mask)).all()
    thin = np.zeros((SIZE, SIZE), bool)
    thin[30] = True
    assert np.isfinite(realism.features(image, thin)).all()


def test_shrunk_features_are_those_of_the_smaller_image() -> None:
    image, mask = np.clip(tissue(0), 5, 245), disc()
    small = np.rint(image.reshape(36, 2, 36, 2, 3).mean(axis=(1, 3))).astype(np.uint8)
    inner = mask.reshape(36, 2, 36, 2).all(axis=(1, 3))
    one, two = realism.features(image, mask, shrink=2), realism.features(small, inner)
    np.testing.assert_allclose(one[:9], two[:9], rtol=0.02, atol=0.05)
    # Grain that averages out is not seen.
    grain = np.indices(image.shape[:2]).sum(axis=0)[..., None] % 2 * 6
    grainy = (image - 3 + grain).astype(np.uint8)
    np.testing.assert_allclose(realism.features(grainy, mask, shrink=2), one, rtol=1e-6, atol=1e-6)
    assert np.abs(realism.features(grainy, mask) - realism.features(image, mask)).max() > 0.1


def test_features_do_not_depend_on_where_the_region_lies() -> None:
    image = np.tile(tissue(1), (4, 4, 1))
    places = [np.zeros(image.shape[:2], bool) for _ in range(2)]
    for place, corner in zip(places, (30, 30 + SIZE), strict=True):
        place[corner : corner + SIZE, corner : corner + SIZE] = disc()
    one, two = (realism.features(image, place) for place in places)
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_too_few_tiles_and_bad_masks_are_refused() -> None:
    pytest.importorskip("sklearn")
    few = regions(range(4))
    with pytest.raises(InputError, match="at least 5 tiles"):
        realism.tell_apart(few, few, tiles(4))
    with pytest.raises(InputError, match="as many of one"):
        realism.tell_apart(few * 5, few, tiles(20))
    with pytest.raises(MaskError):
        realism.features(tissue(0), np.zeros((SIZE, SIZE), bool))
    dots = np.zeros((SIZE, SIZE), bool)
    dots[::2, ::2] = True
    with pytest.raises(MaskError, match="no whole block of 2x2"):
        realism.features(tissue(0), dots, shrink=2)


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'histomend\[bench\]'"):
        realism.tell_apart([np.zeros(3)], [np.zeros(3)], ["a"])


def test_what_lies_beside_the_border_is_left_out() -> None:
    """Neighbours outside are the truth's, so two pixels inside the border say too little."""
    image, region = tissue(0), disc()
    marked = image.copy()
    marked[region & ~ndimage.binary_erosion(region, iterations=2)] = (0, 255, 0)
    colours = slice(0, 9)  # mean, deviation and skewness of each channel
    assert (
        realism.features(marked, region)[colours] == realism.features(image, region)[colours]
    ).all()
