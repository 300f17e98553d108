"""`histomend tiles` as users meet it: slides in, tiles with a manifest out."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.image import write_image
from histomend.train.data import Tiles

NEVER_MIND = ("--artifacts", "0.9", "--validation-share", "0")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def flat(text: str) -> str:
    return " ".join(text.split())


def stained(seed: int, side: int) -> np.ndarray:
    """Return something with the colours and the fine contrast of H&E, (side, side, 3)."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.7)
    density = np.array([0.25, 0.6, 0.3]) * (1 + 0.9 * grain[..., None]).clip(0.2, 3)
    return np.rint(250 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def slide(seed: int = 0) -> np.ndarray:
    """Return 4 by 4 places of 64 px: glass at the left, then sharp, blurred, and inked tissue."""
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[:, 64:] = stained(seed, 256)[:, 64:]
    pixels[128:, 128:192] = cv2.GaussianBlur(pixels[128:, 128:192], (0, 0), 3)
    pixels[:, 216:232] = (15, 20, 30)
    return pixels


def write(path: Path, pixels: np.ndarray, mpp: float = 0.5) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, dpi=(25_400 / mpp, 25_400 / mpp))
    return path


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "slides" / f"s{number}.png", slide(number))
    return tmp_path / "slides"


def test_only_sharp_intact_tissue_is_cut_and_the_rest_is_accounted_for(tmp_path: Path) -> None:
    source = write(tmp_path / "one.png", slide())
    out = tmp_path / "out"
    result = run("tiles", source, "-o", out, "--mpp", 0.5, "--size", 64, "--json")
    assert result.exit_code == 0, result.stderr
    rows = manifest(out)
    # Six places of sharp tissue: the second column, and the upper half of the third.
    assert {(row["x"], row["y"]) for row in rows} == {
        ("64", "0"), ("64", "64"), ("64", "128"), ("64", "192"), ("128", "0"), ("128", "64"),
    }  # fmt: skip
    (report,) = json.loads(result.stdout)["slides"]
    assert report["rejected"]["background"] == 4
    assert report["rejected"]["artifacts"] + report["rejected"]["blurred"] == 6
    assert report["places"] == report["tiles"] + sum(report["rejected"].values())
    for row in rows:
        x, y = int(row["x"]), int(row["y"])
        tile = np.asarray(Image.open(out / row["file"]))
        np.testing.assert_array_equal(tile, slide()[y : y + 64, x : x + 64])
        assert row["slide"] == "one"
        assert row["split"] == "train"
        assert float(row["mpp"]) == 0.5
        assert float(row["tissue"]) > 0.9


