"""Asking for jobs, and the queue."""

import json
import shlex
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from histomend.cli.app import app as program
from histomend.errors import JobError, MaskError, OutputError, RegionError, SettingError
from histomend.image import read_image
from histomend.jobs.progress import Advance
from histomend.ledger import Record, ledger_mask, verify
from histomend.masks import read_mask
from histomend.web.desk import Desk
from histomend.web.queue import FILE_NAME, CancelledError, Entry, Queue
from histomend.web.work import Bench, Wish

POLYGON = {"kind": "polygon", "rings": [[[20, 30], [60, 30], [60, 70], [20, 70]]]}
QUICK = {"model": "untrained", "preset": "generate", "steps": 1}


def until(found: Any, seconds: float = 60) -> Any:
    """Wait until a function gives something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_nothing_drawn_is_said(client: TestClient) -> None:
    answer = client.post("api/jobs", json={"task": "restore", "item": 0, "drawing": []})
    assert answer.status_code == 422
    assert "Nothing is drawn" in answer.json()["error"]


def test_what_was_drawn_is_restored_in_place(client: TestClient, bench: Bench) -> None:
    wish = {"task": "restore", "item": 0, "drawing": [POLYGON], "options": QUICK}
    planned = client.post("api/plan", json=wish).json()
    job = client.post("api/jobs", json=wish).json()
    assert job["command"] == planned["command"]
    until(lambda: client.get("api/jobs").json()[0]["state"] in ("done", "failed"))
    (done,) = client.get("api/jobs").json()
    assert done["state"] == "done", done["error"]
    output = Path(done["output"])
    record = Record.read(output.with_name(f"{output.stem}.ledger.json"))
    assert verify(record, read_image(output), read_image(done["source"])).ok
    assert ledger_mask(record)[30:70, 20:60].all()
    assert ledger_mask(record).sum() == 1600
    newest = client.get("api/items/0").json()["versions"][-1]
    assert (newest["name"], newest["changes"][0]["box"]) == (output.name, [20, 30, 40, 40])


def test_the_command_line_does_the_same(client: TestClient) -> None:
    wish = {"task": "restore", "item": 0, "drawing": [POLYGON], "options": {**QUICK, "seed": 3}}
    job = client.post("api/jobs", json=wish).json()
    until(lambda: client.get("api/jobs").json()[0]["state"] == "done")
    words = shlex.split(job["command"])
    other = Path(job["output"]).with_name("other.png")
    words[words.index(job["output"])] = str(other)
    ran = CliRunner().invoke(program, words[1:])
    assert ran.exit_code == 0, ran.output
    assert (read_image(other).pixels == read_image(job["output"]).pixels).all()
    assert read_mask(job["mask"], (200, 260)).sum() == 1600


def test_options_of_another_verb_are_refused(client: TestClient) -> None:
    wish = {"task": "denoise", "item": 0, "options": {"scale": 2}}
    answer = client.post("api/plan", json=wish)
    assert answer.status_code == 422
    assert "denoise has no option scale" in answer.json()["error"]
    wish = {"task": "upscale", "item": 0, "options": {"method": "bicubic", "scale": 1.5}}
    assert "--method bicubic --scale 1.5" in client.post("api/plan", json=wish).json()["command"]


def test_detected_regions_are_suggested(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(path: Path, region: Any = None) -> np.ndarray:
        mask = np.zeros((200, 260), bool)
        mask[5:15, 5:15] = mask[50:90, 50:90] = True
        return mask

    monkeypatch.setattr("histomend.api.detect", found)
    suggestions = client.post("api/items/0/detect", json={}).json()
    assert [thing["box"] for thing in suggestions] == [[50, 50, 40, 40], [5, 5, 10, 10]]


class Work:
    """Work whose steps a test allows one by one."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.step = threading.Semaphore(0)

    def __call__(self, entry: Entry, advance: Advance) -> None:
        self.begun.append(entry.number)
        for done in range(3):
            self.step.acquire()
            advance(done + 1, 3)


