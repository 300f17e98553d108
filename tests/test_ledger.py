"""A ledger undoes exactly, proves what it says, and cannot be forged by accident."""

import base64
import errno
import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import LedgerError, OutputError
from histomend.image import Image, read_image, write_image
from histomend.ledger import Ledger, build_ledger, ledger_mask, undo, verify


def make(mask=None, dtype=np.uint8, seed=0, mpp=0.5, uncertainty=None, alpha=False, **options):
    """Give source, restored pixels, mask and ledger of a made-up restoration."""
    rng = np.random.default_rng(seed)
    if mask is None:
        mask = np.zeros((90, 140), bool)
        mask[10:30, 20:60] = True
        mask[15:20, 30:40] = False
        mask[70:90, 100:140] = True
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top + 1, (*mask.shape, 3)).astype(dtype)
    restored = pixels.copy()
    restored[mask] = rng.integers(0, top + 1, (int(mask.sum()), 3)).astype(dtype)
    source = Image(pixels, mpp, pixels[..., 0].copy() if alpha else None, Path("a/b/tissue.png"))
    settings_ = {"preset": "fast", "steps": 20, "region": (1, 2, 3, 4), "eta": np.float32(0.5)}
    ledger = build_ledger(
        source=source,
        restored=restored,
        mask=mask,
        method="artifusion",
        model={"name": "artifusion-he", "sha256": "0" * 64, "card": {"mpp": 0.5}},
        settings=settings_ | options,
        seed=7,
        nfe=20,
        windows=[{"box": (0, 0, 128, 128)}],
        uncertainty=uncertainty,
        notices=("resampled",),
    )
    return source, restored, mask, ledger


def named(verification):
    return {check.name: check for check in verification.checks}


# ------------------------------------------------------------------ what it records


def test_a_ledger_says_what_was_changed_and_by_what():
    uncertainty = np.full((90, 140), 0.25, np.float32)
    source, restored, mask, ledger = make(uncertainty=uncertainty)
    data = json.loads(ledger.to_json())
    assert data["schema_version"] == 1
    assert data["note"] == "restored, not for diagnosis"
    assert data["created"].endswith("+00:00")
    assert data["source"]["name"] == "tissue.png"
    assert (data["source"]["width"], data["source"]["height"]) == (140, 90)
    assert (data["seed"], data["nfe"], data["method"]) == (7, 20, "artifusion")
    assert data["settings"]["region"] == [1, 2, 3, 4]
    one, two = data["regions"]
    assert one["bbox"] == [20, 10, 40, 20]
    assert one["area_px"] == 750
    assert one["area_um2"] == 187.5
    assert two["bbox"] == [100, 70, 40, 20]
    assert two["uncertainty"] == pytest.approx(0.25)
    difference = np.abs(source.pixels.astype(int) - restored)
    assert one["mean_change"] == pytest.approx(difference[10:30, 20:60][mask[10:30, 20:60]].mean())
    totals = data["totals"]
    assert totals["area_px"] == int(mask.sum())
    assert totals["area_um2"] == int(mask.sum()) / 4
    assert totals["share"] == mask.mean()
    assert totals["mean_change"] == pytest.approx(difference[mask].mean())
    assert totals["uncertainty"] == pytest.approx(0.25)


def test_what_is_not_known_is_null():
    totals = make(mpp=None)[3].totals
    assert totals["area_um2"] is None
    assert totals["uncertainty"] is None


def test_the_original_is_a_picture_that_anyone_can_open():
    source, _, mask, ledger = make()
    change = ledger.regions[0]
    x, y, w, h = change.bbox
    with PIL.Image.open(io.BytesIO(base64.b64decode(change.original))) as picture:
        shown = np.asarray(picture)
    inside = mask[y : y + h, x : x + w]
    assert np.array_equal(shown[inside], source.pixels[y : y + h, x : x + w][inside])
    assert not shown[~inside].any()


def test_specks_close_by_are_one_region():
    mask = np.zeros((200, 200), bool)
    mask[5:60:2, 5:60:2] = True
    mask[150, 150] = True
    ledger = make(mask)[3]
    assert [change.area_px for change in ledger.regions] == [28 * 28, 1]
    assert ledger.regions[1].bbox == (150, 150, 1, 1)


def test_no_ledger_vouches_for_changes_outside_the_mask():
    source, restored, mask, _ = make()
    restored[3, 77, 2] ^= 1
    with pytest.raises(LedgerError, match="x=77, y=3"):
        build_ledger(
            source=source, restored=restored, mask=mask, method="m", model={}, settings={},
            seed=0, nfe=0,
        )  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), object(), {"a": {1, 2}}])
def test_settings_that_json_cannot_hold_are_named(value):
    with pytest.raises(LedgerError, match=r"settings\.odd"):
        make(odd=value)


