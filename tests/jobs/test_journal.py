"""The journal of a long job: what is finished is kept, and nothing else is believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histomend.errors import JobError, OutputError
from histomend.jobs.journal import Journal, begun_writing

PLAN = {"the slide": "a" * 64, "the seed": 0, "the option steps": None}
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def kept(folder: Path) -> None:
    with Journal(folder, PLAN) as journal:
        journal.put("x0y0", {"pixels": PIXELS}, {"nfe": 7})


def test_what_was_put_comes_back_in_another_process(tmp_path: Path) -> None:
    kept(tmp_path / "j")
    with Journal(tmp_path / "j", PLAN) as journal:
        assert journal.has("x0y0")
        assert not journal.has("x1y0")
        assert journal.get("x1y0") is None
        arrays, report = journal.get("x0y0") or ({}, {})
        assert (arrays["pixels"] == PIXELS).all()
        assert report == {"nfe": 7}
        journal.remove()
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("at", range(0, 400, 37))
def test_a_damaged_part_counts_as_none(tmp_path: Path, at: int) -> None:
    kept(tmp_path / "j")
    path = tmp_path / "j" / "x0y0.npz"
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x55
    path.write_bytes(data)
    with Journal(tmp_path / "j", PLAN) as journal:
        found = journal.get("x0y0")
    assert found is None or ((found[0]["pixels"] == PIXELS).all() and found[1] == {"nfe": 7})
    path.write_bytes(data[: at % len(data)])
    with Journal(tmp_path / "j", PLAN) as journal:
        assert journal.get("x0y0") is None


def test_another_plan_is_refused_and_told(tmp_path: Path) -> None:
    kept(tmp_path / "j")
    with pytest.raises(JobError) as told:
        Journal(tmp_path / "j", {**PLAN, "the slide": "b" * 64, "the seed": 3})
    said = str(told.value)
    assert "the seed was 0 and is 3" in said
    assert "the slide was aaaaaaaaaaaa... and is bbbbbbbbbbbb..." in said
    assert "steps" not in said
    kept(tmp_path / "j")  # the first plan still goes


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", PLAN), pytest.raises(JobError, match="another process"):
        Journal(tmp_path / "j", PLAN)
    kept(tmp_path / "j")


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    kept(tmp_path / "j")
    (tmp_path / "j" / ".x1y0.npz.abc.part").write_bytes(b"half")
    (tmp_path / "j" / "appended.part").write_bytes(b"half")
    with Journal(tmp_path / "j", PLAN) as journal:
        assert sorted(path.name for path in journal.folder.iterdir()) == [
            "lock",
            "plan.json",
            "x0y0.npz",
        ]


def test_it_is_noted_when_the_output_is_written(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", PLAN) as journal:
        assert not begun_writing(journal.folder)
        journal.begin_writing()
        assert begun_writing(journal.folder)


def test_a_damaged_plan_and_a_folder_that_cannot_be_are_named(tmp_path: Path) -> None:
    kept(tmp_path / "j")
    (tmp_path / "j" / "plan.json").write_text("{")
    with pytest.raises(JobError, match="Remove the folder"):
        Journal(tmp_path / "j", PLAN)
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "nowhere" / "j", PLAN)