def entry(name: str = "a.png") -> Entry:
    return Entry(
        0, "restore", name, f"out-{name}", f"histomend restore {name}", region=(1, 2, 3, 4)
    )


def test_jobs_are_done_in_order_and_taken_back(tmp_path: Path) -> None:
    work = Work()
    queue = Queue(tmp_path / "out", work)
    queue.start()
    first, second, third = (queue.add(entry(name)) for name in ("a", "b", "c"))
    until(lambda: work.begun == [1])
    assert queue.cancel(second.number).state == "cancelled"
    queue.cancel(first.number)
    work.step.release()
    until(lambda: [job.state for job in queue.entries] == ["cancelled", "cancelled", "running"])
    until(lambda: queue.entries[2].done == 3 or work.step.release())
    until(lambda: queue.entries[2].state == "done")
    assert work.begun == [1, third.number]
    with pytest.raises(JobError, match="is done"):
        queue.cancel(third.number)
    with pytest.raises(JobError, match="no job 9"):
        queue.cancel(9)
    queue.close()


def test_after_a_kill_unfinished_jobs_go_on(tmp_path: Path) -> None:
    """The file is what a killed server leaves: one job done, one begun, one waiting."""
    killed = Queue(tmp_path, Work())
    killed.start()
    killed.add(entry("begun"))
    killed.add(entry("waiting"))
    until(lambda: killed.entries[0].state == "running")
    kept = (tmp_path / FILE_NAME).read_text()
    killed.cancel(1)
    killed._work.step.release(9)  # type: ignore[attr-defined]
    killed.close()
    (tmp_path / FILE_NAME).write_text(kept)

    seen: list[str] = []
    again = Queue(tmp_path, lambda job, advance: seen.append(job.source))
    assert [job.state for job in again.entries] == ["waiting", "waiting"]
    assert again.entries[0].region == (1, 2, 3, 4)
    again.start()
    until(lambda: [job.state for job in again.entries] == ["done", "done"])
    assert seen == ["begun", "waiting"]
    again.close()
    assert again.add(entry("later")).number == 3


def test_closing_leaves_a_begun_job_for_the_next_start(tmp_path: Path) -> None:
    work = Work()
    queue = Queue(tmp_path, work)
    queue.start()
    queue.add(entry())
    until(lambda: work.begun)
    closing = threading.Thread(target=queue.close)
    closing.start()
    until(lambda: queue._closed)
    work.step.release(9)
    closing.join()
    assert json.loads((tmp_path / FILE_NAME).read_text())["jobs"][0]["state"] == "waiting"


def test_a_failure_is_told_and_the_next_job_is_done(tmp_path: Path) -> None:
    def work(job: Entry, advance: Advance) -> None:
        if job.source == "bad":
            raise MaskError("the mask is empty")
        if job.source == "worse":
            raise ZeroDivisionError("by zero")

    queue = Queue(tmp_path, work)
    for name in ("bad", "worse", "good"):
        queue.add(entry(name))
    queue.start()
    until(lambda: queue.entries[2].state == "done")
    assert [job.error for job in queue.entries] == [
        "the mask is empty", "ZeroDivisionError: by zero", "",
    ]  # fmt: skip
    queue.close()


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": [{"number": 1}]}', '{"jobs": 3}', "\0"])
def test_a_damaged_queue_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(JobError, match="Move the file away"):
        Queue(tmp_path, Work())


def test_a_result_that_was_written_before_the_kill_is_not_made_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = Wish.model_validate(
        {"task": "restore", "item": 0, "drawing": [POLYGON], "options": QUICK}
    )
    made = bench.ask(wish)
    bench.carry_out(made, lambda done, of: None)
    monkeypatch.setattr(
        "histomend.methods.decide.decide", lambda *_, **__: pytest.fail("made again")
    )
    bench.carry_out(made, lambda done, of: None)
    assert len(bench.desk.item(0).versions) == 3
    # A new start shows what was made, and does not go on with an image that is not open.
    desk = Desk([Path(made.source)])
    again = Bench(desk, bench.folder, bench.models)
    assert again.queue.entries[0].state == "waiting"
    with pytest.raises(JobError, match="is not open"):
        Bench(Desk([bench.desk.items[0].versions[1].path or Path()]), bench.folder).carry_out(
            Entry(1, "restore", "/elsewhere.png", made.output, ""), lambda done, of: None
        )


