"""Users see how far work has come, also without a terminal, and a result in a notebook."""

import io
import logging

import numpy as np
import PIL.Image
import pytest

import histomend
from histomend.image.pixels import Image
from histomend.jobs import preview, progress
from histomend.jobs.progress import ProgressDisplay


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_a_line_every_ten_seconds_counts_files_and_tells_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    display = ProgressDisplay(3)
    with display.file("a.png") as advance:
        for done in range(1, 5):
            clock.now += 4
            advance(done, 4)
    with display.file("b.png") as advance:
        clock.now = 24
        advance(2, 4)
    # 12 s for three quarters of one of three files; 24 s for one and a half.
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3  a.png: 3 of 4 parts, 0:00:36 left",
        "2 of 3  b.png: 2 of 4 parts, 0:00:24 left",
    ]


def test_files_without_parts_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    display = ProgressDisplay(4)
    for number in range(1, 4):
        clock.now += 6
        display.finished(number)
    assert capsys.readouterr().err == "files: 2 of 4, 0:00:12 left\n"


def test_progress_when_asked_and_notices_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0)
    caplog.set_level(logging.INFO, "histomend")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    grey = np.repeat(pixels[..., None], 3, axis=2)
    result = histomend.denoise(grey, method="median", progress=True)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("denoise: 1 of 1 parts")
    assert len(result.record.notices) >= 1
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("histomend")]
    assert logged == [f"the image: {notice}" for notice in result.record.notices]
    calls: list[tuple[int, int]] = []
    histomend.denoise(grey, method="median", progress=lambda *call: calls.append(call))
    assert calls == [(1, 1)]
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_before_and_after() -> None:
    before, after = np.full((80, 100, 3), 60, np.uint8), np.full((80, 100, 3), 200, np.uint8)
    drawn = preview.before_and_after(Image(before), Image(after))
    with PIL.Image.open(io.BytesIO(drawn)) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (80, 208, 3)
    assert (shown[:, :100] == 60).all()
    assert (shown[:, 108:] == 200).all()


def test_the_picture_of_a_stack_is_its_middle_plane_and_small() -> None:
    planes = np.stack([np.full((700, 900), value, np.uint16) for value in (0, 500, 65535)])
    planes[1, :350] = 100
    result = histomend.denoise(list(planes), method="median")
    with PIL.Image.open(io.BytesIO(result._repr_png_())) as picture:
        shown = np.asarray(picture)
    assert 900_000 < shown.shape[0] * shown.shape[1] <= 1_000_000
    # Stretched from 100 to 500, on both sides of the gap.
    assert [int(v) for v in (shown[10, 10, 0], shown[-10, 10, 0])] == [0, 255]
    assert [int(v) for v in (shown[10, -10, 0], shown[-10, -10, 0])] == [0, 255]
    assert len(repr(result)) < 300
