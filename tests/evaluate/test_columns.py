from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from histomend.errors import (
    MissingDependencyError,
    ModelMismatchError,
    ModelNotFoundError,
    SettingError,
)
from histomend.evaluate import metrics
from histomend.evaluate.columns import MEASURES, open_measures
from histomend.evaluate.encoder import EncoderConfig, save_encoder
from histomend.evaluate.iqa import IqaConfig, save_iqa
from histomend.evaluate.listing import HEADER, listed, markdown
from histomend.evaluate.pyiqa_scores import pyiqa_scores
from histomend.evaluate.tables import Interval


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what a developer's machine may have."""
    for package in ("pyiqa", "timm", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("histomend.evaluate.perceptual.find_spec", lambda _: None)


def pairs(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth = np.stack([tissue[:96, :96], tissue[-96:, -96:]])
    return truth, 255 - truth // 2


def test_all_columns_of_the_papers_tables_are_listed() -> None:
    columns = [column for measure in MEASURES.values() for column in measure.columns]
    assert [column.header for column in columns] == [
        "PSNR ↑", "SSIM ↑", "LPIPS ↓", "ST-LPIPS ↓", "CLIP-IQA ↑", "MUSIQ ↑", "NIQE ↓", "BRISQUE ↓",
        "NRQM ↑", "L1-texture ↓", "L1-intensity ↓", "blur IQA (box) ↑", "blur IQA (Gaussian) ↑",
        "UNI similarity ↑", "PLIP similarity ↑", "similarity (own encoder) ↑",
        "PSNR inside ↑", "L2 ×10⁴ ↓", "MSE ↓", "FSIM ↑", "SRE ↑", "PSNR, 4095 ↑", "SSIM, 4095 ↑",
        "SRE, root ↑", "Laplacian → 1", "spectrum → 1", "border step → 1", "colour, ΔE00 ↓",
        "nuclei, number → 1", "nuclei, area → 1",
        "FID ↓", "KID ↓", "CMMD ↓", "FID (lite0) ↓", "KID (lite0) ↓",
        "FID (own) ↓", "KID (own) ↓", "CMMD (own) ↓",
    ]  # fmt: skip
    assert len({column.key for column in columns}) == len(columns)


def test_the_docs_list_every_measure_with_its_range_library_and_needs() -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in listed()]
    assert {row["name"].removesuffix(" *") for row in rows} == set(MEASURES)
    assert all(row["range"] and row["library"] for row in rows)
    needy = {name for name, measure in MEASURES.items() if measure.asks}
    assert all(row["needs"] for row in rows if row["name"] in needy)
    guide = Path(__file__).parents[2] / "docs" / "guides" / "measures.md"
    assert markdown() in guide.read_text(encoding="utf-8"), (
        "run python -m histomend.evaluate.listing docs/guides/measures.md"
    )


def test_what_takes_16_bits_measures_them_in_their_own_range(tissue: np.ndarray) -> None:
    truth, images = pairs(tissue)
    masks = np.zeros(truth.shape[:3], np.bool_)
    masks[:, 20:70, 20:70] = True
    opened, _ = open_measures({}, keys=[name for name, m in MEASURES.items() if m.deep])
    assert {"psnr", "ssim", "sre", "laplacian"} <= set(opened)
    for name, (measure, compares) in opened.items():
        inside = (masks,) if measure.of == "masks" else ()
        eight = compares(truth, images, *inside)[name]
        deep = [(257 * pixels.astype(np.uint16)) for pixels in (truth, images)]
        factor = {"l2": 257, "mse": 257**2}.get(name, 1)
        np.testing.assert_allclose(compares(*deep, *inside)[name], factor * eight, rtol=1e-5)


def test_what_is_not_at_hand_is_a_note_and_no_figure(tissue: np.ndarray) -> None:
    opened, notes = open_measures({})
    assert list(opened) == ["psnr", "ssim", "nuclei"]
    assert [note.partition(": not available: needs ")[0] for note in notes] == [
        "LPIPS", "ST-LPIPS", "CLIP-IQA", "MUSIQ", "NIQE", "BRISQUE", "NRQM", "blur IQA (box)",
        "blur IQA (Gaussian)", "UNI similarity", "PLIP similarity", "similarity (own encoder)",
    ]  # fmt: skip
    assert any("forbids commercial use" in note and "pip install pyiqa" in note for note in notes)
    truth, images = pairs(tissue)
    for measure, compares in opened.values():
        found = compares(truth, images)
        assert set(found) == {column.key for column in measure.columns}
        assert all(figures.shape == (2,) for figures in found.values())
    assert opened["psnr"][1](truth, images)["psnr"][1] == metrics.psnr(truth[1], images[1])


def test_models_that_are_at_hand_give_columns(tissue: np.ndarray, tmp_path: Path) -> None:
    encoder, blur = EncoderConfig(features=8), IqaConfig("gaussian", part_px=32)
    save_encoder(tmp_path / "encoder", encoder.network().state_dict(), encoder)
    save_iqa(tmp_path / "blur", blur.network().state_dict(), blur)
    places = {"encoder": tmp_path / "encoder", "iqa_gaussian": tmp_path / "blur"}
    opened, notes = open_measures(places, keys=["iqa_gaussian", "encoder"])
    assert (list(opened), notes) == (["iqa_gaussian", "encoder"], [])
    truth, _ = pairs(tissue)
    assert opened["encoder"][1](truth, truth)["encoder"] == pytest.approx(1)
    assert opened["iqa_gaussian"][1](truth, truth)["iqa_gaussian"].shape == (2,)
    # A model of the other blur does not stand in.
    opened, notes = open_measures({"iqa_box": tmp_path / "blur"}, keys=["iqa_box"])
    assert not opened
    assert "learned gaussian blur" in notes[0]


def test_a_damaged_model_is_a_note_that_says_so(tmp_path: Path) -> None:
    config = IqaConfig("box")
    save_iqa(tmp_path, config.network().state_dict(), config)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {"sha256": ""}))
    _, notes = open_measures({"iqa_box": tmp_path}, keys=["iqa_box"])
    assert "damaged or was exchanged" in notes[0]


