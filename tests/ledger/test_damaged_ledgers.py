"""A ledger that was cut, edited or forged is noticed, and one that cannot be written said."""

import base64
import errno
import hashlib
import io
import json
import os

import numpy as np
import PIL.Image
import pytest

from histomend.errors import LedgerError, OutputError
from histomend.image import Image
from histomend.ledger import Record, undo, verify


def refused(text, *words):
    with pytest.raises(LedgerError) as caught:
        Record.from_json(text)
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


def test_json_and_back_is_the_same_ledger(make_ledger):
    ledger = make_ledger()[3]
    assert Record.from_json(ledger.to_json()) == Record.from_json(edited(ledger, lambda _: None))
    assert Record.from_json(ledger.to_json()).to_json() == ledger.to_json()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_truncated_ledgers(share, make_ledger):
    text = make_ledger()[3].to_json()
    refused(text[: int(len(text) * share)], "truncated")


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"type": "FeatureCollection"}', "null"])
def test_json_that_is_no_ledger(text):
    refused(text, "no Histomend ledger")


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, True])
def test_ledgers_of_another_schema(version, make_ledger):
    ledger = make_ledger()[3]
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
def test_edited_ledgers_are_noticed(change, make_ledger):
    refused(edited(make_ledger()[3], change, signed=False), "changed after it was written")


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
def test_fields_are_checked_even_when_the_checksum_fits(change, word, make_ledger):
    refused(edited(make_ledger()[3], change), word)


@pytest.mark.parametrize("field", ["original", "mask"])
@pytest.mark.parametrize("value", ["", "!!!", "AAAA", "swap", "cut"])
def test_forged_pixels_are_found(field, value, make_ledger):
    """Even with a fitting checksum, pixels that are not the original ones prove nothing."""
    source, restored, _, ledger = make_ledger(seed=3)

    def forge(data):
        one = data["regions"][0]
        if value == "swap":
            one[field] = data["regions"][1][field]
        elif value == "cut":
            one[field] = one[field][: len(one[field]) // 8 * 4]
        else:
            one[field] = value

    forged = Record.from_json(edited(ledger, forge))
    with pytest.raises(LedgerError, match="ledger is damaged"):
        undo(forged, Image(restored))
    assert not verify(forged, Image(restored), source).ok


def test_forged_pixels_of_the_right_size_are_found_by_the_hash(make_ledger):
    _, restored, _, ledger = make_ledger()

    def forge(data):
        one = data["regions"][0]
        with PIL.Image.open(io.BytesIO(base64.b64decode(one["original"]))) as picture:
            pixels = np.asarray(picture).copy()
        pixels[0, 0] ^= 1
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "PNG")
        one["original"] = base64.b64encode(file.getvalue()).decode()

    forged = Record.from_json(edited(ledger, forge))
    with pytest.raises(LedgerError, match="does not give the source"):
        undo(forged, Image(restored))
    assert not verify(forged, Image(restored)).ok


def test_files_that_are_no_ledgers(tmp_path):
    path = tmp_path / "a.json"
    for content, word in ((None, "No such file"), (b"\xff\xfe\x01", "binary"), (b"{", "truncated")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LedgerError, match=word) as caught:
            Record.read(path)
        assert "a.json" in str(caught.value)
    with pytest.raises(LedgerError, match="directory"):
        Record.read(tmp_path)


def test_ledgers_that_cannot_be_written(tmp_path, monkeypatch, make_ledger):
    ledger = make_ledger()[3]
    path = tmp_path / "a.json"
    ledger.write(path)
    with pytest.raises(OutputError, match="--force"):
        ledger.write(path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        ledger.write(path, force=True)
    assert Record.read(path) == Record.from_json(ledger.to_json())
    assert len(list(tmp_path.iterdir())) == 1
