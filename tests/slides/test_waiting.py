"""Two processes on one job: one works, the other says so, or waits for what comes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from histomend import denoise_slide
from histomend.cli.app import app
from histomend.errors import InUseError, OutputError
from histomend.jobs import slide_fields, waiting
from histomend.jobs.journal import journal_of

MEDIAN: dict[str, Any] = {"method": "median", "device": "cpu"}
OTHER = """
import pathlib, sys, time
from histomend import denoise_slide
from histomend.jobs import slide_fields

slide, out, seed = sys.argv[1:]
go, real = pathlib.Path(slide).with_name("go"), slide_fields._worked_on

def worked_on(*more):
    pathlib.Path(slide).with_name("begun").touch()
    while not go.exists():
        time.sleep(0.02)
    return real(*more)

slide_fields._worked_on = worked_on
denoise_slide(slide, out, method="median", device="cpu", seed=int(seed))
"""


def appears(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


@pytest.fixture
def slide(make_slide: Any, tmp_path: Path) -> Path:
    return make_slide(tmp_path / "slide.svs")


@pytest.fixture
def other(
    request: pytest.FixtureRequest, slide: Path, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run another process on the slide, with this seed, that begins and waits for a file "go"."""
    words = [sys.executable, "-c", OTHER, str(slide), str(tmp_path / "out.tif")]
    process = subprocess.Popen([*words, str(request.param)])
    try:
        appears(tmp_path / "begun")
        yield process
    finally:
        (tmp_path / "go").touch()
        process.kill()
        process.wait()


@pytest.mark.parametrize("other", [0], indirect=True)
def test_the_other_is_done_and_its_result_is_that_of_the_waiting_one(
    slide: Path, tmp_path: Path, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, waited = tmp_path / "out.tif", []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        (tmp_path / "go").touch()
        real(0.02)

    real = time.sleep
    with pytest.raises(InUseError, match=r"another process works on this job.*--wait"):
        denoise_slide(slide, out, **MEDIAN)
    monkeypatch.setattr(waiting.time, "sleep", sleep)
    monkeypatch.setattr(slide_fields, "_worked_on", None)  # nothing is computed here
    words = ["denoise", slide, "-o", out, "--method", "median", "--device", "cpu", "--wait"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    assert waited
    said = " ".join(done.stderr.split())
    assert "another process works on it, which is waited for" in said
    assert "is there, made by another process from the same inputs" in said
    assert other.wait() == 0
    assert out.exists()
    assert not journal_of(out).exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("other", [0], indirect=True)
def test_the_other_is_killed_and_the_waiting_one_takes_over(
    slide: Path, tmp_path: Path, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        other.send_signal(signal.SIGKILL)
        other.wait()

    denoise_slide(slide, tmp_path / "whole.tif", **MEDIAN)
    monkeypatch.setattr(waiting.time, "sleep", sleep)
    result = denoise_slide(slide, tmp_path / "out.tif", **MEDIAN, wait=True)
    assert result.output.read_bytes() == (tmp_path / "whole.tif").read_bytes()
    assert not journal_of(result.output).exists()


@pytest.mark.parametrize("other", [5], indirect=True)
def test_the_result_of_another_job_is_not_taken_for_this_one(
    slide: Path, tmp_path: Path, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        (tmp_path / "go").touch()
        other.wait()

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    with pytest.raises(OutputError, match="exists already"):
        denoise_slide(slide, tmp_path / "out.tif", **MEDIAN, wait=True)
    assert not journal_of(tmp_path / "out.tif").exists()


def test_the_other_is_done_while_this_job_is_decided(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other one did is seen before its journal goes."""
    out = tmp_path / "out.tif"

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(slide_fields, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            denoise_slide(slide, out, **MEDIAN)
    said: list[str] = []
    awaited = waiting.Awaited(out, said.append)
    result = denoise_slide(slide, out, **MEDIAN)
    plan = slide_fields.SlideFieldJob.identity
    seen: list[Any] = []
    monkeypatch.setattr(
        slide_fields.SlideFieldJob, "identity", lambda job: seen.append(plan(job)) or seen[-1]
    )
    with pytest.raises(OutputError, match="exists already"):
        denoise_slide(slide, out, **MEDIAN, wait=True)  # nobody was at work
    (own,) = seen
    assert awaited.carried_out(own, lambda: "work", lambda: "found") == "found"
    assert said == [f"{out}: is there, made by another process from the same inputs"]
    assert awaited.carried_out({**own, "the seed": 1}, lambda: "work", lambda: "found") == "work"
    result.record.write(tmp_path / "out.ledger.json", force=True)
    os.utime(tmp_path / "out.ledger.json", (0, 0))  # a result from before the other one began
    assert awaited.carried_out(own, lambda: "work", lambda: "found") == "work"


def test_nothing_is_left_of_a_lock_that_was_asked_for_too_late(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "out.tif")
    journal.mkdir()
    awaited = waiting.Awaited(tmp_path / "out.tif", lambda _: None)
    calls: list[str] = []

    def work() -> str:
        calls.append("work")
        if len(calls) == 1:
            raise InUseError
        return "done"

    with FileLock(journal / "lock"):
        pass
    assert awaited.carried_out({}, work, lambda: "found") == "done"
    assert not journal.exists()


def test_waiting_is_for_whole_slides(tmp_path: Path, slide: Path) -> None:
    words = ["denoise", str(slide), "-o", str(tmp_path / "o.tif"), "--method", "median", "--wait"]
    done = CliRunner().invoke(app, [*words, "--region", "0,0,100,100"])
    assert done.exit_code == 2
    assert "--wait is for whole slides" in " ".join(done.stderr.split())