def test_measures_that_do_not_exist_are_refused() -> None:
    for wrong in ({"places": {"vmaf": "x"}}, {"places": {}, "keys": ["vmaf"]}):
        with pytest.raises(SettingError, match=r"'vmaf'.*psnr, ssim"):
            open_measures(**wrong)  # type: ignore[arg-type]


class Metric:
    """What pyiqa makes, as far as it is used: the mean of an image in [0, 1]."""

    metric_mode = "NR"
    lower_better = True

    def __init__(self, name: str, device: torch.device):
        if name != "niqe":
            raise OSError("no connection")

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[:2] == (1, 3)
        return image.mean()[None]


def test_scores_of_pyiqa_are_handed_on_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match="pip install pyiqa"):
        pyiqa_scores("niqe", lower_is_better=True)
    module = ModuleType("pyiqa")
    module.create_metric = Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    images = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (0, 51, 255)])
    assert pyiqa_scores("niqe", lower_is_better=True)(images) == pytest.approx([0, 0.2, 1])
    opened, _ = open_measures({}, keys=["niqe", "musiq"])
    assert list(opened) == ["niqe"]
    with pytest.raises(ModelNotFoundError, match=r"musiq .*no connection"):
        pyiqa_scores("musiq", lower_is_better=False)
    with pytest.raises(ModelMismatchError, match="other direction"):
        pyiqa_scores("niqe", lower_is_better=False)


def test_what_is_inside_a_mask_is_measured_there_alone(tissue: np.ndarray) -> None:
    truth, _ = pairs(tissue)
    masks = np.zeros(truth.shape[:3], bool)
    masks[:, 16:64, 16:64] = True
    images = np.where(masks[..., None], truth, 0).astype(np.uint8)
    names = [name for name, measure in MEASURES.items() if measure.of == "masks"]
    opened, notes = open_measures({}, keys=names)
    assert notes == []
    found: dict[str, np.ndarray] = {}
    for name in names:
        found |= opened[name][1](truth, images, masks)
    assert found["l2"] == pytest.approx(0)
    assert found["laplacian"] == pytest.approx(1)
    assert found["colour"] == pytest.approx(0)
    both = opened["nuclei_inside"][1](truth, truth, masks)["nuclei_number"]
    assert np.all(both[:, 0] == both[:, 1])
    assert both.sum() > 0
    assert found["mse"] == pytest.approx(
        [metrics.mse(*pair) for pair in zip(truth, images, strict=True)]
    )


def test_a_ratio_is_the_worse_the_farther_it_is_from_1() -> None:
    (column,) = MEASURES["laplacian"].columns
    figures = [Interval(value, value, value, 1) for value in (1.1, 0.5, 2.5)]
    assert column.ahead(figures[0], figures[1])
    assert column.ahead(figures[1], figures[2])
    assert not column.ahead(figures[0], figures[0])
    assert column.badness(2) == pytest.approx(column.badness(0.5))
