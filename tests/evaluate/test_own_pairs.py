"""`histomend evaluate`: anyone's restored images against the true ones."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.errors import ImageSizeError, InputError, SettingError
from histomend.evaluate.own_pairs import evaluate_pairs, find_pairs
from histomend.evaluate.report import page
from histomend.image import read_image, write_image
from histomend.masks import write_mask

SIDE = 96


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def tissue(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((SIDE, SIDE, 3), (225, 160, 200), np.float32)
    image += rng.normal(0, 6, image.shape)
    y, x = np.mgrid[:SIDE, :SIDE]
    for cy, cx in rng.uniform(10, SIDE - 10, (8, 2)):
        image[np.hypot(y - cy, x - cx) < 6] = (95, 55, 140)
    return image.clip(0, 255).astype(np.uint8)


def off(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return restored and true images, each pair further apart than the one before."""
    restored, truth = tmp_path / "restored", tmp_path / "truth"
    restored.mkdir()
    truth.mkdir()
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30:70, 30:70] = True
    for number, name in enumerate("abc"):
        write_image(truth / f"{name}.png", tissue(number))
        new = off(tissue(number), 3 + 6 * number, number)
        write_image(restored / f"{name}.png", np.where(mask[..., None], new, tissue(number)))
        write_mask(restored / f"{name}.mask.png", mask)
    return restored, truth


def test_figures_are_those_of_scikit_image_and_of_the_mask(folders: tuple[Path, Path]) -> None:
    found = evaluate_pairs(find_pairs(*folders))
    for number, figures in enumerate(found.figures):
        new, true = (read_image(folder / f"{'abc'[number]}.png").pixels for folder in folders)
        assert figures["psnr"] == pytest.approx(peak_signal_noise_ratio(true, new), abs=1e-9)
        assert figures["ssim"] == pytest.approx(
            structural_similarity(true, new, channel_axis=2), abs=1e-9
        )
        inside = np.square(true[30:70, 30:70].astype(float) - new[30:70, 30:70]).mean()
        assert figures["psnr_inside"] == pytest.approx(10 * np.log10(255**2 / inside))
        assert figures["psnr_inside"] < figures["psnr"], "most of the image was not restored"
    values = [figures["psnr"] for figures in found.figures]
    assert values == sorted(values, reverse=True)
    interval = found.summary["psnr"]
    assert interval.value == pytest.approx(np.mean(values))
    assert min(values) <= interval.low < interval.value < interval.high <= max(values)
    assert found.summary["nuclei"].value == pytest.approx(1, abs=0.5)


def test_the_command_prints_and_writes_all_of_it(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    table, report = tmp_path / "out" / "a.csv", tmp_path / "out" / "a.html"
    measures = ("--measure", "psnr", "--measure", "laplacian")
    words = (*folders, "--csv", table, "--html", report, *measures)
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert [pair["name"] for pair in told["pairs"]] == ["a", "b", "c"]
    assert set(told["summary"]) == {"psnr", "laplacian"}
    assert told["summary"]["laplacian"]["better"] == "one"
    lines = list(csv.DictReader(io.StringIO(table.read_text())))
    assert float(lines[2]["psnr"]) == pytest.approx(told["pairs"][2]["psnr"])
    text = report.read_text()
    assert text.count("<figure>") == 3
    assert not re.search(r"https?:|\$[a-z]", text), "nothing from elsewhere, nothing left open"
    assert text.index("c: PSNR") < text.index("a: PSNR"), "the worst comes first"
    assert run(*words).exit_code == 2, "nothing is replaced"
    assert "PSNR ↑" in run(*folders, "--measure", "psnr").stdout


def test_equal_images_are_equal(folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(folders[1], folders[1], "--json", "--html", tmp_path / "equal.html")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert summary["psnr"]["value"] == "inf"
    assert summary["ssim"]["value"] == pytest.approx(1)
    assert summary["laplacian"]["value"] == pytest.approx(1)
    assert "No mask was given" in json.loads(result.stdout)["notes"][0]


def test_light_of_one_channel_and_stacks_are_measured_in_their_own_range(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(1000, 40_000, (3, 80, 90), np.uint16)
    new = (truth + rng.integers(0, 900, truth.shape)).astype(np.uint16)
    for name, values in (("new", new), ("true", truth)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, imagej=True, metadata={"axes": "ZYX"})
    found = evaluate_pairs(find_pairs(tmp_path / "new.tif", tmp_path / "true.tif"))
    planes = [peak_signal_noise_ratio(t, n) for t, n in zip(truth, new, strict=True)]
    assert found.summary["psnr"].value == pytest.approx(np.mean(planes), abs=1e-6)
    assert "colour" not in found.summary


def test_what_does_not_belong_together_is_named(folders: tuple[Path, Path]) -> None:
    restored, truth = folders
    (truth / "b.png").rename(truth / "d.png")
    with pytest.raises(InputError, match=r"1 image has no counterpart in .*truth: b"):
        find_pairs(restored, truth)
    with pytest.raises(InputError, match="one is a folder"):
        find_pairs(restored / "a.png", truth)
    write_image(truth / "b.png", tissue(1)[:80])
    with pytest.raises(ImageSizeError, match=r"96 x 96 px.*96 x 80 px"):
        evaluate_pairs(find_pairs(restored / "b.png", truth / "b.png"))
    with pytest.raises(SettingError, match=r"'beauty'.*psnr, ssim"):
        evaluate_pairs(find_pairs(restored / "a.png", truth / "a.png"), measures=["beauty"])
    (truth / "a.tif").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be told which is meant"):
        find_pairs(restored, truth)


def test_a_restored_image_that_is_too_dim_looks_dim_on_the_page(tmp_path: Path) -> None:
    truth = np.linspace(1000, 60_000, 80 * 90).reshape(80, 90).astype(np.uint16)
    tifffile.imwrite(tmp_path / "true.tif", truth)
    tifffile.imwrite(tmp_path / "dim.tif", truth // 2)
    found = evaluate_pairs(find_pairs(tmp_path / "dim.tif", tmp_path / "true.tif"))
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float64)
        for data in re.findall(r"data:image/webp;base64,([^\"]+)", page(found))
    ]
    assert shown[1].mean() == pytest.approx(shown[0].mean() / 2, rel=0.05)
