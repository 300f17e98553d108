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
from histomend.evaluate.encoder import EncoderConfig, save_encoder
from histomend.evaluate.nuclei import nuclei_in, segment_nuclei
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
    assert found.summary["nuclei_number"].value == pytest.approx(1, abs=0.5)


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


def test_measures_of_sets_of_weights_and_of_what_is_not_at_hand(tmp_path: Path) -> None:
    config = EncoderConfig(features=8)
    save_encoder(tmp_path / "encoder", config.network().state_dict(), config)
    restored, truth = tmp_path / "restored", tmp_path / "truth"
    restored.mkdir()
    truth.mkdir()
    for number in range(8):
        write_image(truth / f"{number}.png", tissue(number))
        write_image(restored / f"{number}.png", off(tissue(number), 20, number))
    named = ["--weights", f"encoder={tmp_path / 'encoder'}", "--weights"]
    named += [f"own_encoder={tmp_path / 'encoder'}", "--measure", "encoder", "--measure"]
    result = run(restored, truth, *named, "own_encoder", "--html", tmp_path / "a.html", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told["summary"]) == {
        "encoder",
        *(f"{k}_own_encoder" for k in ("fid", "kid", "cmmd")),
    }
    assert told["summary"]["cmmd_own_encoder"]["value"] > 0
    assert set(told["pairs"][0]) == {"name", "restored", "truth", "encoder"}
    lpips = ["--measure", "lpips"]
    with_psnr = run(restored / "0.png", truth / "0.png", *lpips, "--measure", "psnr", "--json")
    assert "LPIPS: not available: needs AlexNet" in json.loads(with_psnr.stdout)["notes"][0]
    # Sets of one image have no distance.
    alone = run(restored / "0.png", truth / "0.png", *named, "own_encoder", "--json")
    assert "of 8 pairs or more" in alone.stdout
    for words, said in (
        ([restored, truth, *lpips], "Nothing can be measured. LPIPS"),
        ([restored, truth, "--weights", "lpips"], "give MEASURE=PATH"),
        ([restored], "list the measures: --list"),
    ):
        found = run(*words)
        assert found.exit_code == 2
        assert said in " ".join(found.stderr.split())


def test_what_is_found_does_not_depend_on_how_many_are_measured_at_once(
    folders: tuple[Path, Path],
) -> None:
    pairs = find_pairs(*folders)
    told: list[tuple[int, int]] = []
    one = evaluate_pairs(pairs)
    many = evaluate_pairs(pairs, workers=3, tick=lambda done, of: told.append((done, of)))
    assert one.figures == many.figures
    assert one.summary == many.summary
    assert told == [(1, 3), (2, 3), (3, 3)]
    write_image(folders[1] / "b.png", tissue(1)[:80], force=True)
    with pytest.raises(ImageSizeError, match=r"b\.png"):
        evaluate_pairs(pairs, workers=3)


def test_the_command_lists_what_it_measures() -> None:
    told = json.loads(run("--list", "--json").stdout)
    lpips = next(row for row in told if row["name"] == "lpips")
    assert lpips["column"] == "LPIPS ↓"
    assert lpips["needs"] == "AlexNet and LPIPS's own weights"
    assert "ST-LPIPS" in run("--list").stdout


def test_nuclei_are_counted_at_the_size_of_the_pixels(tmp_path: Path) -> None:
    for name, seed in (("new", 1), ("true", 2)):
        write_image(tmp_path / f"{name}.png", tissue(seed))
    pairs = find_pairs(tmp_path / "new.png", tmp_path / "true.png")
    ratios = {
        mpp: evaluate_pairs(pairs, measures=["nuclei_inside"], mpp=mpp).figures[0]["nuclei_number"]
        for mpp in (0.5, 4.0)
    }
    truth, new = (
        nuclei_in(segment_nuclei(tissue(s), 0.5), np.ones((SIDE, SIDE), bool), 0.5)[0]
        for s in (2, 1)
    )
    assert ratios[0.5] == pytest.approx(new / truth)
    assert ratios[4.0] != pytest.approx(ratios[0.5], nan_ok=True)


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