# ------------------------------------------------------------------ undo


@settings(max_examples=20, deadline=None)
@given(
    deep=st.booleans(),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    density=st.sampled_from([0.002, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_undo_gives_the_source_exactly(deep, height, width, density, seed):
    mask = np.random.default_rng(seed).random((height, width)) < density
    source, restored, mask, ledger = make(mask, np.uint16 if deep else np.uint8, seed)
    ledger = Ledger.from_json(ledger.to_json())
    before = restored.copy()
    back = undo(ledger, Image(restored))
    assert back.dtype == source.pixels.dtype
    assert np.array_equal(back, source.pixels)
    assert np.array_equal(restored, before)
    assert np.array_equal(ledger_mask(ledger), mask)
    assert verify(ledger, Image(restored), source).ok


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_undo_and_verify_through_files(tmp_path, dtype, suffix):
    source, restored, _, ledger = make(dtype=dtype, alpha=True)
    write_image(tmp_path / f"out{suffix}", restored, alpha=source.alpha, mpp=0.5)
    ledger.write(tmp_path / "out.ledger.json")
    ledger = Ledger.read(tmp_path / "out.ledger.json")
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
    ledger = build_ledger(
        source=source, restored=restored, mask=mask, method="m", model={}, settings={}, seed=0,
        nfe=0,
    )  # fmt: skip
    ledger = Ledger.from_json(ledger.to_json())
    assert ledger.source.region == (30, 40, 128, 96)
    again = read_image(path, region=ledger.source.region)
    assert verify(ledger, Image(restored), again).ok
    assert not verify(ledger, Image(restored), read_image(path)).ok


def test_undo_refuses_other_images():
    source, restored, _, ledger = make()
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


def test_undo_of_a_jpeg_says_why_it_cannot(tmp_path):
    _, restored, _, ledger = make()
    write_image(tmp_path / "out.jpg", restored, lossy=True)
    with pytest.raises(LedgerError, match="lossily compressed"):
        undo(ledger, read_image(tmp_path / "out.jpg"))


# ------------------------------------------------------------------ verify


def test_an_untouched_output_is_proven_without_the_source():
    _, restored, mask, ledger = make()
    verification = verify(ledger, Image(restored))
    assert verification.ok
    assert [check.name for check in verification.checks] == ["size", "output", "outside the mask"]
    assert str(int(mask.sum())) in named(verification)["outside the mask"].message


def test_a_pixel_changed_outside_the_mask_is_found_and_located():
    source, restored, _, ledger = make()
    restored[3, 77, 2] ^= 1
    restored[80, 3, 0] ^= 1
    verification = verify(ledger, Image(restored), source)
    assert not verification.ok
    checks = named(verification)
    assert not checks["output"].ok
    assert not checks["outside the mask"].ok
    assert "2 pixel(s)" in checks["pixel by pixel"].message
    assert "x=77, y=3" in checks["pixel by pixel"].message


def test_a_pixel_changed_under_the_mask_leaves_the_rest_proven():
    source, restored, _, ledger = make()
    restored[12, 25, 0] ^= 1
    checks = named(verify(ledger, Image(restored), source))
    assert not checks["output"].ok
    assert checks["outside the mask"].ok
    assert checks["pixel by pixel"].ok


def test_another_source_is_told_from_the_right_one():
    source, restored, _, ledger = make()
    pixels = source.pixels.copy()
    pixels[40, 50] ^= 1
    checks = named(verify(ledger, Image(restored), replace(source, pixels=pixels)))
    assert checks["outside the mask"].ok
    assert not checks["source"].ok
    assert "x=50, y=40" in checks["source"].message
    other = Image(np.zeros((64, 64, 3), np.uint8))
    assert not named(verify(ledger, Image(restored), other))["source"].ok
    assert not verify(ledger, other).ok


def test_changed_transparency_is_found():
    source, restored, _, ledger = make(alpha=True)
    assert verify(ledger, Image(restored, alpha=source.alpha)).ok
    for alpha in (None, source.alpha + 1):
        assert not named(verify(ledger, Image(restored, alpha=alpha)))["transparency"].ok


def test_a_jpeg_proves_nothing_and_says_so(tmp_path):
    source, restored, _, ledger = make()
    write_image(tmp_path / "out.jpg", restored, lossy=True)
    verification = verify(ledger, read_image(tmp_path / "out.jpg"), source)
    assert not verification.ok
    checks = named(verification)
    assert "lossily compressed" in checks["output"].message
    assert "cannot be proven" in checks["outside the mask"].message


# ------------------------------------------------------------------ damaged ledgers


def refused(text, *words):
    with pytest.raises(LedgerError) as caught:
        Ledger.from_json(text)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in {caught.value}"


def edited(ledger, change, *, signed=True):
    """Change the JSON; with `signed`, as somebody would who knows how the checksum is made."""
    data = json.loads(ledger.to_json())
    change(data)
    if signed:
        data.pop("checksum", None)
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
        data["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(data)


def test_json_and_back_is_the_same_ledger():
    ledger = make()[3]
    assert Ledger.from_json(ledger.to_json()) == Ledger.from_json(edited(ledger, lambda _: None))
    assert Ledger.from_json(ledger.to_json()).to_json() == ledger.to_json()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_ledgers(share):
    text = make()[3].to_json()
    refused(text[: int(len(text) * share)], "truncated")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"type": "FeatureCollection"}', "null"])
def test_json_that_is_no_ledger(text):
    refused(text, "no Histomend ledger")


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_ledgers_of_another_schema(version):
    ledger = make()[3]
    refused(edited(ledger, lambda data: data.update(schema_version=version)), "schema version")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(seed=8),
        lambda data: data["model"].update(name="other"),
        lambda data: data["regions"].pop(),
        lambda data: data["source"].update(name="other.png"),
        lambda data: data.pop("checksum"),
    ],
)
def test_edited_ledgers_are_noticed(change):
    refused(edited(make()[3], change, signed=False), "changed after it was written")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data.pop("nfe"), "ledger.nfe is missing"),
        (lambda data: data.update(seed="7"), "ledger.seed is str, not int"),
        (lambda data: data.update(seed=True), "ledger.seed is bool"),
        (lambda data: data.update(regions={}), "ledger.regions is dict"),
        (lambda data: data.update(regions=[3]), "regions[0] is int"),
        (lambda data: data.update(notices=[3]), "notice"),
        (lambda data: data["source"].update(mpp="0.5"), "source.mpp"),
        (lambda data: data["source"].pop("dtype"), "source.dtype is missing"),
        (lambda data: data["regions"][0].update(area_px=1.5), "regions[0].area_px is float"),
        (lambda data: data["source"].update(region=[1, 2, 3]), "source.region"),
        (lambda data: data["regions"][0].update(bbox=[0, 0, 5]), "four whole numbers"),
        (lambda data: data["regions"][0].update(bbox=[0, 0, 500, 5]), "outside the image"),
        (lambda data: data["regions"][0].update(bbox=[-1, 0, 5, 5]), "outside the image"),
    ],
)
def test_fields_are_checked_even_when_the_checksum_fits(change, word):
    refused(edited(make()[3], change), word)


