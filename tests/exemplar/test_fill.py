"""Holes are filled with tissue of the same image, to the pixel and with an account of it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histomend.errors import MaskError, SettingError, UnsupportedImageError
from histomend.exemplar.fill import Filling, fill
from histomend.exemplar.provenance import COPIED


def hole(shape: tuple[int, int], y: int, x: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def damaged(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], 0, image).astype(image.dtype)


def texture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Pink tissue with dark spots."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), (225, 160, 200), np.float32) + rng.normal(0, 4, (*shape, 3))
    y, x = np.mgrid[: shape[0], : shape[1]]
    for cy, cx in rng.uniform(0, 1, (shape[0] * shape[1] // 400, 2)) * shape:
        image[np.hypot(y - cy, x - cx) < rng.uniform(3, 6)] = (95, 55, 140)
    return image.clip(0, 255).astype(np.uint8)


def periodic(shape: tuple[int, int], period: int = 48) -> np.ndarray:
    one = texture((period, period))
    return np.tile(one, (-(-shape[0] // period), -(-shape[1] // period), 1))[: shape[0], : shape[1]]


def check(filling: Filling, image: np.ndarray, mask: np.ndarray) -> None:
    """What must hold of any filling."""
    assert filling.pixels.dtype == image.dtype
    assert (filling.pixels[~mask] == image[~mask]).all()
    assert (filling.pixels[filling.missing] == image[filling.missing]).all()
    assert not (filling.missing & ~mask).any()
    assert not (filling.seams & ~mask).any()
    assert filling.provenance.first_wrong(image, filling.pixels) == (0, -1, -1)
    accounted = np.zeros_like(mask)
    for part in filling.provenance.parts:
        belongs = part.origin > 0
        assert not (accounted[part.place] & belongs).any()
        accounted[part.place] |= belongs
        for number, piece in enumerate(part.pieces):
            rows, columns = np.nonzero(part.origin // 2 == COPIED // 2 + number)
            y, x = piece.source(rows + part.box[1], columns + part.box[0])
            assert min(y.min(initial=0), x.min(initial=0)) >= 0
            assert not mask[y, x].any(), "what is masked was copied"
    assert (accounted == mask).all()
    counts = filling.provenance.shares()
    assert counts["drawn"] == filling.missing.sum()
    assert sum(counts.values()) == mask.sum()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(64, 220),
    st.integers(64, 220),
    st.integers(0, 10_000),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_any_filling_leaves_the_rest_alone_and_accounts_for_itself(
    height: int, width: int, seed: int, dtype: type, mpp: float
) -> None:
    rng = np.random.default_rng(seed)
    image: np.ndarray = texture((height, width), seed).astype(dtype)
    if dtype == np.uint16:
        image = image * 257 + rng.integers(0, 50, image.shape, dtype=np.uint16)
    mask = np.zeros((height, width), bool)
    for _ in range(3):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        mask[y : y + int(rng.integers(1, 60)), x : x + int(rng.integers(1, 60))] = True
    before = image.copy()
    filling = fill(image, mask, mpp=mpp, seed=seed)
    assert (image == before).all(), "the image was written to"
    check(filling, image, mask)


def test_a_pattern_that_repeats_is_restored_exactly() -> None:
    image = periodic((384, 384))
    mask = hole((384, 384), 150, 160, 40, 52)
    filling = fill(damaged(image, mask), mask)
    assert (filling.pixels == image).all()
    assert filling.provenance.shares()["copied_exactly"] == mask.sum()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_tissue_that_only_fits_when_turned_is_found(turns: int) -> None:
    """The hole's whole neighbourhood is there a second time, turned; nothing else looks like it."""
    image = texture((200, 420), 1)
    image[:, 210:] = (240, 225, 235)
    image[30:170, 250:390] = np.rot90(image[30:170, 30:170], turns)
    mask = hole((200, 420), 85, 85, 28, 30)
    clean = np.zeros_like(mask)
    clean[30:170, 250:390] = True
    filling = fill(damaged(image, mask), mask, clean=clean)
    assert np.abs(filling.pixels[mask].astype(int) - image[mask]).mean() < 2


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_filling() -> None:
    image = texture((256, 256))
    mask = hole((256, 256), 90, 100, 60, 60)
    one, two, other = (fill(image, mask, seed=seed) for seed in (4, 4, 5))
    assert (one.pixels == two.pixels).all()
    assert one.provenance.record() == two.provenance.record()
    assert (one.pixels[mask] != other.pixels[mask]).any(1).mean() > 0.5


def test_what_lies_under_the_mask_is_never_seen() -> None:
    image = texture((200, 200))
    mask = hole((200, 200), 70, 80, 50, 40)
    one, two = (fill(each, mask) for each in (image, damaged(image, mask)))
    assert (one.pixels[mask] == two.pixels[mask]).all()


