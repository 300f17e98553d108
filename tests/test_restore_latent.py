"""Restoring in a latent space changes what is masked, and no clean pixel passes the autoencoder."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from histomend import api
from histomend.api import sample_field
from histomend.cli.app import app
from histomend.errors import ModelMismatchError, ModelNotFoundError, SettingError
from histomend.image import write_image
from histomend.ledger import Record, undo, verify
from histomend.masks import write_mask
from histomend.methods.decide import decide
from histomend.models import Model, load_model
from histomend.tiles.plan import make_plan
from histomend.tiles.seams import fill_smoothly

# What the network draws by itself; the default has tests of its own.
restore = partial(api.restore, preset="generate")

METHOD = "latent-artifusion"


@pytest.fixture(scope="module")
def model(untrained_latent: Path) -> Model:
    return load_model(untrained_latent, "cpu")


def spot(y: int = 40, x: int = 40, size: int = 20) -> np.ndarray:
    mask = np.zeros((512, 512), bool)
    mask[y : y + size, x : x + size] = True
    return mask


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(64, 300), st.integers(64, 300), st.integers(0, 10_000))
def test_outside_the_mask_not_one_pixel_changes(
    model: Model, height: int, width: int, seed: int
) -> None:
    """Also with sides that are no multiples of 8, single pixels, and lines one pixel wide."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < 0.0005
    mask[int(rng.integers(height)), : width // 2] = True
    mask[: height // 3, int(rng.integers(width))] = True
    result = restore(image, mask, method=METHOD, model=model, steps=1, mpp=0.5, seed=seed)
    assert (result.pixels[~mask] == image[~mask]).all()
    changed = (result.pixels != image).any(-1)
    assert changed[mask].mean() > 0.8, "a thin mask is restored as any other"


def test_what_lies_under_the_mask_is_never_seen(model: Model, tissue: np.ndarray) -> None:
    mask = spot(101, 99, 61)
    other = tissue.copy()
    other[mask] = 0
    one = restore(tissue, mask, method=METHOD, model=model, mpp=0.5)
    two = restore(other, mask, method=METHOD, model=model, mpp=0.5)
    assert (one.pixels == two.pixels).all()


def test_the_same_seed_gives_the_same_bytes(model: Model, tissue: np.ndarray) -> None:
    mask = spot(60, 60, 40) | spot(300, 350, 50)
    first, again, other = (
        restore(tissue, mask, method=METHOD, model=model, mpp=0.5, seed=seed, batch=batch)
        for seed, batch in ((7, 1), (7, 8), (8, 1))
    )
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.pixels.tobytes() != other.pixels.tobytes()


def test_the_ledger_says_what_was_done_and_takes_it_back(model: Model, tissue: np.ndarray) -> None:
    mask = spot() | spot(300, 300)
    result = restore(tissue, mask, method=METHOD, model=model, mpp=0.5, samples=2)
    ledger = Record.from_json(result.record.to_json())
    assert ledger.method == METHOD
    assert ledger.model["vae_sha256"] == model.config.vae_sha256
    assert ledger.nfe == 2 * 2 * 2
    assert verify(ledger, result.image, result.source).ok
    assert (undo(ledger, result.image) == tissue).all()


def test_an_artifact_larger_than_the_window_is_one_field(model: Model) -> None:
    image = np.random.default_rng(0).integers(100, 200, (350, 701, 3), dtype=np.uint8)
    mask = np.zeros((350, 701), bool)
    mask[103:240, 35:603] = True
    result = restore(image, mask, method=METHOD, model=model, steps=1, mpp=0.5)
    assert len(result.record.windows) == 1
    assert (result.pixels[~mask] == image[~mask]).all()


def test_other_pixel_sizes_are_bridged(model: Model, tissue: np.ndarray) -> None:
    mask = spot(200, 200, 81)
    result = restore(tissue, mask, method=METHOD, model=model, mpp=0.25)
    assert result.record.settings["scale"] == 0.5
    assert (result.pixels[~mask] == tissue[~mask]).all()


def test_a_trace_shows_decoded_states(model: Model, tissue: np.ndarray) -> None:
    mask = spot()
    seen: list[tuple[int, np.ndarray]] = []
    result = restore(
        tissue,
        mask,
        method=METHOD,
        model=model,
        steps=3,
        mpp=0.5,
        trace=lambda window, t, x: seen.append((t, x)),
    )
    assert [t for t, _ in seen] == [667, 333, 0]
    _, _, w, h = result.record.windows[0]["field"]
    assert all(picture.shape == (h, w, 3) for _, picture in seen)


def test_a_dry_run_says_what_the_run_does(model: Model, tissue: np.ndarray) -> None:
    said = decide(
        "restore", tissue, mask=spot(), method=METHOD, model=model, preset="paper", mpp=0.5
    ).describe()
    assert (said["method"], said["sampler"], said["nfe"]) == (METHOD, "ddpm", 50)
    json.dumps(said)


def test_the_autoencoder_sees_one_channel_after_the_other(
    model: Model, tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another layout PyTorch convolves in another order, and rounds differently."""
    seen: list[bool] = []
    encode = type(model.space).encode

    def watched(space: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.is_contiguous())
        return encode(space, x)

    monkeypatch.setattr(type(model.space), "encode", watched)
    restore(tissue, spot() | spot(300, 300), method=METHOD, model=model, steps=1, mpp=0.5)
    assert seen == [True, True]


@pytest.mark.parametrize("size", [64, 100])
def test_the_model_makes_up_a_field(model: Model, size: int) -> None:
    assert sample_field(size, 0, model).shape == (size, size, 3)


def test_settings_that_do_not_fit(model: Model, untrained: Path, tissue: np.ndarray) -> None:
    with pytest.raises(SettingError, match=r"author_code.*exemplar, generate, paper.*clean pixels"):
        restore(tissue, spot(), method=METHOD, model=model, preset="author_code", mpp=0.5)
    with pytest.raises(ModelMismatchError, match="is for latent-artifusion"):
        restore(tissue, spot(), model=model, mpp=0.5)
    with pytest.raises(ModelMismatchError, match="is for artifusion"):
        restore(tissue, spot(), method=METHOD, model=untrained, mpp=0.5)


def test_the_command_line_has_the_method(
    untrained_latent: Path, tissue: np.ndarray, tmp_path: Path
) -> None:
    source, mask, out = (tmp_path / name for name in ("tissue.png", "mask.png", "new.png"))
    write_image(source, tissue, mpp=0.5)
    write_mask(mask, spot())
    words = ["restore", source, "--mask", mask, "-o", out, "--method", METHOD]
    words += ["--preset", "generate"]
    answer = CliRunner().invoke(app, [*map(str, words), "--model", str(untrained_latent), "--json"])
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)[0]["nfe"] == 2
    assert CliRunner().invoke(app, ["verify", str(out), "--source", str(source)]).exit_code == 0
    shown = CliRunner().invoke(app, ["models", str(untrained_latent), "--json"])
    assert json.loads(shown.stdout)["latent_channels"] == 4


def test_a_method_whose_model_is_not_bundled_asks_for_a_folder(
    tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histomend.models.names.WEIGHTS", tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"train latent-artifusion.*--model"):
        restore(tissue, spot(), method=METHOD, mpp=0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(64, 500), st.integers(64, 500), st.integers(0, 10_000))
def test_windows_begin_on_latent_cells_and_hold_their_cores(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    mask[y : y + int(rng.integers(1, 200)), x : x + int(rng.integers(1, 200))] = True
    for window in make_plan(mask, 256, factor=8).windows:
        x, y, w, h = window.field
        assert (x % 8, y % 8) == (0, 0)
        assert window.origin == (y // 8, x // 8)
        assert x + w <= width
        assert y + h <= height
        cx, cy, cw, ch = window.core
        assert x <= cx
        assert y <= cy
        assert cx + cw <= x + w
        assert cy + ch <= y + h


def test_what_is_filled_in_is_smooth_and_of_the_colours_around() -> None:
    values = np.full((70, 50, 3), 0.5, np.float32)
    hidden = np.zeros((70, 50), bool)
    hidden[10:60, 10:45] = True
    values[hidden] = -1
    assert fill_smoothly(values, hidden) == pytest.approx(0.5, abs=1e-5)
    values = np.random.default_rng(0).uniform(-1, 1, (70, 50, 3)).astype(np.float32)
    filled = fill_smoothly(values, hidden)
    assert (filled[~hidden] == values[~hidden]).all()
    assert np.abs(np.diff(filled[12:58, 12:43], axis=0)).max() < 0.5
    assert (fill_smoothly(values, np.ones_like(hidden)) == 0).all()
