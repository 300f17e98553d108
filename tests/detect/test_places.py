"""What a detector says of places: the same however an image is read, and where it says it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from histomend.detect import places
from histomend.detect.found import Limits, gather
from histomend.detect.places import Places, look
from histomend.errors import PixelSizeError
from histomend.masks.artifact_classes import ARTIFACTS, CLASSES
from histomend.models.detector import Detector, DetectorConfig, load_detector, save_detector

FOLD, FOCUS, INK = (CLASSES.index(name) for name in ("fold", "out_of_focus", "ink"))


@pytest.fixture(scope="module")
def untrained_detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    torch.manual_seed(0)
    network = DetectorConfig().network()
    # Norms that have seen something, so that taking them into the convolutions is no empty test.
    network.train()
    network(torch.rand(2, 3, 64, 64))
    folder = tmp_path_factory.mktemp("detector")
    save_detector(folder, network.state_dict(), DetectorConfig())
    return load_detector(folder)


def reader(pixels: np.ndarray):
    return lambda region: pixels[
        region[1] : region[1] + region[3], region[0] : region[0] + region[2]
    ]


def test_norms_in_the_convolutions_change_nothing(untrained_detector: Detector) -> None:
    network: Any = DetectorConfig().network()
    network.train()
    network(torch.rand(2, 3, 64, 64))
    network.eval()
    x = torch.rand(1, 3, 70, 90) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(network.fused()(x), network(x), atol=1e-4, rtol=1e-3)


def test_windows_give_what_the_whole_gives(
    untrained_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 420, 3)).astype(np.uint8)
    whole = look(reader(pixels), (300, 420), 1.0, untrained_detector)
    monkeypatch.setattr(places, "WINDOW_PX", 128)
    asked: list[int] = []

    def read(region: tuple[int, int, int, int]) -> np.ndarray:
        asked.append(region[2] * region[3])
        return reader(pixels)(region)

    parts = look(read, (300, 420), 1.0, untrained_detector)
    assert len(asked) == 12
    # bf16 rounds differently in fields of other sizes; 2 of 255 is less than a hundredth.
    assert np.abs(parts.artifact.astype(int) - whole.artifact).max() <= 4
    assert (parts.best == whole.best).mean() > 0.99
    assert max(asked) < 300 * 420


def test_a_finer_scan_is_brought_to_the_same_places(untrained_detector: Detector) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    fine = np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1)
    coarse = look(reader(pixels), (64, 80), 1.0, untrained_detector)
    same = look(reader(fine), (256, 320), 0.25, untrained_detector)
    assert same.artifact.shape == coarse.artifact.shape == (32, 40)
    np.testing.assert_array_equal(same.artifact, coarse.artifact)
    assert same.um == coarse.um == 2.0


def test_pixels_that_are_too_coarse_are_refused(untrained_detector: Detector) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(PixelSizeError, match="too coarse"):
        look(reader(pixels), (64, 64), 4.0, untrained_detector)


def test_an_image_of_one_colour_is_glass(untrained_detector: Detector) -> None:
    pixels = np.full((100, 100, 3), 240, np.uint8)
    said = look(reader(pixels), (100, 100), 1.0, untrained_detector)
    assert not said.artifact.any()
    assert not said.tissue.any()


# Regions


def drawn(height: int = 100, width: int = 120, scale: int = 2) -> Places:
    """Return places without any artifact: tissue on the left half, glass on the right."""
    tissue = np.zeros((height, width), bool)
    tissue[:, : width // 2] = True
    return Places(
        (height * scale, width * scale),
        2.0,
        2.0 / scale,
        CLASSES,
        np.zeros((height, width), np.uint8),
        np.full((height, width), FOLD, np.uint8),
        tissue,
    )


def put(said: Places, box: tuple[int, int, int, int], kind: int, probability: float) -> None:
    x, y, w, h = box
    said.artifact[y : y + h, x : x + w] = round(255 * probability)
    said.best[y : y + h, x : x + w] = kind
    said.tissue[y : y + h, x : x + w] = False


def test_a_region_has_a_class_a_probability_and_an_area() -> None:
    said = drawn()
    put(said, (10, 20, 15, 10), FOLD, 0.9)
    put(said, (70, 50, 10, 10), INK, 0.95)
    found = gather(said, Limits())
    fold, ink = found.regions
    assert (fold.kind, ink.kind) == ("fold", "ink")
    assert fold.area_um2 == 15 * 10 * 4
    assert fold.probability == pytest.approx(0.9, abs=0.01)
    assert fold.box == (20, 40, 30, 20)
    mask = found.mask(["fold"])
    assert mask.shape == (200, 240)
    assert mask[42:58, 22:48].all()
    assert mask.sum() == pytest.approx(600, rel=0.1)
    assert not found.mask(["bubble"]).any()


def test_doubtful_and_small_regions_are_dropped() -> None:
    said = drawn()
    put(said, (5, 5, 20, 20), FOLD, 0.7)  # nowhere sure
    put(said, (40, 40, 3, 3), FOLD, 0.99)  # 36 um2
    assert gather(said, Limits()).regions == ()
    assert len(gather(said, Limits(peak=0.6)).regions) == 1
    assert len(gather(said, Limits(peak=0.6, smallest_um2=10)).regions) == 2


def test_a_threshold_of_a_class_counts_for_it_alone() -> None:
    said = drawn()
    put(said, (5, 5, 20, 20), FOLD, 0.85)
    put(said, (40, 40, 20, 20), INK, 0.85)
    found = gather(said, Limits(by_class={"ink": 0.9}))
    assert [region.kind for region in found.regions] == ["fold"]


def test_specks_of_another_class_belong_to_what_is_around_them() -> None:
    said = drawn()
    put(said, (5, 5, 40, 20), FOLD, 0.95)
    said.best[10:14, 10:14] = INK
    (region,) = gather(said, Limits()).regions
    assert (region.kind, region.area_um2) == ("fold", 40 * 20 * 4)
    said.best[5:25, 5:25] = INK  # half of it
    assert [r.kind for r in gather(said, Limits()).regions] == ["fold", "ink"]


def test_only_what_may_be_restored_is_in_the_mask_unless_named() -> None:
    said = drawn()
    put(said, (5, 5, 20, 20), FOCUS, 0.95)
    put(said, (40, 5, 10, 20), FOLD, 0.95)
    assert [r.kind for r in gather(said, Limits()).regions] == ["fold"], "1,600 um2 are no field"
    found = gather(said, Limits(smallest_field_um2=1000))
    assert not found.mask()[10:50, 10:50].any()
    assert found.mask()[12:48, 82:98].all()
    assert found.mask(["out_of_focus"])[12:48, 12:48].all()
    assert set(np.unique(found.label_image())) == {
        0,
        1 + ARTIFACTS.index("fold"),
        1 + ARTIFACTS.index("out_of_focus"),
    }


def test_shares_are_of_tissue_and_pass_over_what_lies_on_glass() -> None:
    said = drawn()
    put(said, (5, 5, 30, 20), FOLD, 0.95)  # on tissue, of which there are 6,000 places
    put(said, (100, 50, 15, 30), INK, 0.95)  # on glass, 80 um from any tissue
    found = gather(said, Limits())
    shares = found.shares()
    assert shares["fold"] == pytest.approx(600 / 6000, rel=0.01)
    assert shares["ink"] == 0
    assert found.tissue_mm2() == pytest.approx(6000 * 4e-6, rel=0.01)
    row = found.summary()
    assert row["regions"] == 2
    assert row["restorable_share"] == pytest.approx(0.1, rel=0.01)


def test_parts_of_a_mask_fit_together() -> None:
    said = drawn()
    put(said, (13, 21, 30, 17), FOLD, 0.95)
    found = gather(said, Limits())
    whole = found.mask()
    for part in ((0, 0, 101, 77), (30, 40, 50, 60), (199, 10, 41, 190)):
        x, y, w, h = part
        np.testing.assert_array_equal(found.mask(part=part), whole[y : y + h, x : x + w])
