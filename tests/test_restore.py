"""Restoring changes what is masked, nothing else, and always in the same way."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histomend import api
from histomend.api import sample_field
from histomend.diffusion.noise import further_seed
from histomend.errors import (
    ImageSizeError,
    MaskError,
    ModelMismatchError,
    ModelNotFoundError,
    SettingError,
    ValueRangeError,
)
from histomend.ledger import ledger_mask, undo, verify
from histomend.methods.decide import decide
from histomend.models import Model, load_model

# What the network draws by itself; the default has tests of its own.
restore = partial(api.restore, preset="generate")


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture(scope="module")
def bundled() -> Model:
    return load_model("artifusion-he", "cpu")


def spot(shape: tuple[int, int], y: int = 40, x: int = 40, size: int = 20) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + size, x : x + size] = True
    return mask


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(64, 300), st.integers(64, 300), st.integers(0, 10_000))
def test_outside_the_mask_not_one_pixel_changes(
    model: Model, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < 0.002
    y, x = int(rng.integers(height)), int(rng.integers(width))
    mask[y : y + 30, x : x + 50] = True
    before = image.copy()
    result = restore(image, mask, model=model, steps=1, mpp=0.5, seed=seed)
    assert (image == before).all(), "the source array was written to"
    assert (result.pixels[~mask] == image[~mask]).all()
    assert (result.pixels[mask] != image[mask]).any()


def test_what_lies_under_the_mask_is_never_seen(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512), 100, 100, 60)
    other = tissue.copy()
    other[mask] = 0
    one = restore(tissue, mask, model=model, mpp=0.5)
    two = restore(other, mask, model=model, mpp=0.5)
    assert (one.pixels == two.pixels).all()


def test_on_bare_glass_no_tissue_is_invented(model: Model, tissue: np.ndarray) -> None:
    """The random weights of this model would paint anything."""
    image = np.random.default_rng(0).integers(238, 246, (200, 200, 3), dtype=np.uint8)
    mask = spot((200, 200), 60, 70, 50)
    image[58:112, 68:122] = 30  # wider than the mask, which a hand has drawn too tight
    said: list[tuple[int, int]] = []
    result = restore(image, mask, model=model, mpp=0.5, progress=lambda *calls: said.append(calls))
    assert abs(result.pixels[mask].astype(int) - 242).max() <= 5
    assert (result.pixels[~mask] == image[~mask]).all()
    assert (result.record.nfe, said) == (0, [])
    assert result.record.windows[0]["bare_glass"] is True
    assert any("bare glass" in notice for notice in result.record.notices)
    both = np.concatenate([image, tissue[:200, :200]], 1)
    masks = np.concatenate([mask, spot((200, 200), 60, 70, 50)], 1)
    job = decide("restore", both, mask=masks, model=model, preset="generate", mpp=0.5)
    described = job.describe()
    assert [window["bare_glass"] for window in described["windows"]] == [True, False]
    assert described["nfe"] == 2


def test_the_same_seed_gives_the_same_bytes(bundled: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512), 60, 60, 40) | spot((512, 512), 300, 350, 50)
    first = restore(tissue, mask, model=bundled, steps=2, mpp=0.5, seed=7, batch=1)
    again = restore(tissue, mask, model=bundled, steps=2, mpp=0.5, seed=7, batch=8)
    other = restore(tissue, mask, model=bundled, steps=2, mpp=0.5, seed=8)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.pixels.tobytes() != other.pixels.tobytes()


def test_an_artifact_is_restored_alike_beside_others(bundled: Model, tissue: np.ndarray) -> None:
    # Two chains each, so that both have one thread a window.
    left, right, third = (
        spot((512, 512), 60, 60, 40),
        spot((512, 512), 60, 400, 40),
        spot((512, 512), 400, 200, 40),
    )
    two = restore(tissue, left | right, model=bundled, steps=2, mpp=0.5)
    three = restore(tissue, left | right | third, model=bundled, steps=2, mpp=0.5)
    assert (two.pixels[left] == three.pixels[left]).all()


def test_sixteen_bits_come_back_as_sixteen(model: Model, tissue: np.ndarray) -> None:
    deep = tissue.astype(np.uint16) * 257
    mask = spot((512, 512))
    result = restore(deep, mask, model=model, mpp=0.5)
    assert result.pixels.dtype == np.uint16
    assert (result.pixels[~mask] == deep[~mask]).all()


def test_paths_pictures_and_arrays_are_all_taken(
    model: Model, tissue: np.ndarray, tmp_path: Path
) -> None:
    mask = spot((512, 512))
    PIL.Image.fromarray(tissue).save(tmp_path / "tissue.png")
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    array = restore(tissue, mask, model=model, mpp=0.5)
    picture = restore(PIL.Image.fromarray(tissue), PIL.Image.fromarray(mask), model=model, mpp=0.5)
    path = restore(tmp_path / "tissue.png", tmp_path / "mask.png", model=model, mpp=0.5)
    assert (array.pixels == picture.pixels).all()
    assert (array.pixels == path.pixels).all()


def test_other_pixel_sizes_are_bridged_with_a_notice(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512), 200, 200, 80)
    result = restore(tissue, mask, model=model, mpp=0.25)
    assert result.record.settings["scale"] == 0.5
    assert any("resampled" in notice for notice in result.record.notices)
    assert (result.pixels[~mask] == tissue[~mask]).all()
    near = restore(tissue, mask, model=model, mpp=0.6)
    assert near.record.settings["scale"] == 1.0


def test_a_large_artifact_is_restored_in_pieces(model: Model) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(100, 200, (300, 1500, 3), dtype=np.uint8)
    mask = np.zeros((300, 1500), bool)
    mask[100:180, 40:1450] = True
    result = restore(image, mask, model=model, steps=1, mpp=0.5)
    assert len(result.record.windows) == 2
    assert (result.pixels[~mask] == image[~mask]).all()


def test_samples_give_an_uncertainty_inside_the_mask_only(
    bundled: Model, tissue: np.ndarray
) -> None:
    mask = spot((512, 512))
    result = restore(tissue, mask, model=bundled, steps=2, mpp=0.5, samples=3)
    single = restore(tissue, mask, model=bundled, steps=2, mpp=0.5)
    assert result.uncertainty is not None
    assert (result.uncertainty[~mask] == 0).all()
    assert 0 < result.uncertainty[mask].mean() < 0.5
    assert (result.pixels == single.pixels).all()
    assert single.uncertainty is None


def test_the_uncertainty_is_the_standard_deviation_of_the_samples(
    model: Model, tissue: np.ndarray
) -> None:
    mask, settings_ = spot((512, 512)), {"model": model, "steps": 1, "mpp": 0.5}
    deep = tissue.astype(np.uint16) * 257
    samples = [
        restore(deep, mask, seed=further_seed(4, k), **settings_).pixels / 65535 for k in range(3)
    ]
    expected = np.std(samples, axis=0, ddof=1).mean(-1)
    found = restore(deep, mask, seed=4, samples=3, **settings_).uncertainty
    assert found is not None
    np.testing.assert_allclose(found[mask], expected[mask], atol=0.004)
    assert expected[mask].mean() > 0.02


@pytest.mark.parametrize(
    ("mpp", "scale"), [(0.37, 0.74), (0.39, 1.0), (0.64, 1.0), (0.66, 1.32), (0.9, 1.8)]
)
def test_pixel_sizes_up_to_thirty_percent_off_are_left(
    model: Model, tissue: np.ndarray, mpp: float, scale: float
) -> None:
    job = decide("restore", tissue, mask=spot((512, 512)), model=model, mpp=mpp)
    assert job.describe()["scale"] == pytest.approx(scale)


def test_the_ledger_run_again_gives_the_same_bytes(model: Model, tissue: np.ndarray) -> None:
    first = restore(tissue, spot((512, 512)), model=model, steps=2, mpp=0.5, seed=6)
    ledger = first.record
    again = restore(
        tissue,
        ledger_mask(ledger),
        method=ledger.method,
        model=ledger.model["name"],
        mpp=ledger.source.mpp,
        seed=ledger.seed,
        **{key: ledger.settings[key] for key in ("preset", "steps", "sampler", "samples")},
    )
    assert again.pixels.tobytes() == first.pixels.tobytes()
    assert again.record.output == ledger.output


def test_the_ledger_takes_everything_back(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512)) | spot((512, 512), 300, 300)
    result = restore(tissue, mask, model=model, mpp=0.5)
    assert verify(result.record, result.image, result.source).ok
    assert (undo(result.record, result.image) == tissue).all()
    forged = result.pixels.copy()
    forged[0, 0] ^= 1
    assert not verify(result.record, type(result.image)(forged), result.source).ok  # type: ignore[call-arg]


def test_the_ledger_counts_network_calls(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512)) | spot((512, 512), 300, 300)
    result = restore(tissue, mask, model=model, steps=3, mpp=0.5, samples=2)
    assert result.record.nfe == 3 * 2 * 2
    record = json.loads(result.record.to_json())
    assert record["model"]["sha256"] == model.config.sha256


def test_progress_counts_network_calls(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512)) | spot((512, 512), 300, 300)
    seen: list[tuple[int, int]] = []
    restore(
        tissue,
        mask,
        model=model,
        steps=3,
        mpp=0.5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k, 6) for k in range(1, 7)]


def test_a_dry_run_says_what_the_run_does(model: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512))
    said = decide(
        "restore", tissue, mask=mask, model=model, preset="author_code", mpp=0.5
    ).describe()
    assert said["nfe"] == 2410
    assert said["masked_px"] == 400
    assert len(said["windows"]) == 1


def test_trace_shows_noise_turning_into_tissue(bundled: Model, tissue: np.ndarray) -> None:
    mask = spot((512, 512))
    seen: list[tuple[int, np.ndarray]] = []
    result = restore(
        tissue,
        mask,
        model=bundled,
        steps=4,
        mpp=0.5,
        trace=lambda window, t, x: seen.append((t, x)),
    )
    assert [t for t, _ in seen] == [750, 500, 250, 0]
    x, y, w, h = result.record.windows[0]["field"]
    inside = mask[y : y + h, x : x + w]
    assert (seen[-1][1][inside] == result.pixels[y : y + h, x : x + w][inside]).all()
    spread = [frame[inside].std() for _, frame in seen]
    assert spread[0] > spread[-1]


def test_detect_on_a_clean_image_returns_it_as_it_is(model: Model) -> None:
    blank = np.full((100, 100, 3), 240, np.uint8)
    result = restore(blank, detect=True, model=model, mpp=0.5)
    assert (result.pixels == blank).all()
    assert any("No artifact" in notice for notice in result.record.notices)


def test_the_model_makes_up_a_field(model: Model) -> None:
    field = sample_field(96, 0, model)
    assert field.shape == (96, 96, 3)
    assert (field == sample_field(96, 0, model)).all()


@pytest.mark.parametrize(
    ("settings_", "error", "says"),
    [
        ({"mask": None}, MaskError, "--mask"),
        ({"detect": True}, MaskError, "not both"),
        ({"mask": np.zeros((512, 512), bool)}, MaskError, "mask"),
        ({"mask": np.ones((512, 512), bool)}, MaskError, "mask"),
        ({"mask": np.zeros((10, 10), bool)}, MaskError, "512"),
        ({"method": "magic"}, SettingError, "artifusion"),
        ({"preset": "magic"}, SettingError, "generate"),
        ({"sampler": "magic"}, SettingError, "ddim"),
        ({"steps": 0}, SettingError, "1000"),
        ({"steps": 5000}, SettingError, "1000"),
        ({"seed": -1}, SettingError, "seed"),
        ({"samples": 0}, SettingError, "samples"),
        ({"model": "magic"}, ModelNotFoundError, "artifusion-he"),
    ],
)
def test_bad_settings_are_named(
    model: Model, tissue: np.ndarray, settings_: dict, error: type[Exception], says: str
) -> None:
    given_ = {"mask": spot((512, 512)), "model": model, "mpp": 0.5, **settings_}
    with pytest.raises(error, match=says):
        restore(tissue, **given_)


def test_bad_arrays_are_named(model: Model) -> None:
    with pytest.raises(ValueRangeError):
        restore(np.full((100, 100, 3), np.nan), spot((100, 100)), model=model)
    with pytest.raises(ImageSizeError):
        restore(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool), model=model)


def test_a_model_of_another_method_is_refused(model: Model, tissue: np.ndarray) -> None:
    from dataclasses import replace

    other = replace(model, config=replace(model.config, method="rscd"))
    with pytest.raises(ModelMismatchError, match="rscd"):
        restore(tissue, spot((512, 512)), model=other)


def test_threads_are_put_back(model: Model, tissue: np.ndarray) -> None:
    before = torch.get_num_threads()
    restore(tissue, spot((512, 512)) | spot((512, 512), 300, 300), model=model, mpp=0.5)
    assert torch.get_num_threads() == before
