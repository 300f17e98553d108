"""The command line as users meet it: files in, files out, one message per error."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner, Result

import histomend
from histomend.cli.app import app
from histomend.errors import MaskError
from histomend.image import read_image, write_image
from histomend.masks import write_mask
from histomend.models import ModelConfig, save_model
from histomend.networks.build import ARCHS

SIDE = 96

# The network draws what is masked by itself.
ALONE = ("--preset", "generate")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    return result


def flat(text: str) -> str:
    """Return text without the frames and line breaks of a terminal."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as `histomend train` writes it, with random weights."""
    config = ModelConfig(method="artifusion", arch="small-unet", fast_steps=2)
    folder = tmp_path_factory.mktemp("model")
    draws = torch.Generator().manual_seed(0)
    weights = config.network().state_dict()
    for tensor in weights.values():
        tensor.normal_(0, 0.1, generator=draws)
    save_model(folder, weights, config)
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a damaged image and its mask, in which the command runs."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(120, 230, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:60, 30:70] = True
    pixels[mask] = 20
    write_image(tmp_path / "tissue.png", pixels, mpp=0.5)
    write_mask(tmp_path / "mask.png", mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_restore_verify_and_undo(work: Path, model: Path) -> None:
    succeed("restore", "tissue.png", "--mask", "mask.png", "-o", "out/new.png", "--model", model)
    restored, source = read_image(work / "out/new.png"), read_image(work / "tissue.png")
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:60, 30:70] = True
    differs = (restored.pixels != source.pixels).any(axis=2)
    assert differs[mask].any()
    assert not differs[~mask].any()
    assert sorted(path.name for path in (work / "out").iterdir()) == ["new.ledger.json", "new.png"]

    assert "holds" in succeed("verify", "out/new.png", "--source", "tissue.png").stdout
    succeed("undo", "out/new.png", "-o", "back.png")
    assert (read_image(work / "back.png").pixels == source.pixels).all()


def test_a_region_is_restored_and_compared_with_that_part_of_its_source(
    work: Path, model: Path
) -> None:
    succeed("simulate", "tissue.png", "-o", "part.png", "--kind", "ink", "--region", "16,8,80,72")
    words = ("restore", "tissue.png", "--mask", "part.mask.png", "--region", "16,8,80,72")
    succeed(*words, "-o", "new.png", "--model", model)
    assert read_image(work / "new.png").pixels.shape == (72, 80, 3)
    succeed("verify", "new.png", "--source", "tissue.png")


