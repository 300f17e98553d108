"""The demo's page works from the file alone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from histomend.demo.page import Field, Measure, build_page, draw_picture
from histomend.demo.run import FIELD_SEED, SEED, run
from histomend.errors import OutputError

HEIGHT, WIDTH = 64, 96


def field(**changes: object) -> Field:
    rng = np.random.default_rng(0)
    truth, damaged, restored = rng.integers(0, 255, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 30:50] = True
    settings: dict[str, object] = {
        "name": "liver",
        "title": "Liver",
        "about": "A field.",
        "truth": truth,
        "damaged": damaged,
        "restored": restored,
        "mask": mask,
        "measures": [Measure("PSNR", "dB", {"Damaged": 20.1, "Restored": 30.2}, "highest")],
        "notes": ["Found."],
        "changes": [("Seed", "0")],
    }
    return Field(**{**settings, **changes})  # type: ignore[arg-type]


class Tags(HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_asks_nothing_of_the_network() -> None:
    page = build_page([field()], lead="lead", footer="footer")
    assert not re.search(r"https?://|//cdn|@import|url\(", page)
    sources = [attrs["src"] for _, attrs in Tags(page).tags if attrs.get("src")]
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_the_page_is_whole_and_says_what_it_must() -> None:
    page = build_page([field(), field(name="skin", title="Skin")], lead="lead", footer="footer")
    tags = Tags(page)
    assert tags.open == []
    ids = [attrs["id"] for _, attrs in tags.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    borrowed = {attrs["data-of"] for _, attrs in tags.tags if attrs.get("data-of")}
    assert borrowed <= set(ids)
    assert "Not for diagnosis" in page
    assert "@sections@" not in page


def test_text_is_never_taken_for_markup() -> None:
    page = build_page([field(title="<b>a & b</b>", about="@footer@")], lead="<i>", footer="foot")
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in page
    assert "<p>@footer@</p>" in page


@pytest.mark.parametrize(
    ("best", "winner"), [("lowest", 0.4), ("highest", 3.0), ("closest to 1", 1.2)]
)
def test_the_best_figure_of_a_row_is_bold(best: str, winner: float) -> None:
    values = {"a": 0.4, "b": 1.2, "c": 3.0, "d": float("nan")}
    row = Measure("detail", "", values, best)  # type: ignore[arg-type]
    assert row.winner() == winner
    page = build_page([field(measures=[row])], lead="", footer="")
    assert page.count('class="best"') == 1


def test_the_outline_of_the_mask_is_drawn_in_pixels() -> None:
    page = build_page([field()], lead="", footer="")
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in page
    (path,) = re.findall(r'<path d="([^"]+)"', page)
    x, y = np.array([pair.split() for pair in re.split("[MLZ]+", path)[1:-1]], float).T
    assert (x.min(), x.max(), y.min(), y.max()) == (30.5, 49.5, 10.5, 19.5)


def test_a_field_in_which_nothing_was_found_is_shown_too() -> None:
    empty = np.zeros((HEIGHT, WIDTH), bool)
    assert "Liver" in build_page([field(mask=empty)], lead="", footer="")


def test_the_picture_shows_the_four_states_side_by_side() -> None:
    one = field()
    picture = np.asarray(draw_picture(one))
    assert picture.shape[1] >= 4 * WIDTH
    assert (picture[-HEIGHT:, :WIDTH] == one.damaged).all()
    assert (picture[-HEIGHT:, -WIDTH:] == one.truth).all()


def test_an_earlier_demo_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(tmp_path, model="no-such-model")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_drawn_field_is_not_restored_with_its_own_noise() -> None:
    """It was once, and the restoration redrew the truth."""
    assert FIELD_SEED != SEED
