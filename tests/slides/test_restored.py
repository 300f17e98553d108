"""Whole slides through the verbs: restored where they are masked, proven, and taken back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from typer.testing import CliRunner, Result

from histomend import restore_slide, write_image
from histomend.cli.app import app
from histomend.errors import (
    HistomendError,
    MaskError,
    OutputError,
    SettingError,
)
from histomend.exemplar.provenance import Provenance
from histomend.image.pixels import Frame
from histomend.jobs import slide_run
from histomend.jobs.journal import journal_of
from histomend.jobs.slide_parts import covered
from histomend.ledger import Record
from histomend.masks import write_mask
from histomend.masks.slide_masks import PictureMask
from histomend.models import Model
from histomend.slides.undo import verify as verify_bytes
from histomend.tiles.slide_plan import plan_slide

# The network draws what is masked by itself, in two steps.
FAST: dict[str, Any] = {"preset": "generate", "device": "cpu"}


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    return result


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_verbs_restore_prove_and_undo(
    work: Path, untrained: Path, mask: np.ndarray, readers: dict[str, Any]
) -> None:
    slide, out = work / "slide.svs", work / "new" / "out.svs"
    words = ("--mask", work / "mask.geojson", "--model", untrained, "--preset", "generate")
    said = json.loads(succeed("restore", slide, "-o", out, *words, "--json").stdout)[0]
    assert said["area_px"] == mask.sum()
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.ledger.json", "out.svs"]
    grown = np.zeros_like(mask)
    sizes: dict[Any, Any] = {}
    for change in verify_bytes(out).changes:
        x, y, w, h = change.region
        sizes.setdefault(change.factor, []).append(change)
        if change.factor == 1:
            grown[y : y + h, x : x + w] |= change.grown()
    assert set(sizes) == {1, 2, 4}
    assert (grown | ~mask).all()
    for name in ("openslide", "tifffile"):
        before, after = readers[name](slide)[0], readers[name](out)[0]
        differs = (before != after).any(2)
        assert differs[mask].mean() > 0.9
        assert not differs[~grown].any()
    record = Record.read(out.with_name("out.ledger.json"))
    assert record.source.sha256 == sha256(slide)
    assert sum(change.area_px for change in record.regions) == mask.sum()
    assert record.output.container == "appended"
    assert "FAILS" not in succeed("verify", out, "--source", slide).stdout
    succeed("undo", out, "-o", work / "back.svs")
    assert (work / "back.svs").read_bytes() == slide.read_bytes()


def test_restored_pixels_are_those_of_the_part_as_an_image(
    work: Path, model: Model, mask: np.ndarray
) -> None:
    """The method is the same as that of images: a slide kept without loss holds its very result."""
    from histomend.image import read_image
    from histomend.jobs.run import execute
    from histomend.methods.decide import decide

    with tifffile.TiffFile(work / "slide.svs") as file:
        pixels = file.pages[0].asarray()
    with tifffile.TiffWriter(work / "plain.tif") as writer:
        options = {"tile": (64, 64), "compression": "zlib", "metadata": None}
        writer.write(pixels, resolution=(20000, 20000), resolutionunit=3, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    restore_slide(work / "plain.tif", work / "out.tif", work / "mask.geojson", model=model, **FAST)
    plan = plan_slide(PictureMask(mask, Frame(500, 420)), (500, 420), mpp=0.5)
    assert len(plan.parts) == 1  # of a slide that is not larger than a block
    job = decide(
        "restore", pixels, mask=mask, model=model, mpp=0.5, seed=plan.parts[0].seed(0), **FAST
    )
    expected = execute(job).pixels
    assert (read_image(work / "out.tif").pixels == expected).all()
    assert (expected[mask] != pixels[mask]).any(1).mean() > 0.9


@pytest.mark.parametrize("kind", ["ome", "jpeg-420", "deflate-16", "raw-bigtiff"])
def test_every_kind_of_slide(
    kind: str, make_slide: Any, model: Model, mask: np.ndarray, tmp_path: Path
) -> None:
    slide = make_slide(tmp_path / "a.tif", kind)
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    result = restore_slide(
        slide, tmp_path / "b.tif", tmp_path / "mask.png", model=model, mpp=0.5, **FAST
    )
    assert result.record.figures["area_px"] == mask.sum()
    assert verify_bytes(tmp_path / "b.tif", slide).ok


def test_what_cannot_be_appended_to_becomes_a_new_pyramid(
    tissue: np.ndarray, untrained: Path, mask: np.ndarray, tmp_path: Path, readers: dict[str, Any]
) -> None:
    slide, out = tmp_path / "zstd.tif", tmp_path / "out.tif"
    pixels = tissue[:420, :500]
    with tifffile.TiffWriter(slide) as writer:
        options = {"tile": (64, 64), "compression": "zstd", "metadata": None}
        writer.write(pixels, resolution=(20000, 20000), resolutionunit=3, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    write_mask(tmp_path / "mask.geojson", mask)
    words = ("--mask", tmp_path / "mask.geojson", "--model", untrained, "--preset", "generate")
    said = succeed("restore", slide, "-o", out, *words).stderr
    assert "new pyramid" in said
    for reader in ("openslide", "tifffile", "libtiff"):
        new = readers[reader](out)[0]
        differs = (new != pixels).any(2)
        assert not differs[~mask].any()  # lossless unless --lossy
        assert differs[mask].mean() > 0.9
    assert b"not for diagnosis" in out.read_bytes()
    assert "FAILS" not in succeed("verify", out, "--source", slide).stdout
    refused = run("undo", out, "-o", tmp_path / "back.tif")
    assert refused.exit_code == 2
    assert "zstd.tif" in refused.stderr
    out.write_bytes(out.read_bytes()[:-1] + b"!")
    assert run("verify", out).exit_code == 1


def test_the_label_goes_if_it_is_to(work: Path, untrained: Path) -> None:
    words = ("--mask", work / "mask.geojson", "--model", untrained, "--preset", "generate")
    succeed("restore", work / "slide.svs", "-o", work / "out.svs", *words, "--no-label")
    name = b"N" * 9 + b"A" * 9 + b"M" * 9  # each letter three pixels of three colours
    assert name in (work / "slide.svs").read_bytes()
    assert name not in (work / "out.svs").read_bytes()
    assert not journal_of(work / "out.svs").exists()
    assert "FAILS" not in succeed("verify", work / "out.svs").stdout
    assert run("undo", work / "out.svs", "-o", work / "back.svs").exit_code == 2


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(work: Path, untrained: Path) -> None:
    before = sorted(work.iterdir())
    words = ("--mask", work / "mask.geojson", "--model", untrained, "--dry-run", "--json")
    said = json.loads(succeed("restore", work / "slide.svs", "-o", work / "out.svs", *words).stdout)
    assert said[0]["written"] == "appended"
    assert said[0]["units"] == 3
    assert said[0]["nfe_at_most"] > 0
    assert said[0]["seconds_about"] > 0
    assert said[0]["memory_bytes"] > 500 * 420 * 3
    assert said[0]["disk_bytes"] > (work / "slide.svs").stat().st_size
    assert sorted(work.iterdir()) == before
    for output in ("mask.geojson/out.svs", "there.svs"):
        (work / "there.svs").touch()
        refused = run("restore", work / "slide.svs", "-o", work / output, *words)
        assert refused.exit_code == 2


def test_two_slides_of_one_stem_have_two_records(work: Path, model: Model) -> None:
    (work / "slide.tif").write_bytes((work / "slide.svs").read_bytes())
    for suffix in (".svs", ".tif", ".svs"):
        slide, out = work / f"slide{suffix}", work / f"out{suffix}"
        restore_slide(slide, out, work / "mask.geojson", model=model, force=True, **FAST)
    names = [Record.read(work / name).source.name for name in sorted(
        path.name for path in work.glob("*.ledger.json"))]  # fmt: skip
    assert names == ["slide.svs", "slide.tif"]
    assert (work / "out.tif.ledger.json").is_file()


def test_what_was_found_goes_with_the_slide_it_was_found_for(work: Path, model: Model) -> None:
    out, found = work / "out.svs", work / "out.mask.geojson"
    restore = partial(restore_slide, work / "slide.svs", out, model=model, force=True, **FAST)
    record = restore(work / "mask.geojson").record
    found.write_bytes((work / "mask.geojson").read_bytes())
    replace(record, maps={"mask": sha256(found)}).write(work / "out.ledger.json", force=True)
    restore(found)
    assert found.is_file(), "it was read"
    replace(record, maps={"mask": sha256(found)}).write(work / "out.ledger.json", force=True)
    restore(work / "mask.geojson")
    assert not found.exists()
    found.write_text("mine")
    restore(work / "mask.geojson")
    assert found.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("slide.svs", "--trace", "t"), "--trace is for images"),
        (("slide.svs", "--region", "0,0,100,100", "--compact"), "are for whole slides"),
        (("image.png", "--no-label"), "is no whole slide"),
    ],
)
def test_options_that_do_not_fit(work: Path, words: tuple[str, ...], says: str) -> None:
    write_image(work / "image.png", np.zeros((420, 500, 3), np.uint8))
    name, *more = words
    out = ("-o", work / "o.tif")
    refused = run("restore", work / name, "--mask", work / "mask.geojson", *out, *more)
    assert refused.exit_code == 2
    assert says in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"output": "slide.svs"}, OutputError, "source slide itself"),
        ({"output": "out.png"}, SettingError, "written as .svs or .tif"),
        ({"output": "nowhere/out.svs"}, OutputError, "does not exist"),
        ({"mask": "outside.geojson"}, MaskError, "marks no pixel"),
        ({"mask": "all.geojson"}, MaskError, "covers the whole slide"),
        ({"preset": "frobnicate"}, SettingError, "frobnicate"),
        ({"samples": 0}, SettingError, "samples=0"),
        ({"method": "latent-artifusion"}, HistomendError, "latent-artifusion"),
    ],
)
def test_bad_wishes_cost_a_message(
    work: Path, model: Model, change: dict[str, Any], error: type[HistomendError], says: str
) -> None:
    ring = [[[-300, -300], [-200, -300], [-200, -200]]]
    (work / "outside.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": ring}))
    ring = [[[-1, -1], [501, -1], [501, 421], [-1, 421]]]
    (work / "all.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": ring}))
    before = sorted(work.iterdir())
    wish = {"output": "out.svs", "mask": "mask.geojson", **change}
    files = [work / "slide.svs", work / wish.pop("output"), work / wish.pop("mask")]
    with pytest.raises(error, match=says):
        restore_slide(*files, model=model, **{**FAST, **wish})
    assert sorted(work.iterdir()) == before


def test_a_refused_slide_leaves_no_new_folder(work: Path) -> None:
    for output in ("new/dir/out.png", "new/dir"):
        result = run("denoise", work / "slide.svs", "-o", work / output, "--method", "none")
        assert result.exit_code == 2
    result = run("denoise", work / "slide.svs", "-o", work / "new" / "out.zip")
    assert result.exit_code == 2
    assert not (work / "new").exists()


def test_a_disk_that_is_too_small_is_told_first(
    work: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(slide_run.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="are needed there"):
        restore_slide(
            work / "slide.svs", work / "out.svs", work / "mask.geojson", model=model, **FAST
        )
    assert not (work / "out.svs").exists()


def test_a_large_artifact_is_restored_in_pieces_that_see_each_other(
    make_slide: Any, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its neighbour a piece would be restored to something else along the cut."""
    monkeypatch.setattr("histomend.tiles.slide_plan.BLOCK_PX", 128)
    mask = np.zeros((420, 500), bool)
    mask[60:330, 80:120] = True
    slide = make_slide(tmp_path / "a.tif", "raw")
    write_mask(tmp_path / "m.geojson", mask)
    seen: list[Any] = []
    real = slide_run._SlideRun._restored

    def restored(self: Any, part: Any, image: Any, there: Any, earlier: Any) -> Any:
        seen.append((part, earlier))
        return real(self, part, image, there, earlier)

    monkeypatch.setattr(slide_run._SlideRun, "_restored", restored)
    restore_slide(slide, tmp_path / "b.tif", tmp_path / "m.geojson", model=model, mpp=0.5, **FAST)
    assert [len(part.after) for part, _ in seen] == [0, 1, 2]
    assert seen[0][1] is None
    assert (seen[1][1][1].sum(), seen[2][1][1].sum()) == (68 * 40, 196 * 40)
    with tifffile.TiffFile(slide) as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
        differs = (one.pages[0].asarray() != other.pages[0].asarray()).any(2)
    assert not differs[~mask].any()
    assert differs[mask].mean() > 0.9


