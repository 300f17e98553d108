"""The page in a real browser: what a person does, and what comes of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")

from histomend.ledger import Record, ledger_mask  # noqa: E402
from histomend.web.work import Bench  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Without a sandbox, which cannot be had in a container; it opens our own page only.
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, served: Any) -> Iterator[Any]:
    """Return the page when its image is there; anything that it complains of is a failure."""
    opened = browser.new_page(viewport={"width": 1000, "height": 700})
    said: list[str] = []
    opened.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(served.address)
    opened.wait_for_selector("#loading", state="hidden")
    opened.wait_for_selector(".pane canvas")
    yield opened
    opened.close()
    assert said == []


def colour_at(page: Any, share_x: float, share_y: float) -> list[int]:
    """Return what the image's canvas shows at a place, by shares of its size."""
    found: list[int] = page.evaluate(
        """([x, y]) => {
        const canvas = document.querySelector('.pane canvas');
        const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
        return [...canvas.getContext('2d').getImageData(...at, 1, 1).data.slice(0, 3)];
        }""",
        [share_x, share_y],
    )
    return found


def marked(page: Any) -> int:
    """Count the pixels of the screen that are marked."""
    count: int = page.evaluate(
        """() => { const c = document.getElementById('drawn');
        const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < data.length; i += 4) n += data[i] > 127; return n; }"""
    )
    return count


def test_before_and_after_are_compared_by_keys_alone(page: Any) -> None:
    names = "#names"
    assert page.inner_text(names).split("\n") == ["Before: tissue.png", "After: restored.png"]
    page.keyboard.press("n")  # to the largest changed region, the line in its middle
    assert page.locator("#changes [aria-current]").inner_text().startswith("600 µm²")
    page.wait_for_timeout(900)
    after = colour_at(page, 0.52, 0.5)
    page.keyboard.press("]")
    page.wait_for_selector("#swipe[aria-valuenow='55']")
    page.wait_for_timeout(100)
    before = colour_at(page, 0.52, 0.5)
    assert before != after, "the line moved over that place"
    page.keyboard.press("a")
    page.wait_for_timeout(200)
    assert colour_at(page, 0.52, 0.5) == after
    page.keyboard.press("b")
    page.wait_for_selector("#names[data-count='1']:has-text('Before')")
    page.wait_for_timeout(100)
    assert colour_at(page, 0.52, 0.5) == before
    page.keyboard.press("d")
    page.wait_for_selector(".difference")
    page.keyboard.press("0")
    page.wait_for_timeout(800)
    assert colour_at(page, 0.8, 0.2) == [0, 0, 0], "nothing differs outside of the mask"
    page.keyboard.press("g")
    page.wait_for_selector("#panes[data-count='2']")
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")


def test_a_person_draws_restores_and_sees_the_result(page: Any, bench: Bench) -> None:
    page.keyboard.press("a")
    page.keyboard.press("r")
    box = page.locator("#pen").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    page.wait_for_timeout(100)
    stroke = marked(page)
    assert 120 * 40 < stroke < 175 * 45
    page.keyboard.press("e")
    page.mouse.click(x, y)
    page.wait_for_timeout(100)
    assert marked(page) < stroke - 1000
    page.keyboard.press("Control+z")
    page.wait_for_timeout(100)
    assert marked(page) == stroke
    page.keyboard.press("o")  # a polygon by keys: three corners, closed by Enter
    for keys in (
        ["Space"],
        [*["Shift+ArrowRight"] * 3, "Space"],
        [*["Shift+ArrowDown"] * 3, "Space"],
    ):
        for key in keys:
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert marked(page) > stroke + 1000
    page.click("#tab-work")
    page.click("#options summary")
    page.wait_for_selector("[data-option=model]")
    page.select_option("[data-option=model]", "untrained")
    page.select_option("[data-option=preset]", "generate")
    page.fill("[data-option=steps]", "1")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#queue li[data-state=done]", timeout=60_000)
    page.wait_for_selector("#names:has-text('tissue-restored-1')")
    page.wait_for_timeout(100)
    assert marked(page) == 0, "the result is seen without what was drawn over it"
    assert page.locator("#tools [data-tool=pan]").get_attribute("aria-pressed") == "true"
    (job,) = bench.queue.entries
    output = Path(job.output)
    mask = ledger_mask(Record.read(output.with_name(f"{output.stem}.ledger.json")))
    assert mask.any()
    assert not mask.all()
    with page.expect_download() as saved:
        page.click("#queue >> text=Save a copy")
    assert Path(saved.value.path()).read_bytes() == output.read_bytes()
    # Whoever goes on marking, from whatever tab, sees what is marked already, and where to go on.
    page.click("#tab-image")
    page.keyboard.press("r")
    page.wait_for_timeout(100)
    assert marked(page) > 0
    assert page.locator("#run").is_enabled()