def test_verify_fails_with_1_for_a_changed_image(work: Path, model: Path) -> None:
    succeed("restore", "tissue.png", "--mask", "mask.png", "-o", "new.png", "--model", model)
    pixels = read_image(work / "new.png").pixels.copy()
    pixels[0, 0] ^= 1
    write_image(work / "new.png", pixels, mpp=0.5, force=True)
    result = run("verify", "new.png", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False


def test_the_output_says_that_it_is_not_for_diagnosis(work: Path, model: Path) -> None:
    succeed("restore", "tissue.png", "--mask", "mask.png", "-o", "new.png", "--model", model)
    with PIL.Image.open(work / "new.png") as picture:
        assert "not for diagnosis" in picture.info["Comment"]


def test_samples_write_an_uncertainty_map(work: Path, model: Path) -> None:
    words = (
        "restore",
        "tissue.png",
        "--mask",
        "mask.png",
        "-o",
        "new.png",
        "--model",
        model,
        "--preset",
        "generate",
    )
    succeed(*words, "--samples", 2)
    with PIL.Image.open(work / "new.uncertainty.png") as picture:
        deviation = np.asarray(picture)
    assert deviation[45:55, 40:60].min() > 0
    assert not deviation[:30].any()


def test_detect_writes_the_mask_it_used(work: Path, model: Path) -> None:
    pixels = np.random.default_rng(0).normal((220, 150, 190), 8, (SIDE, SIDE, 3))
    pixels[40:60, 30:70] = (30, 80, 200)  # ink over 8.7 % of the tissue
    write_image("tissue.png", pixels.clip(0, 255).astype(np.uint8), mpp=0.5, force=True)
    words = ["restore", "tissue.png", "--detect", "--detector", "threshold", "-o", "new.png"]
    words += ["--model", str(model)]
    refused = run(*words)
    assert refused.exit_code == 2
    assert "more than --max-share 0.02" in flat(refused.stderr)
    assert "at 0.5 um per pixel" in flat(refused.stderr)
    found = succeed(*words, "--max-share", 1)
    said = re.search(r"([\d.]+)% of its coloured tissue, at 0.5 um per pixel", flat(found.stderr))
    assert said is not None
    found_mask = np.asarray(PIL.Image.open(work / "new.mask.png")) > 0
    assert found_mask[40:60, 30:70].all()
    # All of the image is coloured tissue.
    assert float(said[1]) == pytest.approx(100 * found_mask.mean(), abs=1)
    succeed("detect", "tissue.png", "--method", "threshold", "-o", "found.geojson")
    assert json.loads((work / "found.geojson").read_text())["type"] == "FeatureCollection"


def test_a_mask_beside_the_image_is_used_and_named(work: Path, model: Path) -> None:
    (work / "mask.png").rename(work / "tissue_mask.png")
    result = succeed("restore", "tissue.png", "-o", "new.png", "--model", model)
    assert "no --mask was named; tissue_mask.png beside the image is used" in flat(result.stderr)
    differs = (read_image("new.png").pixels != read_image("tissue.png").pixels).any(axis=2)
    assert differs[40:60, 30:70].any()
    assert not differs[:40].any()
    mask = np.ones((SIDE, SIDE), bool)
    write_mask(work / "tissue.mask.png", mask)
    again = run("restore", "tissue.png", "-o", "other.png", "--model", model)
    assert again.exit_code == 2
    assert "2 masks lie beside it" in flat(again.stderr)


def test_only_the_named_classes_of_a_mask_are_restored(work: Path, model: Path) -> None:
    def square(name: str, x: int) -> dict[str, object]:
        ring = [[x, 10], [x + 10, 10], [x + 10, 20], [x, 20], [x, 10]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": name}},
        }

    shapes = {"type": "FeatureCollection", "features": [square("Fold", 10), square("Tumor", 50)]}
    (work / "qupath.geojson").write_text(json.dumps(shapes))
    words = ("restore", "tissue.png", "--mask", "qupath.geojson", "-o", "new.png", "--dry-run")
    for given, pixels in (((), 200), (("--class", "fold"), 100), (("--class", "Fold,Tumor"), 200)):
        result = succeed(*words, "--json", "--model", model, *given)
        assert json.loads(result.stdout)[0]["masked_px"] == pixels
    missing = run(*words, "--model", model, "--class", "Ink")
    assert "no shape is of class Ink" in flat(missing.stderr)


def test_one_bad_file_does_not_stop_the_others(work: Path, model: Path) -> None:
    (work / "in").mkdir()
    (work / "masks").mkdir()
    for name in ("a.png", "c.png"):
        (work / "in" / name).write_bytes((work / "tissue.png").read_bytes())
        (work / "masks" / name).write_bytes((work / "mask.png").read_bytes())
    (work / "in" / "b.png").write_bytes(b"not an image")
    (work / "masks" / "b.png").write_bytes((work / "mask.png").read_bytes())

    words = (
        "restore",
        "in",
        "--mask",
        "masks",
        "-o",
        "out",
        "--model",
        model,
        "--json",
        "--preset",
        "generate",
    )
    result = run(*words)
    assert result.exit_code == 2
    assert (work / "out/a.png").exists()
    assert (work / "out/c.png").exists()
    assert not (work / "out/b.png").exists()
    assert "1 of 3 files" in flat(result.stderr)
    a, b, _ = json.loads(result.stdout)
    assert a["nfe"] == 2
    assert b["source"].endswith("b.png")
    assert b["kind"] == "UnreadableImageError"


def test_an_existing_output_is_refused_before_anything_is_computed(work: Path) -> None:
    (work / "new.png").write_bytes(b"mine")
    words = ("restore", "tissue.png", "--mask", "mask.png", "--model", "no-such-model", "-o")
    result = run(*words, "new.png")
    assert result.exit_code == 2
    assert "new.png: exists already" in flat(result.stderr)
    assert (work / "new.png").read_bytes() == b"mine"


def test_the_source_is_never_overwritten(work: Path) -> None:
    words = ("restore", "tissue.png", "--mask", "mask.png", "-o", "tissue.png", "--force")
    assert "is the source image itself" in flat(run(*words).stderr)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(work: Path, model: Path) -> None:
    words = (
        "restore",
        "tissue.png",
        "--mask",
        "mask.png",
        "-o",
        "out/new.png",
        "--model",
        model,
        "--preset",
        "generate",
    )
    (planned,) = json.loads(succeed(*words, "--dry-run", "--json").stdout)
    assert planned["masked_px"] == 20 * 40
    assert planned["nfe"] == 2 * len(planned["windows"])
    assert not (work / "out").exists()


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("restore tissue.png --mask mask.png -o there.png", "exists already"),
        ("restore tissue.png --mask mask.png -o there.png/new.png", "cannot be written"),
        ("restore tissue.png --mask mask.png -o tissue.png --force", "is the source image itself"),
        ("restore tissue.png --mask mask.png -o new.jpg", "--lossy"),
        ("restore tissue.png --mask none.png -o new.png", "does not exist"),
        ("restore tissue.png --mask mask.png -o new.png --trace full", "is not empty"),
        ("denoise tissue.png -o there.png", "exists already"),
        ("upscale tissue.png -o there.png --method bicubic", "exists already"),
        ("auto tissue.png -o there.png", "exists already"),
        ("auto tissue.png -o tissue.png --force", "is the source image itself"),
    ],
)
def test_a_dry_run_refuses_what_the_real_one_would(work: Path, verb: str, says: str) -> None:
    (work / "there.png").write_bytes(b"mine")
    (work / "full" / "tissue").mkdir(parents=True)
    (work / "full" / "tissue" / "x.png").write_bytes(b"mine")
    before = sorted(work.rglob("*"))
    said = [run(*verb.split(), *more) for more in (["--dry-run"], [])]
    assert [result.exit_code for result in said] == [2, 2]
    assert all(says in flat(result.stderr) for result in said)
    assert sorted(work.rglob("*")) == before


