"""`histomend audit`: what may be trusted of a result, told without the truth."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import histomend
from histomend.cli.app import app
from histomend.errors import LedgerError, SettingError
from histomend.evaluate.audit import checks, whole_field
from histomend.evaluate.audit.intervals import conformal_factor, intervals, luma
from histomend.evaluate.audit.trials import APART, Trials, choose, run

FULL = np.ones((20, 30), np.bool_)


def trials_of(truth: np.ndarray, drawn: np.ndarray, places: list[tuple[int, int]]) -> Trials:
    return Trials(tuple((place, FULL) for place in places), drawn)


def hole(shape: tuple[int, int], y: int, x: int) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    mask[y : y + 20, x : x + 30] = True
    return mask


# Intervals.


def test_the_factor_is_the_quantile_that_a_further_trial_needs() -> None:
    nineteen = [np.full(5, float(k), np.float32) for k in range(1, 20)]
    # 0.9 * 20 / 19 of 19 trials are 18.
    assert conformal_factor(nineteen, 0.9) == 18
    assert conformal_factor(nineteen[:9], 0.9) == 9
    assert conformal_factor(nineteen[:8], 0.9) == math.inf
    # A large trial counts no more than a small one.
    uneven = [*nineteen[:-1], np.full(5000, 19.0, np.float32)]
    assert conformal_factor(uneven, 0.9) == 18


@given(st.integers(0, 1000))
def test_intervals_hold_for_the_share_that_they_promise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Trials differ in how wrong they are, as places in tissue do.
    scores = [
        (np.abs(rng.standard_normal(40)) * np.exp(rng.normal(0, 0.5))).astype(np.float32)
        for _ in range(60)
    ]
    factor = conformal_factor(scores[:30], 0.9)
    held = np.mean([(own <= factor).mean() for own in scores[30:]])
    assert held > 0.75


def test_intervals_are_as_wide_as_the_trials_were_wrong() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(60, 200, (200, 200, 3)).astype(np.uint8)
    drawn = np.stack([truth, truth])
    places = [(y, x) for y in (5, 45, 85, 125) for x in (5, 60, 120)]
    # Each seed is off by ten levels to one side or the other, so their spread is known.
    for y, x in places:
        part = drawn[:, y : y + 20, x : x + 30].astype(int)
        part[0] += 10
        part[1] -= 10
        drawn[:, y : y + 20, x : x + 30] = part.clip(0, 255)
    found = intervals(truth, hole((200, 200), 170, 170), trials_of(truth, drawn, places))
    assert found.trials == 12
    assert found.coverage == pytest.approx(0.99, abs=0.01)
    # The mean of the seeds is the truth, so nothing need be added to it.
    assert found.half_width[places[0]] < 0.02
    assert found.middle[5, 5] == pytest.approx(luma(truth)[5, 5], abs=1e-3)


def test_too_few_trials_promise_nothing() -> None:
    truth = np.full((100, 100, 3), 120, np.uint8)
    mask = hole((100, 100), 70, 5)
    found = intervals(truth, mask, trials_of(truth, np.stack([truth, truth]), [(5, 5), (50, 50)]))
    told = checks.width(found, truth, mask)
    assert told.verdict == "unknown"
    assert "room for 2 trials" in told.said
    assert told.as_json()["values"]["coverage_of_trials"] == 1.0


# Trials.


def test_trials_lie_on_sound_tissue_and_apart(tissue: np.ndarray) -> None:
    mask = hole(tissue.shape[:2], 200, 200)
    places = choose(tissue, mask, 12, np.random.default_rng(0))
    assert len(places) == 12
    taken = cv2.dilate(mask.astype(np.uint8), np.ones((2 * APART + 1,) * 2)) > 0
    for (y, x), shape in places:
        here = np.s_[y : y + shape.shape[0], x : x + shape.shape[1]]
        assert shape.sum() == 600
        assert not taken[here].any()
        taken[here] = True


def test_glass_has_no_room_for_trials() -> None:
    glass = np.full((256, 256, 3), 244, np.uint8)
    assert choose(glass, hole((256, 256), 100, 100), 4, np.random.default_rng(0)) == ()


def test_the_artifact_stays_masked_while_trials_are_restored() -> None:
    asked = []

    def restore(mask: np.ndarray, seed: int) -> np.ndarray:
        asked.append((mask.copy(), seed))
        return np.zeros((64, 64, 3), np.uint8)

    mask = hole((64, 64), 0, 0)
    run(np.zeros((64, 64, 3), np.uint8), mask, (((40, 30), FULL),), restore, (1, 2))
    assert [seed for _, seed in asked] == [1, 2]
    assert all((both == (mask | hole((64, 64), 40, 30))).all() for both, _ in asked)


# Checks.


def test_a_wrong_stain_and_a_blur_are_told(tissue: np.ndarray) -> None:
    mask = hole(tissue.shape[:2], 200, 200)
    places = choose(tissue, mask, 8, np.random.default_rng(1))
    tried = Trials(places, np.stack([tissue, tissue]))
    assert checks.stain(tissue, tissue, mask, tried).verdict == "fine"
    assert checks.sharpness(tissue, tissue, mask, tried).verdict == "fine"
    blue = tissue.copy()
    blue[mask] = (30, 40, 160)
    assert checks.stain(blue, tissue, mask, tried).verdict == "look"
    soft = tissue.copy()
    soft[mask] = cv2.GaussianBlur(tissue, (0, 0), 8)[mask]
    assert checks.sharpness(soft, tissue, mask, tried).verdict == "look"


def nuclei_at(spots: list[tuple[int, int]], side: int = 160) -> np.ndarray:
    """Draw dark purple discs of 7 um on pink."""
    pixels = np.full((side, side, 3), (225, 170, 200), np.uint8)
    for y, x in spots:
        cv2.circle(pixels, (x, y), 7, (80, 50, 130), -1)
    return pixels


def test_nuclei_that_move_with_the_seed_are_not_to_be_counted() -> None:
    mask = np.zeros((160, 160), np.bool_)
    mask[40:120, 40:120] = True
    result = nuclei_at([(60, 60), (90, 90)])
    still = Trials((), np.stack([result, result, result]))
    assert checks.chance(result, mask, still, 0.5).values["nuclei_with_most_seeds"] == 2
    assert checks.chance(result, mask, still, 0.5).verdict == "fine"
    others = [nuclei_at([(60, 100)]), nuclei_at([(100, 60)]), nuclei_at([(75, 110), (50, 80)])]
    told = checks.chance(result, mask, Trials((), np.stack(others)), 0.5)
    assert told.verdict == "unknown"
    assert (told.values["fewest"], told.values["most"]) == (1, 2)


def test_nuclei_lost_in_trials_are_counted() -> None:
    spots = [(y, x) for y in range(30, 300, 40) for x in range(30, 300, 40)]
    truth = nuclei_at(spots, 320)
    places = tuple(((y - 10, x - 15), FULL) for y, x in spots[::3])
    kept = Trials(places, np.stack([truth, truth]))
    assert checks.nuclei(truth, kept, 0.5).values["ratio"] == 1
    bare = np.stack([nuclei_at([], 320)] * 2)
    told = checks.nuclei(truth, Trials(places, bare), 0.5)
    assert told.verdict == "look"
    assert told.values["ratio"] == 0
    assert told.values["lost_per_nucleus"] == pytest.approx(1)


def test_what_was_drawn_by_the_model_is_said() -> None:
    shares = {"copied_exactly": 60, "copied_shifted": 20, "mixed": 15, "drawn": 5}
    told = checks.origin(shares, 100)
    assert told.values == {"copied": 0.8, "mixed": 0.15, "drawn": 0.05}
    assert checks.origin(None, 1234).verdict == "look"
    assert "all 1,234 restored pixels were drawn" in checks.origin(None, 1234).said


# Fields.


def field(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.standard_normal((192, 192)).astype(np.float32), (0, 0), 4)
    return np.asarray(0.5 + 0.15 * smooth / smooth.std(), np.float32)


def test_correlation_of_rings_has_the_values_it_must_have() -> None:
    one = field()[:64, :64]
    assert whole_field.ring_correlation(one, one) == pytest.approx(1, abs=1e-5)
    assert whole_field.ring_correlation(one, -one) == pytest.approx(-1, abs=1e-5)
    assert whole_field.ring_correlation(one, 3 * one + 0.2) == pytest.approx(1, abs=1e-5)
    assert abs(whole_field.ring_correlation(one, field(1)[:64, :64])) < 0.6
    assert math.isnan(whole_field.ring_correlation(one, np.zeros_like(one)))


def test_an_invention_is_found_where_it_is_and_noise_is_none() -> None:
    clean, rng = field(), np.random.default_rng(5)
    noisy = clean + rng.normal(0, 0.05, clean.shape).astype(np.float32)
    assert whole_field.scan(noisy, clean).verdict == "fine"
    invented = clean.copy()
    invented[96:192, 96:192] = field(7)[96:192, 96:192]
    told = whole_field.scan(noisy, invented)
    assert told.verdict == "look"
    correlation, judged = whole_field.hallucination_map(noisy, invented)
    assert judged.all()
    assert correlation[:2, :2].min() > 0.9
    assert correlation[3:, 3:].max() < 0.5


def test_an_even_field_shows_nothing_to_compare() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.5, 0.02, (128, 128)).astype(np.float32)
    told = whole_field.scan(noise, np.full((128, 128), 0.5, np.float32))
    assert told.verdict == "unknown"


# The verb.


@pytest.fixture
def restored(tmp_path: Path, tissue: np.ndarray, untrained: Path) -> Path:
    Image.fromarray(tissue[:192, :192]).save(tmp_path / "in.png", dpi=(50_800, 50_800))
    mask = np.zeros((192, 192), np.uint8)
    mask[80:100, 80:110] = 255
    result = histomend.restore(tmp_path / "in.png", mask, model=untrained, device="cpu")
    result.save(tmp_path / "out.png")
    return tmp_path / "out.png"


def test_an_audit_of_a_restoration_needs_the_output_alone(restored: Path) -> None:
    (restored.parent / "in.png").unlink()
    words = ["audit", restored, "-o", restored.parent / "au", "--seeds", 2, "--trials", 2, "--json"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert json.loads((restored.parent / "au" / "audit.json").read_text()) == told
    found = {each["name"]: each for each in told["audits"][0]["findings"]}
    assert found["outside the mask"]["verdict"] == "fine"
    assert found["interval"]["verdict"] == "unknown"
    values = found["where pixels came from"]["values"]
    assert values["copied"] + values["mixed"] + values["drawn"] == pytest.approx(1, abs=1e-4)
    # Nothing was promised, so there is no map of it.
    assert [path.name for path in (restored.parent / "au").iterdir()] == ["audit.json"]


def test_a_changed_pixel_ends_the_audit_at_once(restored: Path) -> None:
    pixels = np.asarray(Image.open(restored)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(restored)
    found = histomend.audit(restored)
    assert [each.verdict for each in found.findings] == ["look"]


def test_a_denoised_image_is_compared_with_its_source(
    tmp_path: Path, tissue: np.ndarray, untrained_rscd: Path
) -> None:
    Image.fromarray(tissue[:128, :128]).save(tmp_path / "in.png", dpi=(50_800, 50_800))
    histomend.denoise(tmp_path / "in.png", method="median").save(tmp_path / "out.png")
    with pytest.raises(SettingError, match="Name it: --source FILE"):
        histomend.audit(tmp_path / "out.png")
    found = histomend.audit(tmp_path / "out.png", source=tmp_path / "in.png")
    names = [each.name for each in found.findings]
    assert names == ["record", "scan for inventions", "brightness", "nuclei", "clean input"]
    assert found.width_map() is None
    other = tissue[128:256, :128]
    Image.fromarray(other).save(tmp_path / "other.png", dpi=(50_800, 50_800))
    wrong = histomend.audit(tmp_path / "out.png", source=tmp_path / "other.png")
    assert [each.verdict for each in wrong.findings] == ["look"]


def test_without_a_record_there_is_nothing_to_audit(tmp_path: Path, tissue: np.ndarray) -> None:
    Image.fromarray(tissue[:128, :128]).save(tmp_path / "out.png")
    with pytest.raises(LedgerError, match="cannot be opened"):
        histomend.audit(tmp_path / "out.png")
    with pytest.raises(SettingError, match="chance shows from 2 draws on"):
        histomend.audit(tmp_path / "out.png", seeds=1)