def test_suggestions_are_accepted_and_refused(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    found = np.zeros((200, 260), bool)
    found[20:60, 20:60] = found[100:120, 100:120] = True
    monkeypatch.setattr("histomend.api.detect", lambda *_, **__: found)
    page.click("#tab-work")
    page.click("#detect")
    page.wait_for_selector("#suggestions >> text=Suggestion 1 of 2")
    page.keyboard.press("y")
    page.wait_for_selector("#suggestions >> text=Suggestion 1 of 1")
    page.keyboard.press("x")
    page.wait_for_timeout(600)
    assert page.inner_text("#suggestions") == ""
    assert marked(page) > 0
    page.evaluate("window.saved = []")
    with page.expect_download() as download:
        page.click("#export")
    assert '"Polygon"' in Path(download.value.path()).read_text()


def test_a_narrow_window_has_all_of_it_and_dark_is_dark(page: Any) -> None:
    page.set_viewport_size({"width": 380, "height": 720})
    page.keyboard.press("l")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    light, dark = page.evaluate(
        """() => { const style = getComputedStyle(document.getElementById('panel'));
        return [style.color, style.backgroundColor].map(c => +c.match(/\\d+/)[0]); }"""
    )
    assert light > 200 > 60 > dark
    for part in ("#tools", "#panel", "#modes", "#scale"):
        assert page.locator(part).is_visible()


def test_everything_has_a_name_and_enough_contrast(page: Any) -> None:
    """By axe-core, in light and dark, on every tab."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for tabs in (("work", "changes", "image"), ("changes",)):
        for tab in tabs:
            page.click(f"#tab-{tab}")
            found = axe.run(page).response["violations"]
            assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        page.keyboard.press("l")


def test_a_study_is_rated_by_keys_alone(
    browser: Any, serving: Any, tmp_path: Path, tissue: Any
) -> None:
    from histomend.evaluate.study import Study, pairs_of
    from histomend.image import write_image
    from histomend.web.rating import rate_app

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("1.png", "2.png"):
            write_image(tmp_path / folder / name, tissue[:128, :128])
    pairs = pairs_of([tmp_path / "a", tmp_path / "b"])
    study = Study(tmp_path / "study.json", *pairs, catches=1)
    with serving(rate_app(study)) as address:
        page = browser.new_page(viewport={"width": 480, "height": 600})
        page.goto(address)
        page.keyboard.type("ann")
        page.keyboard.press("Enter")
        steps = [
            ("1 of 3", "ArrowLeft"), ("2 of 3", "Backspace"), ("Again: 1 of 3", "Escape"),
            ("2 of 3", "ArrowDown"), ("3 of 3", "Backspace"), ("Again: 2 of 3", "ArrowLeft"),
            ("3 of 3", "ArrowRight"),
        ]  # fmt: skip
        for count, key in steps:
            page.wait_for_selector(f"#count:text-is('{count}')")
            page.wait_for_selector("#pictures:not(.waiting) img")
            page.keyboard.press(key)
            assert page.locator("#question").bounding_box()["width"] > 100, "what is asked is seen"
        page.wait_for_selector("#done:not([hidden])")
        page.close()
    answers = Study.read(study.path).answers
    assert [(said.answer, said.corrected) for said in answers] == [
        ("left", False), ("left", True), ("right", False),
    ]  # fmt: skip
