"""Restoring with the image's own tissue: copies with an account, joined by the model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histomend import restore
from histomend.errors import SettingError
from histomend.exemplar.provenance import COPIED, Provenance
from histomend.jobs.run import Result
from histomend.ledger import Record, undo, verify
from histomend.methods import joining
from histomend.methods.decide import decide
from histomend.models import Model, load_model


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    mask = np.zeros((512, 512), bool)
    mask[200:260, 180:250] = True
    return mask


@pytest.fixture(scope="module")
def damaged(tissue: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], np.uint8(0), tissue)


@pytest.fixture(scope="module")
def result(model: Model, damaged: np.ndarray, mask: np.ndarray) -> Result:
    return restore(damaged, mask, model=model, preset="exemplar", mpp=0.5, seed=1)


def test_the_record_says_where_every_restored_pixel_came_from(
    result: Result, damaged: np.ndarray, mask: np.ndarray
) -> None:
    assert (result.image.pixels[~mask] == damaged[~mask]).all()
    record = result.record.provenance
    assert record is not None
    assert sum(record["pixels"].values()) == mask.sum()
    provenance = Provenance.read(record, mask.shape)
    copied = provenance.copied(mask.shape)
    # The middle is copied, and the band along the edge is drawn.
    assert 0.3 < copied[mask].mean() < 0.95
    assert not copied[200, 180:250].any()
    assert provenance.first_wrong(damaged, result.image.pixels)[0] == 0
    assert "no evidence" in " ".join(result.record.notices)
    assert result.record.settings["start"] < 1


def test_verify_checks_the_copies_and_undo_takes_everything_back(
    result: Result, damaged: np.ndarray
) -> None:
    record = Record.from_json(result.record.to_json())
    found = verify(record, result.image)
    assert found.ok
    copies = next(check for check in found.checks if check.name == "copies")
    assert "byte for byte" in copies.message
    assert (undo(record, result.image) == damaged).all()


def test_a_copy_that_was_changed_is_found(result: Result, mask: np.ndarray) -> None:
    record = result.record.provenance
    assert record is not None
    y, x = np.argwhere(Provenance.read(record, mask.shape).copied(mask.shape))[0]
    pixels = result.image.pixels.copy()
    pixels[y, x] ^= 1
    found = verify(result.record, replace(result.image, pixels=pixels))
    copies = next(check for check in found.checks if check.name == "copies")
    assert not copies.ok
    assert f"x={x}, y={y}" in copies.message


def test_a_damaged_provenance_fails_the_check_and_is_no_crash(result: Result) -> None:
    record = json.loads(json.dumps(result.record.provenance))
    record["parts"][0]["origin"] = "?"
    found = verify(replace(result.record, provenance=record), result.image)
    copies = next(check for check in found.checks if check.name == "copies")
    assert not copies.ok
    assert "damaged" in copies.message


def test_records_written_before_there_was_a_provenance_are_read(
    model: Model, damaged: np.ndarray, mask: np.ndarray
) -> None:
    from histomend.ledger.schema import checksum

    record = restore(damaged, mask, model=model, preset="generate", steps=1, mpp=0.5).record
    assert record.provenance is None
    data = json.loads(record.to_json())
    del data["provenance"], data["checksum"]
    data["checksum"] = checksum(data)
    assert Record.from_json(json.dumps(data)).provenance is None


def test_samples_are_different_fillings_and_their_deviation_is_the_uncertainty(
    model: Model, damaged: np.ndarray, mask: np.ndarray, result: Result
) -> None:
    many = restore(
        damaged, mask, model=model, preset="exemplar", mpp=0.5, seed=1, samples=2, batch=2
    )
    assert (many.image.pixels == result.image.pixels).all(), "the first sample, whatever `batch`"
    assert many.uncertainty is not None
    assert (many.uncertainty[mask] > 0).mean() > 0.5
    assert not many.uncertainty[~mask].any()


def test_without_clean_tissue_the_model_draws_all_of_it(model: Model, tissue: np.ndarray) -> None:
    mask = np.zeros((128, 128), bool)
    mask[8:120, 8:120] = True
    result = restore(tissue[:128, :128], mask, model=model, preset="exemplar", mpp=0.5)
    assert any("too little clean tissue" in notice for notice in result.record.notices)
    assert result.record.nfe > 0
    assert result.record.provenance is not None
    assert result.record.provenance["pixels"]["drawn"] == mask.sum()
    assert verify(result.record, result.image).ok


def test_what_it_would_do_can_be_asked(model: Model, damaged: np.ndarray, mask: np.ndarray) -> None:
    asked = decide(
        "restore", damaged, mask=mask, model=model, preset="exemplar", mpp=0.5
    ).describe()
    assert asked["preset"] == "exemplar"
    assert asked["nfe"] >= asked["steps"] > 0
    with pytest.raises(SettingError):
        decide("restore", damaged, mask=mask, model=model, preset="exemplar", steps=2000, mpp=0.5)


def test_in_a_latent_space_copies_are_kept_and_no_clean_pixel_changes(
    untrained_latent: Path, damaged: np.ndarray, mask: np.ndarray
) -> None:
    latent = load_model(untrained_latent, "cpu")
    result = restore(
        damaged, mask, model=latent, method="latent-artifusion", preset="exemplar", mpp=0.5
    )
    assert (result.image.pixels[~mask] == damaged[~mask]).all()
    assert verify(result.record, result.image).ok
    record = result.record.provenance
    assert record is not None
    assert record["pixels"]["copied_exactly"] + record["pixels"]["copied_shifted"] > 0


def test_what_a_detector_finds_elsewhere_is_no_source(
    model: Model, tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right half is taken for a fold: not masked it stays, and nothing comes from there."""
    mask = np.zeros(tissue.shape[:2], bool)
    mask[100:130, 90:120] = True
    fold = np.zeros_like(mask)
    fold[:, tissue.shape[1] // 2 :] = True
    monkeypatch.setattr(joining, "artifacts_elsewhere", lambda *_: (fold & ~mask, ("told",)))
    result = restore(tissue, mask, model=model, mpp=0.5)
    assert result.record.provenance is not None
    for each in Provenance.read(result.record.provenance, mask.shape).parts:
        for number, piece in enumerate(each.pieces):
            rows, columns = np.nonzero(each.origin // 2 == COPIED // 2 + number)
            _, x = piece.source(rows + each.box[1], columns + each.box[0])
            assert x.max(initial=0) < tissue.shape[1] // 2
    assert "told" in result.record.notices
    assert result.record.figures["not_copied_from"] == pytest.approx(0.5, abs=0.02)