def test_a_job_stops_where_it_is_cancelled(bench: Bench) -> None:
    wish = Wish.model_validate(
        {"task": "restore", "item": 0, "drawing": [POLYGON], "options": {**QUICK, "steps": 5}}
    )
    made = bench.ask(wish)

    def advance(done: int, of: int) -> None:
        if done:
            raise CancelledError

    with pytest.raises(CancelledError):
        bench.carry_out(made, advance)
    assert not Path(made.output).exists()


@pytest.mark.parametrize("whole", [False, True])
def test_of_a_slide_a_part_or_all_of_it_is_written(
    slide: Path, untrained: Path, whole: bool
) -> None:
    pytest.importorskip("openslide")
    bench = Bench(Desk([slide]), slide.parent / "out", {"untrained": untrained}, "cpu")
    corner = {"kind": "polygon", "rings": [[[600, 600], [640, 600], [640, 660], [600, 660]]]}
    wish = {
        "task": "restore", "item": 0, "drawing": [corner], "whole": whole,
        "options": {**QUICK, "mpp": 0.5},
    }  # fmt: skip
    made = bench.ask(Wish.model_validate(wish))
    assert ("--region" in made.command) != whole
    bench.carry_out(made, lambda done, of: None)
    about = bench.desk.about(bench.desk.item(0))
    newest = about["versions"][-1]
    assert Path(made.output).suffix == (".svs" if whole else ".png")
    assert newest["changes"][0]["box"] == [600, 600, 40, 60]
    part = (0, 0, 1024, 1024) if whole else (87, 87, 937, 937)
    assert newest["region"] == part


@pytest.mark.parametrize("task", ["denoise", "upscale"])
def test_a_whole_slide_is_worked_on_as_its_command_does(small_slide: Path, task: str) -> None:
    pytest.importorskip("openslide")
    bench = Bench(Desk([small_slide]), small_slide.parent / "out", device="cpu")
    with pytest.raises(RegionError, match="Zoom in"):
        bench.plan(Wish(task=task, item=0))
    how: dict[str, Any] = {"method": "median"} if task == "denoise" else {"method": "bicubic"}
    wish = {"task": task, "item": 0, "whole": True, "region": [0, 0, 9, 9], "options": how}
    made = bench.ask(Wish.model_validate(wish))
    assert made.whole
    assert made.region is None
    seen: list[tuple[int, int]] = []
    bench.carry_out(made, lambda done, of: seen.append((done, of)))
    assert (seen[0], seen[-1]) == ((0, 1), (1, 1))
    newest = bench.desk.about(bench.desk.item(0))["versions"][-1]
    side = 320 if task == "denoise" else 640
    assert (newest["width"], newest["height"], newest["mpp"]) == (side, side, 160 / side)
    words = shlex.split(made.command)[1:]
    words[-1] = str(small_slide.parent / "again.tif")
    ran = CliRunner().invoke(program, words)
    assert ran.exit_code == 0, ran.output
    assert Path(words[-1]).read_bytes() == Path(made.output).read_bytes()