def test_trace_writes_the_states_on_the_way(work: Path, model: Path) -> None:
    words = (
        "restore",
        "tissue.png",
        "--mask",
        "mask.png",
        "-o",
        "new.png",
        "--model",
        model,
        "--preset",
        "generate",
    )
    succeed(*words, "--trace", "states")
    states = sorted((work / "states").rglob("*.png"))
    assert len(states) == 2
    assert states[-1].name.endswith("-t0.png")
    again = run(*words, "--trace", "states", "--force")
    assert again.exit_code == 2
    assert "is not empty" in flat(again.stderr)


@pytest.mark.parametrize("flags", [(), ("--mask", "mask.png", "--detect")])
def test_either_a_mask_or_detection(work: Path, flags: tuple[str, ...]) -> None:
    result = run("restore", "tissue.png", "-o", "new.png", *flags)
    assert result.exit_code == 2
    assert "either --mask FILE (white is restored), or --detect" in flat(result.stderr)


@pytest.mark.parametrize("region", ["1,2,3", "a,b,c,d", "1,2,3,4.5"])
def test_a_malformed_region_is_explained(work: Path, region: str) -> None:
    result = run("restore", "tissue.png", "--mask", "mask.png", "-o", "new.png", "--region", region)
    assert result.exit_code == 2
    assert "is not four whole numbers" in flat(result.stderr)


def test_jpeg_needs_consent_and_the_ledger_says_so(work: Path, model: Path) -> None:
    words = ("restore", "tissue.png", "--mask", "mask.png", "-o", "new.jpg", "--model", model)
    assert "--lossy" in run(*words).stderr
    succeed(*words, "--lossy")
    assert json.loads((work / "new.ledger.json").read_text())["output"]["lossy"] is True