def test_blurred_tiles_can_be_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "one.png", slide())
    run("tiles", source, "-o", tmp_path / "a", "--mpp", 0.5, "--size", 64, *NEVER_MIND)
    result = run(
        "tiles", source, "-o", tmp_path / "b", "--mpp", 0.5, "--size", 64, *NEVER_MIND,
        "--sharpness", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    kept, all_kept = ({(row["x"], row["y"]) for row in manifest(tmp_path / k)} for k in ("a", "b"))
    assert all_kept - kept >= {("128", "128"), ("128", "192")}


def test_trainings_read_the_manifest_with_each_slide_in_one_split(
    slides: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("tiles", slides, "-o", out, "--mpp", 0.5, "--size", 64, "--validation-share", 0.34)
    assert result.exit_code == 0, result.stderr
    split = {(row["slide"], row["split"]) for row in manifest(out)}
    assert sorted(name for name, _ in split) == ["s0", "s1", "s2"]
    train = Tiles(out, tmp_path / "cache", split="train")
    held_out = Tiles(out, tmp_path / "cache", split="val")
    assert (len(train.slides), len(held_out.slides)) == (2, 1)
    assert not set(train.files) & set(held_out.files)


def test_pixels_are_averaged_over_their_area_to_the_pixel_size_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "one.png", slide())
    # 0.6 mpp: steps of 1.5 pixels, as 3 to 2.
    options = ("--size", 64, "--source-mpp", 9, *NEVER_MIND, "--sharpness", 0, "--tissue", 0.1)
    result = run("tiles", source, "-o", tmp_path / "out", "--mpp", 0.75, *options)
    assert result.exit_code == 0, result.stderr
    thirds = np.repeat(np.repeat(slide().astype(float), 2, 0), 2, 1)
    whole = thirds[:510, :510].reshape(170, 3, 170, 3, 3).mean((1, 3))
    rows = manifest(tmp_path / "out")
    assert {row["mpp"] for row in rows} == {"0.75"}
    for row in rows:
        x, y = round(int(row["x"]) / 1.5), round(int(row["y"]) / 1.5)
        tile = np.asarray(Image.open(tmp_path / "out" / row["file"]))
        np.testing.assert_allclose(tile, whole[y : y + 64, x : x + 64], atol=0.51)


def test_a_limit_takes_tiles_by_the_seed_and_from_all_over_the_slide(tmp_path: Path) -> None:
    source = write(tmp_path / "one.png", stained(0, 512))
    taken = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        result = run(
            "tiles", source, "-o", tmp_path / name, "--mpp", 0.5, "--size", 64, *NEVER_MIND,
            "--per-slide", 4, "--seed", seed,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        taken[name] = [(int(r["x"]), int(r["y"])) for r in manifest(tmp_path / name)]
    assert len(taken["a"]) == 4
    assert taken["a"] == taken["b"] != taken["c"]
    assert {(x // 256, y // 256) for x, y in taken["a"]} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_an_interrupted_call_resumes_to_the_same_files(slides: Path, tmp_path: Path) -> None:
    words = ("tiles", slides, "--mpp", 0.5, "--size", 64)
    assert run(*words, "-o", tmp_path / "whole").exit_code == 0
    resumed = tmp_path / "resumed"
    assert run(*words, "-o", resumed).exit_code == 0
    (resumed / "manifest.csv").unlink()
    (resumed / "s1" / "slide.json").unlink()
    next((resumed / "s1").glob("*.png")).unlink()
    assert run(*words, "-o", resumed, "--resume").exit_code == 0
    assert contents(resumed) == contents(tmp_path / "whole")
    other = run(*words[:-1], 128, "-o", resumed, "--resume")
    assert other.exit_code == 2
    assert "size 64 (now 128)" in flat(other.stderr)


def test_nothing_in_a_folder_is_replaced(slides: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    words = ("tiles", slides, "-o", out, "--mpp", 0.5, "--size", 64)
    for more in ((), ("--resume",)):
        result = run(*words, *more)
        assert result.exit_code == 2
        assert "Name another" in flat(result.stderr)
    assert contents(out) == {"mine.txt": b"mine"}


def test_slides_that_cannot_be_cut_are_named_and_do_not_stop_the_others(
    slides: Path, tmp_path: Path
) -> None:
    (slides / "broken.svs").write_bytes(b"II*\0" + b"\1" * 100)
    (slides / "copy.png").write_bytes((slides / "s0.png").read_bytes())
    Image.fromarray(slide(5)).save(slides / "unknown.png")
    write(slides / "glass.png", np.full((256, 256, 3), 244, np.uint8))
    write(slides / "coarse.png", slide(6), mpp=1.0)
    write(slides / "small.png", slide(7)[:, :64], mpp=0.25)
    write(slides / "dark.png", slide(8) // 8)
    result = run(
        "tiles", slides, "-o", tmp_path / "out", "--mpp", 0.5, "--size", 64,
        "--validation-share", 0,
    )  # fmt: skip
    assert result.exit_code == 2, result.stderr
    failed = json.loads((tmp_path / "out" / "summary.json").read_text())["failed"]
    expected = {
        "broken": "truncated or damaged",
        "s0": "is the same file as",
        "unknown": "--source-mpp",
        "glass": "no tissue was found",
        "coarse": "would be finer",
        "small": "less than one tile",
        "dark": "fluorescence",
    }
    assert failed.keys() == expected.keys()
    for name, words in expected.items():
        assert words in flat(failed[name])
        assert words in flat(result.stderr)
    assert {row["slide"] for row in manifest(tmp_path / "out")} == {"copy", "s1", "s2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", 32), "--size is 32"),
        (("--mpp", 0), "no possible pixel size"),
        (("--tissue", 0), "--tissue is 0"),
        (("--artifacts", 1), "--artifacts is 1"),
        (("--validation-share", 1), "--validation-share is 1"),
        (("--per-slide", 0), "--per-slide is 0"),
        (("--mpp", 0.4), "Ask for 0.5 or more"),
    ],
)
def test_impossible_wishes_are_refused(
    words: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "one.png", slide())
    result = run("tiles", source, "-o", tmp_path / "out", "--mpp", 0.5, "--size", 64, *words)
    assert result.exit_code == 2
    assert message in flat(result.stderr)


def test_a_call_that_cut_nothing_can_be_repeated_with_other_settings(tmp_path: Path) -> None:
    source = write(tmp_path / "one.png", slide())
    words = ("tiles", source, "-o", tmp_path / "out", "--size", 64)
    assert run(*words, "--mpp", 0.4).exit_code == 2
    result = run(*words, "--mpp", 0.5)
    assert result.exit_code == 0, result.stderr
    assert run(*words, "--mpp", 0.5).exit_code == 2


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    sources = [write(tmp_path / k / "one.png", slide()) for k in ("a", "b")]
    result = run("tiles", *sources, "-o", tmp_path / "out", "--mpp", 0.5, "--size", 64)
    assert result.exit_code == 2
    assert "have the same name" in flat(result.stderr)
    assert not (tmp_path / "out").exists()


def aperio(path: Path, pixels: np.ndarray, mpp: float) -> Path:
    """Write a slide of two levels as an Aperio scanner does."""
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    with tifffile.TiffWriter(path) as writer:
        for level in (pixels, half):
            writer.write(
                level, tile=(128, 128), photometric="rgb", metadata=None,
                description=f"Aperio Image Library v11\n|AppMag = 40|MPP = {mpp}",
            )  # fmt: skip
    return path


def test_a_refused_slide_leaves_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "glass.png", np.full((128, 128, 3), 250, np.uint8), mpp=0.5)
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "new" / "T", tmp_path / "empty"):
        result = run("tiles", tmp_path / "glass.png", "-o", out, "--mpp", 0.5, "--size", 64)
        assert result.exit_code == 2
        assert "no tissue was found" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "glass.png"]


