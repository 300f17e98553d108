"""The papers' tables are typed in as printed, and every name runs and says what it is worth."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.errors import DeviceError, InputError, MissingDependencyError, SettingError
from histomend.evaluate.harness.datasets import DATASETS, VARIABLE, Data, about_slides
from histomend.evaluate.papers import (
    NAMES,
    artifusion,
    chosen,
    costs,
    diagnosis,
    downstream,
    histo_diffusion,
    reproduce,
    rscd,
)
from histomend.evaluate.papers import histo_diffusion_printed as histo
from histomend.evaluate.papers.classifiers import (
    SMALL,
    TIMM,
    labelled_tissue,
    make_network,
    mcnemar,
)
from histomend.evaluate.papers.made_up import CLASSES, make_data, tissue
from histomend.evaluate.papers.page import MARKDOWN, page, write_reproduced
from histomend.evaluate.papers.reproduction import (
    Picture,
    Printed,
    Reproduced,
    command,
    losses,
)
from histomend.evaluate.papers.rscd_figures import start_at
from histomend.evaluate.papers.setting import MADE_UP, SCALES, Setting, first_tiles
from histomend.evaluate.tables import Table
from histomend.models import ModelConfig, load_denoiser, save_model
from histomend.models.weights import save_tensors
from histomend.networks.rrdn import RRDN
from histomend.train import Noise2NoiseOptions

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAPERS = Path(__file__).parents[4] / "shared" / "papers"
PRINTED: dict[str, tuple[Printed, ...]] = {
    "artifusion": (artifusion.TABLE_1, costs.TABLE_2, downstream.TABLE_3),
    "rscd": (rscd.TABLE_1, rscd.TABLE_2),
    "histo-diffusion": (
        histo.TABLE_2, histo.TABLE_3, histo.TABLE_4, histo.TABLE_5, histo.TABLE_6,
    ),
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Setting:
    return Setting(SCALES["tiny"], Data(Path(MADE_UP)), tmp_path / "cache")


@pytest.mark.parametrize("paper", PRINTED)
def test_every_printed_figure_stands_in_the_paper(paper: str) -> None:
    file = PAPERS / f"{paper}.txt"
    if not file.exists():
        pytest.skip("the papers are not here")
    known = set(re.findall(r"[\d.]+", file.read_text(encoding="utf-8")))
    for printed in PRINTED[paper]:
        cells = [c for row in printed.rows.values() for c in row.values() if c != "–"]
        assert len(cells) > 9
        assert not [cell for cell in cells if cell not in known]


def test_the_papers_shares_of_the_drop_follow_from_its_accuracies() -> None:
    rows = downstream.TABLE_3.rows
    shares = []
    for network in TIMM:
        names = ("clean", "artifacts", "restored with ArtiFusion")
        clean, damaged, made = (float(rows[name][network]) for name in names)
        shares.append(round(100 * (made - damaged) / (clean - damaged)))
    assert shares == [79, 70, 55, 37, 70]


def test_a_share_is_over_seeds_and_tiles() -> None:
    right = {
        downstream.CLEAN: np.array([[1, 1, 1, 1], [1, 1, 1, 1]], bool),
        downstream.DAMAGED: np.array([[0, 0, 1, 1], [0, 0, 0, 1]], bool),
        "half": np.array([[1, 0, 1, 1], [1, 0, 1, 0]], bool),
    }
    # The drop is 5 of 8, and 2 of 8 come back.
    assert downstream.recovered(right, "half").value == pytest.approx(100 * 2 / 5)
    assert downstream.recovered(right, downstream.CLEAN).value == pytest.approx(100)
    no_drop = dict.fromkeys(right, right[downstream.CLEAN])
    assert downstream.recovered(no_drop, "half").count == 4
    assert np.isnan(downstream.recovered(no_drop, "half").value)


def test_mcnemar_counts_what_only_one_has_right() -> None:
    one = np.array([True] * 9 + [False] + [True] * 30)
    other = np.array([False] * 9 + [True] + [True] * 30)
    # Of 10 that differ 9 one way: 2 * (1 + 10) / 1024.
    assert mcnemar(one, other) == pytest.approx(22 / 1024)
    assert mcnemar(one, one) == 1


def test_outcomes_need_a_sure_classifier() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45]])
    found = diagnosis.outcome(probabilities, np.array([0, 1, 0]), 0.6)
    assert found.tolist() == ["right", "wrong", "undecided"]


def test_every_name_has_its_data_and_something_to_say() -> None:
    assert len(NAMES) == 19
    for name, known in NAMES.items():
        assert re.fullmatch(
            r"(artifusion|latent-artifusion|rscd|histo-diffusion)-(table|fig)\d+", name
        )
        assert set(known.data + known.paper) <= set(DATASETS)
        assert known.about
    assert chosen(["all"]) == list(NAMES)
    assert chosen(["rscd-fig3", "rscd-fig3"]) == ["rscd-fig3"]
    with pytest.raises(SettingError, match=r"'table1'.*artifusion-table1"):
        chosen(["table1"])


def test_the_scale_of_the_paper_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    setting = Setting(SCALES["paper"], Data(), tmp_path)
    with pytest.raises(InputError, match=r"Neither was published.*--scale small"):
        reproduce("rscd-table1", setting)
    with pytest.raises(InputError, match=r"tcga_prad: 200,000 tiles.*portal.*--scale small"):
        reproduce("histo-diffusion-table2", setting)
    (tmp_path / "tcga_prad").mkdir()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    there = replace(setting, data=Data(tmp_path), tiles="tcga_prad")
    with pytest.raises(DeviceError, match="GPU"):
        reproduce("histo-diffusion-table2", there)
    # With a GPU the paper's own tiles are what is trained and tested on.
    assert there.dataset("he_clean_train") == tmp_path / "tcga_prad" / "train"
    assert there.dataset("he_clean_val") == tmp_path / "tcga_prad" / "test"
    made_up = replace(setting, scale=SCALES["small"], data=Data(Path(MADE_UP)))
    with pytest.raises(InputError, match="--scale tiny alone"):
        reproduce("rscd-fig8", made_up)
    with pytest.raises(InputError, match="he_clean_train is needed"):
        reproduce("rscd-table1", replace(setting, scale=SCALES["small"], data=Data(tmp_path)))


def test_drawn_tissue_is_the_same_each_time_and_differs_by_class(tmp_path: Path) -> None:
    assert np.array_equal(tissue(3), tissue(3))
    darkness = [255 - tissue(0, kind).mean() for kind in CLASSES]
    assert darkness[CLASSES.index("dense")] == max(darkness)
    folder = make_data(tmp_path / "a")
    found = labelled_tissue(folder / "labelled_tissue", 3, 2)
    assert found.classes == tuple(sorted(CLASSES))
    assert [len(found.train), len(found.test)] == [9, 6]
    few = first_tiles(folder / "he_clean_train", tmp_path / "few", 3)
    # In turn from each slide.
    assert (few / "manifest.csv").read_text().count("he_clean_train-1") == 1
    with pytest.raises(InputError, match="lacks a column"):
        labelled_tissue(folder / "he_clean_val", 1, 1)


def test_a_network_of_timm_needs_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"histomend\[eval\].*tiny"):
        make_network("ResNet50", 3)
    assert make_network(SMALL, 3) is not None


def test_a_training_is_done_once_and_again_with_other_settings(tiny: Setting) -> None:
    told: list[str] = []
    setting = replace(tiny, tell=told.append)
    first = setting.trained("n2n", Noise2NoiseOptions)
    assert setting.trained("n2n", Noise2NoiseOptions) == first
    assert len(told) == 1
    assert setting.trained("n2n", Noise2NoiseOptions, steps=1) != first
    assert len(told) == 2


def test_a_figure_without_training_runs_and_says_that_tiny_means_nothing(
    tiny: Setting, tmp_path: Path
) -> None:
    told: list[str] = []
    found = reproduce("rscd-fig8", replace(tiny, tell=told.append))
    assert "figures say that the command runs, and nothing of any method" in found.comparable
    assert "The tissue is drawn" in found.comparable
    (table,) = found.tables
    assert [row[0] for row in table.rows] == [
        "20 µm, original", "20 µm, restored", "40 µm, original", "40 µm, restored",
    ]  # fmt: skip
    psnr = [float(row[1].split()[0]) for row in table.rows]
    assert psnr[1] > psnr[0] > psnr[2]
    assert table.command == "histomend reproduce rscd-fig8 --scale tiny --data made-up"
    path = write_reproduced(tmp_path / "out", found)
    text = path.read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert "20 µm, restored" in text
    again = write_reproduced(tmp_path / "out", found)
    assert again == path
    assert (tmp_path / "out" / MARKDOWN).read_text().count("<!-- begin rscd-fig8 -->") == 1


def test_a_page_shows_losses_first_and_no_name_ends_its_script() -> None:
    table = Table("**Bold** `code` <b>", "cmd", ("", "PSNR ↑"), (("</script>", "1.00"),), ("note",))
    pixels = np.zeros((8, 8, 3), np.uint8)
    pictures = (Picture('"quoted"', pixels, pixels), Picture("sheet", pixels))
    found = Reproduced("x", "A title", "why", ("PSNR: behind.",), (table,), pictures, {"a": 1})
    text = page(found)
    assert text.index("PSNR: behind.") < text.index("why") < text.index("<table>")
    assert "<b>Bold</b> <code>code</code> &lt;b&gt;" in text
    assert text.count("</script>") == 1
    assert text.count("data:image/webp;base64,") == 3
    assert '<section class="loses" >' in text
    assert '<section class="loses" hidden>' in page(replace(found, behind=()))
    markdown = found.markdown()
    assert markdown.index("Where ours loses") < markdown.index("why")
    assert json.dumps(found.as_json())


def test_the_best_of_ours_is_what_loses(tmp_path: Path, tiny: Setting) -> None:
    from histomend.evaluate.harness.experiment import Experiment
    from histomend.evaluate.harness.rows import FunctionRow
    from histomend.evaluate.harness.store import Store

    judges, _ = tiny.judges(["psnr", "ssim"])
    cases = artifusion.damaged_cases(tiny.dataset("he_clean_val"), 2, 128)
    rows = [
        FunctionRow("good", "ours", lambda c: c.truth // 2 * 2),
        FunctionRow("bad", "ours", lambda c: c.given),
        FunctionRow("better", "other", lambda c: c.truth // 2 * 2 + c.truth % 2 * (c.truth > 99)),
        FunctionRow("perfect", "other", lambda c: c.truth),
    ]
    block = Experiment(cases, rows, judges).run(Store(tmp_path))
    (first, second) = losses(block, ["good", "bad"], ["better"])
    assert first.startswith("PSNR: good is behind better")
    assert second.startswith("SSIM: good is behind better")
    assert losses(block, ["better"], ["good", "bad"]) == []
    # An infinite PSNR is no figure that can be compared.
    assert [said[:4] for said in losses(block, ["good"], ["perfect"])] == ["SSIM"]


def test_the_verb_lists_runs_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    listed = run(app, ["reproduce", "--list", "--json"])
    assert list(json.loads(listed.stdout)) == list(NAMES)
    assert "histo-diffusion-fig11" in run(app, ["reproduce", "--list"]).stdout
    monkeypatch.delenv(VARIABLE, raising=False)
    for words, said in (
        ([], "Name what to reproduce"),
        (["nothing"], "Nothing that can be reproduced"),
        (["rscd-fig8", "--scale", "huge"], "There are tiny, small, paper"),
        (["rscd-fig8", "--weights", "lpips"], "give MEASURE=PATH"),
        (["histo-diffusion-table2", "--published", "x4.pth"], "give NAME=FILE"),
        (["rscd-fig8"], "neither --data nor HISTOMEND_DATA"),
        (["rscd-fig8", "--device", "abacus"], "abacus"),
    ):
        found = run(app, ["reproduce", *words, "-o", str(tmp_path)])
        assert found.exit_code == 2
        assert said in found.stderr.replace("\n", " ")
    # Of several names one that cannot be run does not stop the others.
    monkeypatch.setattr(costs, "SIZE", 64)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    words = ["rscd-fig7", "artifusion-table2", "--scale", "tiny", "-o", str(tmp_path)]
    found = run(app, ["reproduce", *words, "--json"])
    assert found.exit_code == 2
    first, told = json.loads(found.stdout)
    assert (first["kind"], told["name"]) == ("InputError", "artifusion-table2")
    assert Path(told["page"]).is_file()
    rows = {row[0]: row for row in told["tables"][0]["rows"]}
    assert rows["CycleGAN"][1] == "28.29"
    assert rows["paper, Table 2: ArtiFusion (full)"][1] == "29.67"


def test_a_start_stays_within_what_the_denoiser_knows(tmp_path: Path) -> None:
    config = ModelConfig("rscd", "small", "epsilon", channels=1, context=False, highest_t=200)
    save_model(tmp_path, config.network().state_dict(), config)
    model = load_denoiser(tmp_path, "cpu")
    assert [start_at(150, share, model) for share in (0, 0.5, 2)] == [
        0, 75, model.config.trained_t,
    ]  # fmt: skip


def test_published_weights_are_a_row(tiny: Setting, tmp_path: Path) -> None:
    save_tensors(RRDN(4, channels=4, blocks=1, growth=4).state_dict(), tmp_path / "x4.safetensors")
    named = replace(tiny, published={"ESRGAN": str(tmp_path / "x4.safetensors")})
    (row,) = histo_diffusion.published(named)
    case = histo_diffusion.cases_of(named)[0]
    assert row.restore(case).pixels.shape == case.truth.shape
    assert "--published ESRGAN=" in command("histo-diffusion-table2", named)
    # It enlarges by its own factor, and has no row at another.
    assert histo_diffusion.fitting([row], histo_diffusion.cases_of(named, 2)[0]) == []


def test_captions_say_of_which_slides_tiles_are(tmp_path: Path) -> None:
    for name, lines in {
        "val": ["a.png,one,val", "b.png,two,val", "c.png,three,train"],
        "train": ["x.png,two,train", "y.png,four,train"],
    }.items():
        (tmp_path / name).mkdir()
        text = "\n".join(["file,slide,split", *lines]) + "\n"
        (tmp_path / name / "manifest.csv").write_text(text)
    val, train = tmp_path / "val", tmp_path / "train"
    held_out = "1 slide that the manifest holds out (split val)"
    assert about_slides(val, ["a.png"]) == held_out
    assert about_slides(val, ["a.png", "c.png"]).startswith("2 slides, of which nothing says")
    assert about_slides(val, ["a.png"], train) == "1 slide of which no tile was trained on here"
    told = "2 slides, of which 1 are in the tiles that were trained on"
    assert about_slides(val, ["a.png", "b.png"], train) == told


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_page_sorts_and_slides_in_a_browser(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    rows = (("b", "10.0 (9.0 to 11.0)"), ("a", "9.5 (9.0 to 10.0)"), ("c", "–"))
    table = Table("caption", "cmd", ("", "PSNR ↑"), rows)
    pixels = np.zeros((8, 8, 3), np.uint8)
    found = Reproduced("x", "A title", "why", (), (table,), (Picture("one", pixels, pixels),))
    path = tmp_path / "x.html"
    path.write_text(page(found), encoding="utf-8")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_page()
        errors: list[str] = []
        shown.on("pageerror", lambda error: errors.append(str(error)))
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        shown.goto(path.as_uri())
        names = shown.locator("tbody th")
        assert names.all_text_contents() == ["b", "a", "c"]
        heading = shown.get_by_role("button", name="PSNR")
        heading.click()
        assert names.all_text_contents() == ["c", "a", "b"]
        heading.click()
        assert names.all_text_contents() == ["b", "a", "c"]
        slider = shown.get_by_role("slider")
        slider.fill("20")
        assert "80%" in shown.locator(".over").evaluate("image => image.style.clipPath")
        browser.close()
    assert errors == []
    assert set(asked) <= {"file", "data"}


def test_what_is_outside_a_mask_stays_where_cyclegan_changes_it(tiny: Setting) -> None:
    found = reproduce("artifusion-fig4", tiny)
    ((kind, masked, calls, *changed),) = found.tables[0].rows
    assert (kind, calls) == ("dark_spot", "3")
    assert 0 < float(masked.rstrip("%")) < 10
    assert float(changed[0]) > 5
    assert changed[1:] == ["0.0", "0.0"]
    (picture,) = found.pictures
    # The artifact, CycleGAN, four steps, and both results.
    assert picture.image.shape == (128, 8 * 128, 3)
