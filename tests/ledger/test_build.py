"""A ledger says what was changed, where and by what, and vouches for nothing else."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from histomend.errors import LedgerError
from histomend.ledger import build_record


def test_a_ledger_says_what_was_changed_and_by_what(make_ledger):
    uncertainty = np.full((90, 140), 0.25, np.float32)
    source, restored, mask, ledger = make_ledger(uncertainty=uncertainty)
    data = json.loads(ledger.to_json())
    assert data["schema_version"] == 2
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
    totals = data["figures"]
    assert totals["area_px"] == int(mask.sum())
    assert totals["area_um2"] == int(mask.sum()) / 4
    assert totals["share"] == mask.mean()
    assert totals["mean_change"] == pytest.approx(difference[mask].mean())
    assert totals["uncertainty"] == pytest.approx(0.25)


def test_what_is_not_known_is_null(make_ledger):
    totals = make_ledger(mpp=None)[3].figures
    assert totals["area_um2"] is None
    assert totals["uncertainty"] is None


def test_the_original_is_a_picture_that_anyone_can_open(make_ledger):
    source, _, mask, ledger = make_ledger()
    change = ledger.regions[0]
    x, y, w, h = change.bbox
    with PIL.Image.open(io.BytesIO(base64.b64decode(change.original))) as picture:
        shown = np.asarray(picture)
    inside = mask[y : y + h, x : x + w]
    assert np.array_equal(shown[inside], source.pixels[y : y + h, x : x + w][inside])
    assert not shown[~inside].any()


def test_specks_close_by_are_one_region(make_ledger):
    mask = np.zeros((200, 200), bool)
    mask[5:60:2, 5:60:2] = True
    mask[150, 150] = True
    ledger = make_ledger(mask)[3]
    assert [change.area_px for change in ledger.regions] == [28 * 28, 1]
    assert ledger.regions[1].bbox == (150, 150, 1, 1)


def test_no_ledger_vouches_for_changes_outside_the_mask(make_ledger):
    source, restored, mask, _ = make_ledger()
    restored[3, 77, 2] ^= 1
    with pytest.raises(LedgerError, match="x=77, y=3"):
        build_record(
            "restore", source, replace(source, pixels=restored), mask=mask, method="m", model={},
            options={}, settings={}, seed=0, nfe=0,
        )  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), object(), {"a": {1, 2}}])
def test_settings_that_json_cannot_hold_are_named(value, make_ledger):
    with pytest.raises(LedgerError, match=r"settings\.odd"):
        make_ledger(odd=value)
