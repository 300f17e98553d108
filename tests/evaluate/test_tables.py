from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import InputError, OutputError
from histomend.evaluate.tables import (
    Interval,
    Table,
    bootstrap,
    geometric_mean,
    ratio_of_sums,
    write_section,
)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
@settings(max_examples=20, deadline=None)
def test_an_interval_holds_its_mean(values: list[float]) -> None:
    found = bootstrap(values, draws=200)
    assert found.value == pytest.approx(float(np.mean(values)))
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found == bootstrap(values, draws=200)


def test_the_interval_of_normal_values_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    found = bootstrap(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1)


def test_copies_in_a_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(1).normal(0, 1, 30)
    copied = np.repeat(values, 10)
    groups = [str(i) for i in np.repeat(np.arange(30), 10)]
    once, grouped, naive = bootstrap(values), bootstrap(copied, groups=groups), bootstrap(copied)
    width = once.high - once.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.15)
    assert naive.high - naive.low < 0.5 * width


def test_ratios_are_summarised_as_ratios() -> None:
    assert bootstrap([0.5, 2.0], statistic=geometric_mean).value == pytest.approx(1)
    found = bootstrap(np.array([[1, 2], [5, 6]]), statistic=ratio_of_sums)
    assert found.value == pytest.approx(6 / 8)
    nothing = bootstrap(np.array([[1.0, 0.0], [2.0, 0.0]]), statistic=ratio_of_sums)
    assert nothing.text() == "–"


def test_values_without_a_figure_are_left_out() -> None:
    found = bootstrap([1.0, math.nan, 3.0, math.inf])
    assert (found.value, found.count) == (2.0, 2)
    assert bootstrap([math.nan]).text() == bootstrap([]).text() == "–"
    assert bootstrap([4.0, 4.0], groups=["a", "a"]).text(1) == "4.0"


def test_groups_must_fit() -> None:
    with pytest.raises(InputError, match="2 values came with 1 groups"):
        bootstrap([1.0, 2.0], groups=["a"])


def test_figures_are_written_with_their_interval() -> None:
    assert Interval(23.966, 23.1, 24.8, 86).text() == "23.97 (23.10 to 24.80)"
    assert Interval(math.inf, math.inf, math.inf, 1).text() == "∞"


TABLE = Table("Two rows.", "python a.py --seed 0", ("Row", "PSNR"), (("a|b", "1"), ("c", "2")))


def test_a_table_says_what_and_how() -> None:
    assert TABLE.markdown() == (
        "Two rows.\n\n"
        "| Row | PSNR |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 2 |\n\n"
        "Made by `python a.py --seed 0`."
    )
    with pytest.raises(InputError, match="1 cells and the header 2"):
        Table("", "", ("a", "b"), (("x",),)).markdown()


def test_a_section_is_replaced_and_the_rest_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results" / "artifusion.md"
    write_section(path, "one", "first")
    write_section(path, "two", r"a \1 backslash")
    path.write_text("# Title\n\n" + path.read_text() + "\nThe end.\n")
    write_section(path, "one", TABLE.markdown())
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\n<!-- begin one -->\nTwo rows.")
    assert "first" not in text
    assert r"a \1 backslash" in text
    assert text.endswith("The end.\n")
    assert list(path.parent.iterdir()) == [path]


def test_writing_the_same_section_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    write_section(path, "a", "text")
    before = path.read_bytes()
    write_section(path, "a", "text")
    assert path.read_bytes() == before


def test_bad_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot name a section"):
        write_section(tmp_path / "a.md", "a --> b", "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.md"):
        write_section(tmp_path / "file" / "a.md", "a", "text")
