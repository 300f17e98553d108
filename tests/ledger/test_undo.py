"""Undo gives the source exactly, or says why it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import LedgerError
from histomend.image import Image, read_image, write_image
from histomend.ledger import Record, build_record, ledger_mask, undo, verify


@settings(max_examples=20, deadline=None)
@given(
    deep=st.booleans(),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    density=st.sampled_from([0.002, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_undo_gives_the_source_exactly(deep, height, width, density, seed, make_ledger):
    mask = np.random.default_rng(seed).random((height, width)) < density
    source, restored, mask, ledger = make_ledger(mask, np.uint16 if deep else np.uint8, seed)
    ledger = Record.from_json(ledger.to_json())
    before = restored.copy()
    back = undo(ledger, Image(restored))
    assert back.dtype == source.pixels.dtype
    assert np.array_equal(back, source.pixels)
    assert np.array_equal(restored, before)
    assert np.array_equal(ledger_mask(ledger), mask)
    assert verify(ledger, Image(restored), source).ok


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_undo_and_verify_through_files(tmp_path, dtype, suffix, make_ledger):
    source, restored, _, ledger = make_ledger(dtype=dtype, alpha=True)
    write_image(tmp_path / f"out{suffix}", restored, alpha=source.alpha, mpp=0.5)
    ledger.write(tmp_path / "out.ledger.json")
    ledger = Record.read(tmp_path / "out.ledger.json")
    image = read_image(tmp_path / f"out{suffix}")
    assert np.array_equal(undo(ledger, image), source.pixels)
    verification = verify(ledger, image, source)
    assert verification.ok
    assert len(verification.checks) == 6


def test_a_restored_region_is_compared_with_that_region(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "whole.tif"
    write_image(path, rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    source = read_image(path, region=(30, 40, 128, 96))
    mask = np.zeros((96, 128), bool)
    mask[5:15, 5:15] = True
    restored = source.pixels.copy()
    restored[mask] = 0
    ledger = build_record(
        "restore", source, replace(source, pixels=restored), mask=mask, method="m", model={},
        options={}, settings={}, seed=0, nfe=0,
    )  # fmt: skip
    ledger = Record.from_json(ledger.to_json())
    assert ledger.source.region == (30, 40, 128, 96)
    again = read_image(path, region=ledger.source.region)
    assert verify(ledger, Image(restored), again).ok
    assert not verify(ledger, Image(restored), read_image(path)).ok


def test_undo_refuses_other_images(make_ledger):
    source, restored, _, ledger = make_ledger()
    changed = restored.copy()
    changed[0, 0] ^= 1
    for pixels, word in (
        (changed, "not the one that the ledger describes"),
        (source.pixels, "not the one that the ledger describes"),
        (restored[:, :100], "another image.*100 x 90 px"),
        (restored.astype(np.uint16), "uint16"),
    ):
        with pytest.raises(LedgerError, match=word):
            undo(ledger, Image(pixels))


def test_undo_of_a_jpeg_says_why_it_cannot(tmp_path, make_ledger):
    _, restored, _, ledger = make_ledger()
    write_image(tmp_path / "out.jpg", restored, lossy=True)
    with pytest.raises(LedgerError, match="lossily compressed"):
        undo(ledger, read_image(tmp_path / "out.jpg"))