def test_slides_are_read_from_the_level_that_fits(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    pixels = stained(0, 512)
    source = aperio(tmp_path / "scan.svs", pixels, 0.252)
    result = run("tiles", source, "-o", tmp_path / "out", "--mpp", 0.5, "--size", 64, *NEVER_MIND)
    assert result.exit_code == 0, result.stderr
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    rows = manifest(tmp_path / "out")
    assert rows
    for row in rows:
        # Within one per cent the level is taken as it is, and the manifest says so.
        assert float(row["mpp"]) == 0.504
        x, y = int(row["x"]) // 2, int(row["y"]) // 2
        tile = np.asarray(Image.open(tmp_path / "out" / row["file"]))
        np.testing.assert_array_equal(tile, half[y : y + 64, x : x + 64])


def test_a_real_slide_gives_tissue(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    source = shared_data / "slides" / "CMU-1-Small-Region.svs"
    result = run(
        "tiles", source, "-o", tmp_path / "out", "--mpp", 2, "--size", 128, "--artifacts", 0.5
    )
    assert result.exit_code == 0, result.stderr
    for row in manifest(tmp_path / "out"):
        tile = np.asarray(Image.open(tmp_path / "out" / row["file"]))
        assert tile.shape == (128, 128, 3)
        assert tile.mean() < 220