@pytest.mark.parametrize("field", ["original", "mask"])
@pytest.mark.parametrize("value", ["", "!!!", "AAAA", "swap", "cut"])
def test_forged_pixels_are_found(field, value):
    """Even with a fitting checksum, pixels that are not the original ones prove nothing."""
    source, restored, _, ledger = make(seed=3)

    def forge(data):
        one = data["regions"][0]
        if value == "swap":
            one[field] = data["regions"][1][field]
        elif value == "cut":
            one[field] = one[field][: len(one[field]) // 8 * 4]
        else:
            one[field] = value

    forged = Ledger.from_json(edited(ledger, forge))
    with pytest.raises(LedgerError, match="ledger is damaged"):
        undo(forged, Image(restored))
    assert not verify(forged, Image(restored), source).ok


def test_forged_pixels_of_the_right_size_are_found_by_the_hash():
    _, restored, _, ledger = make()

    def forge(data):
        one = data["regions"][0]
        with PIL.Image.open(io.BytesIO(base64.b64decode(one["original"]))) as picture:
            pixels = np.asarray(picture).copy()
        pixels[0, 0] ^= 1
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "PNG")
        one["original"] = base64.b64encode(file.getvalue()).decode()

    forged = Ledger.from_json(edited(ledger, forge))
    with pytest.raises(LedgerError, match="does not give the source"):
        undo(forged, Image(restored))
    assert not verify(forged, Image(restored)).ok


def test_files_that_are_no_ledgers(tmp_path):
    path = tmp_path / "a.json"
    for content, word in ((None, "No such file"), (b"\xff\xfe\x01", "binary"), (b"{", "truncated")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LedgerError, match=word) as caught:
            Ledger.read(path)
        assert "a.json" in str(caught.value)
    with pytest.raises(LedgerError, match="directory"):
        Ledger.read(tmp_path)


def test_ledgers_that_cannot_be_written(tmp_path, monkeypatch):
    ledger = make()[3]
    path = tmp_path / "a.json"
    ledger.write(path)
    with pytest.raises(OutputError, match="--force"):
        ledger.write(path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        ledger.write(path, force=True)
    assert Ledger.read(path) == Ledger.from_json(ledger.to_json())
    assert len(list(tmp_path.iterdir())) == 1