def test_samples_give_an_uncertainty_of_each_region(work: Path, model: Model) -> None:
    result = restore_slide(
        work / "slide.svs",
        work / "o.svs",
        work / "mask.geojson",
        model=model,
        samples=2,
        **FAST,
    )
    assert all((change.uncertainty or 0) > 0 for change in result.record.regions)


def test_copies_are_told_in_coordinates_of_the_slide(work: Path, model: Model) -> None:
    result = restore_slide(
        work / "slide.svs", work / "o.svs", work / "mask.geojson", model=model, device="cpu"
    )
    record = result.record.provenance
    assert record is not None
    provenance = Provenance.read(record, (420, 500))
    with tifffile.TiffFile(work / "slide.svs") as one, tifffile.TiffFile(work / "o.svs") as other:
        before, after = one.pages[0].asarray(), other.pages[0].asarray()
    copied = provenance.copied((420, 500))
    assert copied.any()
    for part in provenance.parts:
        off = np.abs(part.rebuilt(before).astype(int) - after[part.place])[part.copied]
        assert off.size == 0 or off.max() <= 2  # as near as the JPEG of the slide holds it


def test_other_artifacts_are_covered_with_the_colours_around_them() -> None:
    pixels = np.full((200, 300, 3), (200, 120, 180), np.uint8)
    pixels[:, 150:] = (90, 60, 150)
    hidden = np.zeros((200, 300), bool)
    hidden[40:90, 30:80] = hidden[150:163, 250:291] = True
    soiled = np.where(hidden[..., None], np.uint8(0), pixels)
    found = covered(soiled, hidden)
    assert (found[~hidden] == pixels[~hidden]).all()
    assert np.abs(found.astype(int) - pixels).max() <= 2
    assert covered(pixels, np.zeros_like(hidden)) is pixels


def test_verify_tells_what_was_changed_afterwards(work: Path, model: Model) -> None:
    files = (work / "slide.svs", work / "o.svs", work / "mask.geojson")
    restore_slide(*files, model=model, **FAST)
    record, whole = work / "o.ledger.json", (work / "o.svs").read_bytes()
    size = (work / "slide.svs").stat().st_size

    def failing() -> list[str]:
        done = run("verify", work / "o.svs")
        assert done.exit_code == (1 if "FAILS" in done.stdout else 0)
        return [line.split(":")[0][7:] for line in done.stdout.splitlines() if "FAILS" in line]

    assert failing() == []
    changed = bytearray(whole)
    changed[size + 300] ^= 1  # in a new tile
    (work / "o.svs").write_bytes(changed)
    assert "output" in failing()
    changed = bytearray(whole)
    changed[size // 2] ^= 1  # in the source
    (work / "o.svs").write_bytes(changed)
    assert failing()[-1] == "outside the mask"
    (work / "o.svs").write_bytes(whole)
    kept = Record.read(record)
    replace(kept, regions=kept.regions[1:]).write(record, force=True)
    assert failing() == ["mask"]
    record.unlink()  # the slide alone is enough
    assert failing() == []