def test_a_pyramid_that_no_scanner_wrote_is_restored_as_its_command_does(
    tmp_path: Path, tissue: np.ndarray, untrained: Path
) -> None:
    """It is looked at as an image, and restored as a slide, whose tiles stay as they are."""
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2):
            values = np.ascontiguousarray(tissue[::step, ::step])
            kind = {"subfiletype": 1} if step > 1 else {}
            file.write(values, tile=(128, 128), photometric="rgb", metadata=None, **kind)
    bench = Bench(Desk([path]), tmp_path / "out", {"untrained": untrained}, "cpu")
    wish = {
        "task": "restore", "item": 0, "drawing": [POLYGON], "options": {**QUICK, "mpp": 0.5},
    }  # fmt: skip
    made = bench.ask(Wish.model_validate(wish))
    assert made.whole
    bench.carry_out(made, lambda done, of: None)
    output = Path(made.output)
    words = shlex.split(made.command)[1:]
    words[-1] = str(tmp_path / "again.tif")
    ran = CliRunner().invoke(program, words)
    assert ran.exit_code == 0, ran.output
    assert Path(words[-1]).read_bytes() == output.read_bytes()
    newest = bench.desk.about(bench.desk.item(0))["versions"][-1]
    assert newest["changes"][0]["box"] == [20, 30, 40, 40]
    assert bench.plan(Wish(task="denoise", item=0))[0].whole is False


def test_what_cannot_be_asked_of_a_whole_slide_is_said(slide: Path, bench: Bench) -> None:
    with pytest.raises(SettingError, match="is no slide"):
        bench.plan(Wish(task="denoise", item=0, whole=True))
    pytest.importorskip("openslide")
    bench = Bench(Desk([slide]), slide.parent / "out", device="cpu")
    wish = {"task": "upscale", "item": 0, "whole": True, "options": {"scale": 2.5}}
    with pytest.raises(SettingError, match="by a whole number"):
        bench.plan(Wish.model_validate(wish))


def test_on_a_slide_what_is_in_view_is_searched(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openslide")
    asked: list[Any] = []

    def found(path: Path, region: Any) -> np.ndarray:
        asked.append(region)
        mask = np.zeros((region[3], region[2]), bool)
        mask[5:25, 10:20] = True
        return mask

    monkeypatch.setattr("histomend.api.detect", found)
    bench = Bench(Desk([slide]), slide.parent / "out")
    item = bench.desk.item(0)
    (thing,) = bench.suggest(item, (-30, 500, 200, 300))
    assert asked == [(0, 500, 170, 300)], "cut at the border"
    assert thing["box"] == [10, 505, 10, 20]
    bench.suggest(item, (1020, 1020, 50, 50))
    assert asked[1] == (960, 960, 64, 64), "at least as large as what can be searched"
    with pytest.raises(RegionError, match="Nothing of the image is in view"):
        bench.suggest(item, None)
    monkeypatch.setattr("histomend.web.work.MOST_SIDE_PX", 100)
    with pytest.raises(RegionError, match="Zoom in"):
        bench.suggest(item, (0, 0, 500, 500))
    wish = Wish(task="denoise", item=0, region=(0, 0, 200, 90))
    with pytest.raises(RegionError, match="more than a job of the page"):
        bench.plan(wish)


def test_a_queue_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    queue = Queue(tmp_path / "out", Work())
    with pytest.raises(OutputError):
        queue.add(entry())
    assert queue.entries == []


def test_two_pages_at_once_hear_of_a_job_and_see_its_result(served: Any) -> None:
    wish = {"task": "upscale", "item": 0, "options": {"method": "bicubic"}}
    heard: list[list[str]] = [[], []]

    def listen(number: int) -> None:
        with (
            httpx.Client(base_url=served.address, timeout=60) as client,
            client.stream("GET", "api/events") as stream,
        ):
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    jobs = json.loads(line[6:])
                    heard[number] += [job["state"] for job in jobs]
                    if jobs and jobs[0]["state"] in ("done", "failed"):
                        return

    threads = [threading.Thread(target=listen, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    with httpx.Client(base_url=served.address, timeout=60) as client:
        until(lambda: client.get("api/desk").status_code == 200)
        assert client.post("api/jobs", json=wish).status_code == 200
        for thread in threads:
            thread.join(60)
        assert [states[-1] for states in heard] == ["done", "done"]
        newest = client.get("api/items/0").json()["versions"][-1]
        assert (newest["width"], newest["height"], newest["region"]) == (520, 400, [0, 0, 260, 200])