def test_errors_show_no_traceback_unless_asked(work: Path) -> None:
    write_mask(work / "small.png", np.ones((64, 64), bool))
    words = ("restore", "tissue.png", "--mask", "small.png", "-o", "new.png", "--dry-run")
    result = run(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert isinstance(run("--debug", *words).exception, MaskError)


def test_interruption_ends_with_130(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("histomend.jobs.outputs.plan_outputs", interrupted)
    assert run("restore", "tissue.png", "--detect", "-o", "new.png").exit_code == 130


def test_a_fault_of_ours_points_to_the_doctor(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("histomend.jobs.outputs.plan_outputs", broken)
    result = run("restore", "tissue.png", "--detect", "-o", "new.png")
    assert result.exit_code == 1
    assert "histomend doctor" in flat(result.stderr)


def test_what_a_folder_holds_besides_is_not_passed_over_silently(work: Path) -> None:
    (work / "in/more").mkdir(parents=True)
    (work / "in/slide.svs").touch()
    write_image(work / "in/a.png", read_image("tissue.png").pixels, mpp=0.5)
    result = succeed("detect", "in", "-o", "masks")
    assert "passed over 1 subfolder and 1 whole-slide file" in flat(result.stderr)
    assert [path.name for path in (work / "masks").iterdir()] == ["a.png"]


@pytest.mark.parametrize("verb", ["restore", "denoise", "detect", "tiles", "verify"])
def test_paragraphs_of_the_help_flow(verb: str) -> None:
    """A line of a paragraph is only as short as the first word of the next one makes it."""
    text = run(verb, "--help").stdout.partition("╭")[0]
    lines = [line.strip() for line in text.splitlines()]
    pairs = [(a, b) for a, b in pairwise(lines) if a and b]
    assert len(pairs) >= 1
    assert all(len(first) + 1 + len(then.split()[0]) > 78 for first, then in pairs)


def test_simulate_tells_exactly_where(work: Path) -> None:
    (record,) = json.loads(
        succeed("simulate", "tissue.png", "-o", "bad.png", "--kind", "ink", "--json").stdout
    )
    mask = np.asarray(PIL.Image.open(work / "bad.mask.png")) > 0
    changed = (read_image(work / "bad.png").pixels != read_image(work / "tissue.png").pixels).any(
        axis=2
    )
    assert record["area"] == round(float(mask.mean()), 4)
    assert not changed[~mask].any()


def test_presets_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    archs = {"artifusion": {"full": ARCHS["full"]}}
    monkeypatch.setattr("histomend.methods.catalogue.METHOD_ARCHS", archs)
    rows = json.loads(succeed("presets", "artifusion", "--json").stdout)
    keys = {"method", "arch", "preset", "parameters", "macs", "steps", "use", "how"}
    assert all(set(row) == keys for row in rows)
    full = next(row for row in rows if (row["arch"], row["preset"]) == ("full", "author_code"))
    assert (full["parameters"], full["steps"]) == (29_671_620, 2410)


def test_models_show_what_is_known_of_a_folder(model: Path) -> None:
    assert json.loads(succeed("models", model, "--json").stdout)["arch"] == "small-unet"
    assert isinstance(json.loads(succeed("models", "--json").stdout), list)


def test_a_model_card_is_laid_out_for_people() -> None:
    shown = succeed("models", "artifusion-he").stdout
    assert re.search(r"^figures: +set: .*\n +psnr_db: \d", shown, re.MULTILINE)
    assert "{" not in shown


def test_train_writes_a_model_that_restore_takes(work: Path) -> None:
    rng = np.random.default_rng(1)
    (work / "tiles").mkdir()
    for name in ("a.png", "b.png"):
        write_image(work / "tiles" / name, rng.integers(0, 255, (80, 80, 3), dtype=np.uint8))
    budget = ("--steps", 1, "--batch", 1, "--crop", 64, "--device", "cpu")
    succeed("train", "artifusion", "--data", "tiles", "-o", "run", *budget)
    words = ("restore", "tissue.png", "--mask", "mask.png", "-o", "new.png", "--steps", 1)
    succeed(*words, "--model", "run/model")


def test_version() -> None:
    assert succeed("--version").stdout.strip() == f"histomend {histomend.__version__}"
