from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.damage.blur_levels import REACH_PX, blurred
from histomend.errors import (
    ImageSizeError,
    ModelNotFoundError,
    SettingError,
    TrainingError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.evaluate.encoder import EncoderConfig, parts_of, save_encoder
from histomend.evaluate.iqa import IqaConfig, QualityNetwork, load_iqa, save_iqa
from histomend.train import IqaOptions, train
from histomend.train.data import Tiles
from histomend.train.iqa import all_levels, blurred_crops

FEW = {"batch": 6, "crop": 32, "device": "cpu"}


def train_iqa(data: Path, out: Path, report: Any = None, **settings: Any) -> Path:
    return train(IqaOptions(data, out, **settings), report)


@pytest.fixture(scope="module")
def grainy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two tiles of sharp grain."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("grainy")
    for number in range(2):
        grain = np.random.default_rng(number).integers(40, 220, (96, 96, 3))
        Image.fromarray(grain.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(grainy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 30 steps."""
    out = tmp_path_factory.mktemp("iqa") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("histomend.train.iqa.HELD_OUT", 1)
        train_iqa(grainy, out, blur="box", steps=30, lr=3e-3, **FEW)
    return out


def test_a_network_of_our_own_has_less_than_half_a_million_weights() -> None:
    assert sum(p.numel() for p in QualityNetwork().parameters()) < 500_000


def test_what_is_blurred_more_scores_less(trained: Path, grainy: Path, tmp_path: Path) -> None:
    model = load_iqa(trained / "model")
    assert model.name == "own IQA (box)"
    tile = Tiles(grainy, tmp_path).pixels[0]
    sharp, soft, softer = model.score(np.stack([blurred(tile, "box", n) for n in (0, 2, 6)]))
    assert 1 > sharp > soft > softer > 0
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert log[-1]["box_spearman"] > 0.5
    assert {"box_kendall", "box_pearson", "box_in_order"} <= set(log[-1])


def test_an_image_is_judged_by_parts_that_are_not_resized(trained: Path) -> None:
    model = load_iqa(trained / "model")
    image = np.random.default_rng(3).integers(0, 256, (1, 70, 80, 3)).astype(np.uint8)
    quarters = parts_of(image, 32)
    assert quarters.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(quarters[1], image[0, :32, 32:64])
    np.testing.assert_array_equal(quarters[2], image[0, 32:64, :32])
    assert model.score(image) == pytest.approx(model.score(quarters).mean())
    assert model.score(image[:0]).shape == (0,)
    with pytest.raises(UnsupportedImageError, match="8-bit RGB"):
        model.score(image[..., :1])
    with pytest.raises(ImageSizeError, match="32 px"):
        model.score(image[:, :20])


def test_crops_are_blurred_with_what_lies_around_them(grainy: Path, tmp_path: Path) -> None:
    tiles = Tiles(grainy, tmp_path)
    images = all_levels(tiles, np.random.default_rng(0), "gaussian", 1, 32)
    field = tiles.crop(np.random.default_rng(0), 32 + 2 * REACH_PX)
    middle = np.s_[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    assert images.shape == (11, 32, 32, 3)
    np.testing.assert_array_equal(images[0], field[middle])
    np.testing.assert_array_equal(images[10], blurred(field, "gaussian", 10)[middle])


def test_the_same_seed_makes_the_same_data_set(grainy: Path, tmp_path: Path) -> None:
    def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        images, scores = blurred_crops(Tiles(grainy, tmp_path), rng, ("box", "gaussian"), 60, 32)
        return images, scores.numpy()

    (one, scores), (again, _) = drawn(0), drawn(0)
    np.testing.assert_array_equal(one, again)
    assert set(scores) == set(range(11))


def test_a_head_learns_on_frozen_features(grainy: Path, tmp_path: Path) -> None:
    seen = EncoderConfig(features=8)
    state = seen.network().state_dict()
    save_encoder(tmp_path / "encoder", state, seen)
    places = {"features": "histology", "weights": str(tmp_path / "encoder")}
    train_iqa(grainy, tmp_path / "run", **places, steps=1, **FEW)
    model = load_iqa(tmp_path / "run" / "model")
    assert (model.config.dimensions, model.name) == (8, "histology IQA (both)")
    image = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    assert ((model.score(image) > 0) & (model.score(image) < 1)).all()
    (tmp_path / "encoder").rename(tmp_path / "moved")
    with pytest.raises(ModelNotFoundError, match="no encoder"):
        load_iqa(tmp_path / "run" / "model")
    moved = load_iqa(tmp_path / "run" / "model", tmp_path / "moved")
    np.testing.assert_array_equal(moved.score(image), model.score(image))
    other = tmp_path / "other"
    with pytest.raises(TrainingError, match="head on features of histology"):
        train_iqa(grainy, other, init=tmp_path / "run" / "model", steps=1, **FEW)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"blur": "motion"}, "box, gaussian, both"),
        ({"crop": 16}, "32 or more"),
        ({"features": "clip"}, "go together"),
        ({"features": "vgg", "weights": "anything"}, "'vgg'"),
    ],
)
def test_impossible_settings_are_refused(
    wrong: dict[str, object], said: str, grainy: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=said):
        train_iqa(grainy, tmp_path / "run", steps=1, **wrong)  # type: ignore[arg-type]


def test_tiles_too_small_for_the_blur_are_refused(
    tiles_in: Callable[..., Path], tmp_path: Path
) -> None:
    small = tiles_in(tmp_path / "small", {"a.png": 90, "b.png": 120})
    with pytest.raises(TrainingError, match="do not fit"):
        train_iqa(small, tmp_path / "run", steps=1, **FEW)


def test_a_folder_that_is_no_quality_model_or_was_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="histomend train iqa"):
        load_iqa(tmp_path)
    config = IqaConfig("box")
    save_iqa(tmp_path, config.network().state_dict(), config)
    fields = json.loads((tmp_path / "config.json").read_text())
    for change, word in (
        ({"sha256": "0" * 64}, "exchanged"),
        ({"blur": "motion"}, "blur='motion'"),
        ({"dimensions": 5}, "dimensions=5"),
        ({"features": "clip"}, "dimensions=0"),
        ({"part_px": 1}, "part_px=1"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(fields | change))
        with pytest.raises(WeightsError, match=word):
            load_iqa(tmp_path)
