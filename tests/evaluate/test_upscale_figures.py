"""What the tables and sheets of upscalers are made from, and what they say."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histomend.errors import SettingError
from histomend.evaluate.harness.cases import DEGRADATIONS, coarse_cases
from histomend.evaluate.harness.judges import Fields, Judge
from histomend.evaluate.harness.opening import merged
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.harness.store import Store, files_digest
from histomend.evaluate.iqa import IqaConfig, save_iqa
from histomend.evaluate.tables import Interval
from histomend.methods import histo_diffusion
from histomend.networks.rrdb import RRDBNet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE = 128


def stained(seed: int) -> np.ndarray:
    """Return pink tissue with dark round nuclei, (128, 128, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    nuclei = np.zeros((SIDE, SIDE), bool)
    for top in range(16, SIDE, 32):
        for left in range(16, SIDE, 32):
            off = rng.integers(-4, 5, 2)
            nuclei |= (y - top - off[0]) ** 2 + (x - left - off[1]) ** 2 < 49
    pixels = np.where(nuclei[..., None], (90, 50, 140), (225, 160, 200))
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of three clean tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    lines = ["file,slide,mpp"]
    for number in range(3):
        Image.fromarray(stained(number)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,slide{number % 2},0.5")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file of an RRDBNet that enlarges four times."""
    path = tmp_path_factory.mktemp("published") / "tiny.pth"
    torch.save({"params": RRDBNet(channels=8, blocks=2, growth=4).state_dict()}, path)
    return path


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(BENCHMARKS / script), run_name="__main__")


def test_a_coarse_pair_shows_the_same_field(load, tiles: Path) -> None:
    for degradation in DEGRADATIONS:
        of = {"scale": 4, "degradation": degradation, "size": SIDE}
        found = coarse_cases(tiles, **of)
        again = coarse_cases(tiles, 2, **of)
        assert [pair.given.shape for pair in found] == [(32, 32, 3)] * 3
        for one, same in zip(found, again, strict=False):
            assert one.given.tobytes() == same.given.tobytes()
            off = one.given.mean((0, 1)) - one.truth.mean((0, 1))
            assert np.abs(off).max() < 12
    scan = coarse_cases(tiles, 1, scale=2, size=SIDE)[0]
    area = scan.truth.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(scan.given - area).max() <= 0.5 + 1e-3


def test_what_an_enlarged_image_depends_on_is_in_its_key(
    load, tiles: Path, untrained_upscaler: Path
) -> None:
    rows = load("upscale_rows")
    pair, other = coarse_cases(tiles, 2, size=SIDE)
    model = rows.load_upscaler(untrained_upscaler, "cpu")
    fast = rows.own_row("fast", model, preset="fast")
    alike = rows.own_row("paper", model, preset="paper")
    alone = rows.own_row("stage 1 alone", model, generation=0.0)
    unstaged = rows.without_stage_1("without", model)
    different = [fast.key(pair), fast.key(other), *(r.key(pair) for r in (alike, alone, unstaged))]
    assert len(set(different)) == 5
    assert [row.kind for row in (fast, alone, unstaged)] == ["ours", "stage 1", "ours"]
    assert unstaged.restore(pair).nfe == 2


def test_rows_that_cannot_enlarge_by_a_scale_are_named(load, tiles: Path, published: Path) -> None:
    rows = load("upscale_rows")
    named = [rows.interpolated("bicubic"), rows.named_row("tiny", "published", str(published))]
    four, two = (coarse_cases(tiles, 1, scale=s, size=SIDE)[0] for s in (4, 2))
    assert rows.fitting(named, four) == (named, [])
    able, (said,) = rows.fitting(named, two)
    assert [row.name for row in able] == ["bicubic"]
    assert said.startswith("tiny has no row at ×2: These published weights enlarge 4 times")
    with pytest.raises(SettingError, match="no-such"):
        rows.named_row("x", "no-such", "y")


def test_the_truth_keeps_its_nuclei_and_what_was_measured_is_kept(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges = load("upscale_judges")
    truth = [stained(0), stained(1)]
    kept = tmp_path / "figures.jsonl"
    (judge,), notes = judges.judges_of(["nuclei"], {}, kept)
    assert notes == []
    found = judge.measure(Fields(truth, truth, ["a", "b"]))
    keys = ("l1_texture", "l1_intensity", "lost", "gained", "contrast", "number")
    assert [found[key].value for key in keys] == [0, 0, 0, 0, 0, 100]
    blank = np.full_like(truth[0], 220)
    gone = judge.measure(Fields([truth[0], blank], truth, ["a", "b"]))
    assert gone["lost"].value == gone["number"].value == pytest.approx(50)
    assert gone["gained"].value == 0
    assert gone["mean"].value > 10
    # In another process: nothing is outlined again.
    monkeypatch.setattr(judges, "nuclei_segmenter", lambda _: None)
    (judge,), _ = judges.judges_of(["nuclei"], {}, kept)
    again = judge.measure(Fields([truth[0], blank], truth, ["a", "b"]))
    assert again == gone


def test_columns_that_lack_the_same_are_named_together(load) -> None:
    assert merged(["A: not here: x.", "B: not here: y.", "C: not here: x."]) == [
        "A, C: not here: x.", "B: not here: y.",
    ]  # fmt: skip


def test_other_weights_of_a_measure_are_other_figures(load, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    before = files_digest(tmp_path)
    (tmp_path / "config.json").write_text('{"card": {}}')
    assert files_digest(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert files_digest(tmp_path) != before


def test_goals_are_told_of_every_row_of_ours(load, tmp_path: Path) -> None:
    table = load("upscale_table")
    column = table.Column("l1_texture", "L1-texture", "lower", 2)
    block = table.Block([], [Judge((column,), lambda _: {})], Store(tmp_path))
    block.groups = ["a", "b"]
    figures = {"bicubic": (300.0, 22.0), "ours": (200.0, 20.0)}
    for (name, (texture, psnr)), kind in zip(figures.items(), ("other", "ours"), strict=True):
        block.rows[name] = MethodRow(name, kind, "upscale", "")
        block.found[name] = {
            "l1_texture": Interval(texture, texture - 1, texture + 1, 2),
            "lost": Interval(3.0, 2, 4, 2),
            "gained": Interval(6.0, 5, 7, 2),
            "number": Interval(103.0, 102, 104, 2),
        }
        block.psnr[name] = [psnr, psnr]
    (said,) = table.goals(block)
    assert "best L1-texture of all rows: met (ours 200.00, bicubic 300.00)" in said
    assert "PSNR of ours at most 1.5 dB under bicubic: missed (-2.00 dB)" in said
    assert "under 5 % each: missed (ours 3.0 and 6.0 %, their number +3.0 %; bicubic 3.0" in said


def test_the_tables_say_what_was_measured_and_what_was_not(
    load,
    tiles: Path,
    published: Path,
    untrained_upscaler: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load("upscale_table")
    config = IqaConfig("box", part_px=32)
    save_iqa(tmp_path / "iqa", config.network().state_dict(), config)
    page, store = tmp_path / "page.md", tmp_path / "store"
    common = ["--data", tiles, "--size", SIDE, "--store", store, "--out", page]
    common += ["--model", untrained_upscaler, "--weights", f"iqa_box={tmp_path / 'iqa'}"]
    own = ["--rows", "bicubic", "stage 1 alone", "fast", "--row", f"tiny=published:{published}"]
    for _ in range(2):
        run("upscale_table.py", monkeypatch, *common, *own, "--few", 2, "--scales", 4, 2)
    text = page.read_text(encoding="utf-8")
    for section in ("x4-all-general", "x4-few-tissue", "x2-few-general", "x2-few-parts"):
        assert text.count(f"<!-- begin {section} -->") == 1
    assert "×4 from 32×32 to 128×128 px, 3 tiles" in text
    assert text.count("| tiny |") == 6
    assert text.count("tiny has no row at ×2") == 3
    assert "| blur IQA (box) ↑ |" in text
    assert "ST-LPIPS: not available" in text
    assert "CLIP-IQA, MUSIQ, NIQE, BRISQUE, NRQM: not available" in text
    assert "Goals: best L1-texture of all rows" in text
    # Nothing was enlarged twice: three tiles by four rows, and two by three at another scale.
    assert len((store / "records.jsonl").read_text().splitlines()) == 18
    both = ["--presets", "fast", "--degradations", "scanner", "codeformer", "--tiles", 2]
    run(
        "upscale_ablations.py", monkeypatch, *common, *both, "--without-stage-1", untrained_upscaler
    )
    text = page.read_text(encoding="utf-8")
    assert "Stage 1 against without it: " in text
    for row in ("without stage 1, the same branch", "without stage 1, trained so", "with stage 1"):
        assert text.count(f"| {row} |") == 1
    assert text.count("| codeformer: ours, `fast` |") == text.count("| scanner: bicubic |") == 1
    # Those with stage 1 were there already.
    assert len((store / "records.jsonl").read_text().splitlines()) == 18 + 2 + 2 * 2


def test_the_densest_part_is_shown(load) -> None:
    pixels = np.full((SIDE, SIDE, 3), (225, 160, 200), np.uint8)
    pixels[:64, 64:] = stained(0)[:64, :64]
    for side in (40, 41):
        rows, columns = load("upscale_pictures").densest(pixels, 0.5, side)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (side, side)
        assert columns.start >= 64 - 8
        assert rows.stop <= 64 + 8


def test_sheets_have_a_column_for_each_way_and_the_truth(
    load, tiles: Path, untrained_upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("upscale_pictures")
    arguments = ["--data", tiles, "--size", SIDE, "--tiles", 2, "--nuclei", 16, "--part", 64]
    arguments += ["--rows", "bicubic", "fast", "--model", untrained_upscaler]
    arguments += ["--store", tmp_path / "store", "--out", tmp_path]
    run("upscale_pictures.py", monkeypatch, *arguments)
    title = load("sheets").TITLE_PX
    sizes = {"tiles": (4 * 64, 2 * 64), "nuclei": (4 * 64, 2 * 64), "scales": (7 * 64, 2 * 64)}
    for name, (width, height) in sizes.items():
        with Image.open(tmp_path / f"{name}.png") as page:
            assert page.size == (width, height + title)


def test_speed_and_memory_are_told_as_ratios_and_peaks(
    load, untrained_upscaler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("upscale_speed")
    monkeypatch.setattr(histo_diffusion, "PAPER_STEPS", 5)
    monkeypatch.setattr(load("speed"), "matmul_rate", lambda clock: 1e10)
    page = tmp_path / "page.md"
    of = ["--model", untrained_upscaler, "--size", 128, "--out", page]
    run("upscale_speed.py", monkeypatch, *of, "--repeats", 1)
    text = page.read_text(encoding="utf-8")
    assert "| `fast` | 2 | " in text
    assert "| `paper` | 5 | " in text
    assert "| stage 1 alone (SwinIR) | 0 | " in text
    assert "| plain eager fp32 | 5 | " in text
    for part in ("stage 1", "encode", "diffusion", "decode", "the rest"):
        assert text.count(f"\n| {part} |") == 1
    memory = load("upscale_memory")
    monkeypatch.setattr(sys, "argv", ["upscale_memory.py", *map(str, of)])
    told = memory.upscale_once(memory._options())
    assert (told["height"], told["width"], told["calls"]) == (128, 128, 2)
    assert told["peak_gb"] >= told["before_gb"] > 0