def test_stain_that_changes_across_the_image_meets_at_the_mask() -> None:
    """Everything there is to copy is darker than the hole's surroundings."""
    x = np.mgrid[:300, :300][1]
    image = (texture((300, 300)) * (0.94 + 0.06 * (x > 150))[..., None]).astype(np.uint8)
    mask = hole((300, 300), 120, 220, 48, 48)
    filling = fill(damaged(image, mask), mask, clean=np.asarray(x < 140) & ~mask)
    light = np.median(image[(x > 150) & ~mask], 0)
    assert np.abs(np.median(filling.pixels[mask], 0) - light).max() < 6
    check(filling, damaged(image, mask), mask)


def test_a_rim_of_the_artifact_beside_the_mask_does_not_stain_the_filling() -> None:
    image = texture((300, 300))
    mask = hole((300, 300), 120, 120, 60, 60)
    soiled = damaged(image, hole((300, 300), 118, 118, 64, 64))
    filling = fill(soiled, mask)
    levels = np.median(filling.pixels[mask], 0)
    assert np.abs(levels - np.median(image, (0, 1))).max() < 4
    assert "too tight" in filling.notices[0]
    assert not fill(damaged(image, mask), mask).notices


def test_a_hole_on_glass_is_filled_with_glass_and_one_in_tissue_with_tissue() -> None:
    image = texture((320, 320))
    rng = np.random.default_rng(0)
    image[:, 160:] = rng.integers(240, 246, (320, 160, 3))
    glass, tissue = hole((320, 320), 140, 230, 30, 30), hole((320, 320), 140, 60, 30, 30)
    filling = fill(damaged(image, glass | tissue), glass | tissue)
    assert filling.pixels[glass].min() >= 230
    assert (filling.pixels[tissue].min(1) < 230).mean() > 0.95
    assert not filling.missing.any()


def test_without_clean_tissue_nothing_is_filled_and_it_is_said() -> None:
    image = texture((128, 128))
    mask = hole((128, 128), 10, 10, 110, 110)
    for clean in (None, np.zeros_like(mask)):
        filling = fill(image, mask, clean=clean)
        assert filling.missing.sum() == mask.sum()
        assert "too little clean tissue" in filling.notices[0]
        assert filling.provenance.shares()["drawn"] == mask.sum()
    everything = fill(image, np.ones_like(mask))
    assert everything.missing.all()


def test_a_hole_wider_than_what_is_clean_is_filled_from_several_places() -> None:
    image = texture((100, 700))
    mask = hole((100, 700), 0, 200, 100, 180)  # it touches both borders
    filling = fill(damaged(image, mask), mask)
    check(filling, damaged(image, mask), mask)
    assert filling.missing.mean() < 0.05
    assert not filling.seams[0, 250:350].all(), "the border of the image is no seam"


def test_what_is_not_clean_is_not_copied() -> None:
    image = texture((256, 256))
    mask = hole((256, 256), 100, 100, 40, 40)
    clean = np.ones_like(mask)
    clean[:, 128:] = False
    filling = fill(damaged(image, mask), mask, clean=clean)
    for part in filling.provenance.parts:
        for number, piece in enumerate(part.pieces):
            rows, columns = np.nonzero(part.origin // 2 == COPIED // 2 + number)
            _, x = piece.source(rows + part.box[1], columns + part.box[0])
            assert x.max(initial=0) < 128
    assert not filling.missing.any()


def test_a_flat_image_stays_flat() -> None:
    image = np.full((128, 128, 3), (200, 120, 160), np.uint8)
    mask = hole((128, 128), 40, 40, 30, 30)
    assert (fill(damaged(image, mask), mask).pixels == image).all()


def test_an_image_smaller_than_the_surroundings_that_are_compared_is_filled() -> None:
    image = texture((64, 64))
    mask = hole((64, 64), 28, 30, 6, 6)
    filling = fill(damaged(image, mask), mask)
    assert not filling.missing.any()
    assert (filling.pixels[mask].max(1) > 0).all()


def test_sixteen_bits_are_filled_as_eight_are() -> None:
    image = texture((200, 200))
    mask = hole((200, 200), 70, 80, 50, 40)
    deep = fill(image.astype(np.uint16) * 257, mask).pixels
    assert np.abs(np.rint(deep / 257) - fill(image, mask).pixels).max() <= 2


def test_seams_surround_the_mask() -> None:
    image = texture((200, 200))
    mask = hole((200, 200), 70, 80, 50, 40)
    seams = fill(image, mask).seams
    inner = hole((200, 200), 71, 81, 48, 38)
    assert seams[mask & ~inner].all()


def test_bad_input_has_named_errors() -> None:
    image, mask = texture((80, 80)), hole((80, 80), 20, 20, 10, 10)
    with pytest.raises(UnsupportedImageError, match="cannot be filled"):
        fill(image[..., 0], mask)
    with pytest.raises(UnsupportedImageError, match="float64"):
        fill(image / 255, mask)
    with pytest.raises(MaskError, match="the mask is"):
        fill(image, mask[:40])
    with pytest.raises(MaskError, match="clean tissue is"):
        fill(image, mask, clean=mask.astype(int))
    with pytest.raises(SettingError, match="0 um"):
        fill(image, mask, mpp=0)
