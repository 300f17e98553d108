"""Whole slides on Ray: the same bytes, whoever works on which part, and whoever is killed."""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from histomend import RayEngine, restore_slide
from histomend.cli.app import app
from histomend.errors import JobError, MissingDependencyError, SettingError
from histomend.jobs import ray_engine, slide_parts
from histomend.jobs.engines import given_threads
from histomend.jobs.journal import journal_of
from histomend.masks import write_mask
from histomend.models import Model, load_model
from histomend.tiles import slide_plan

FAST: dict[str, Any] = {"device": "cpu", "preset": "generate", "steps": 1}


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def work(make_slide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a slide, of which four parts are masked, one of them in pieces."""
    monkeypatch.setattr(slide_plan, "BLOCK_PX", 128)
    make_slide(tmp_path / "slide.svs")
    mask = np.zeros((420, 500), bool)
    mask[20:32, 20:35] = mask[220:232, 320:335] = mask[60:330, 180:200] = True
    write_mask(tmp_path / "mask.geojson", mask)
    return tmp_path


@pytest.fixture
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayEngine]:
    """Start Ray on this machine, with two workers."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(slide_parts.__file__).parents[2]))
    monkeypatch.setattr("histomend.jobs.ray_session.usable_cores", lambda: 2 * given_threads())
    with RayEngine(device="cpu") as opened:
        yield opened


def test_a_worker_that_is_killed_loses_nothing(
    work: Path,
    model: Model,
    engine: RayEngine,
    untrained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One test of all that Ray does, as it takes its time to start."""
    slide, mask = work / "slide.svs", work / "mask.geojson"
    (work / "alone").mkdir()
    restore_slide(slide, work / "alone" / "out.svs", mask, model=model, **FAST)
    expected = (work / "alone" / "out.svs").read_bytes()
    mine = json.loads((work / "alone" / "out.ledger.json").read_text())

    assert engine.workers == 2
    seen = _killed_after_one_part(engine, journal_of(work / "out.svs"))
    restore_slide(slide, work / "out.svs", mask, model=model, engine=engine, **FAST)
    assert len(seen) == 1
    assert (work / "out.svs").read_bytes() == expected
    theirs = json.loads((work / "out.ledger.json").read_text())
    for record in (mine, theirs):
        del record["created"], record["checksum"]
    assert theirs == mine
    assert not journal_of(work / "out.svs").exists()
    assert capsys.readouterr().out == ""  # an answer in JSON may go there
    _check_seen_by_nobody_else(engine)

    # A folder of slides goes through the same workers; one that is damaged stops no other.
    monkeypatch.setattr(ray_engine, "RayEngine", lambda *more: nullcontext(engine))
    for folder in ("in", "masks"):
        (work / folder).mkdir()
    for name, data in (
        ("a", slide.read_bytes()), ("b", _damaged(slide)), ("c", slide.read_bytes())
    ):  # fmt: skip
        (work / "in" / f"{name}.svs").write_bytes(data)
        (work / "masks" / f"{name}.geojson").write_bytes(mask.read_bytes())
    words = ("--mask", work / "masks", "--model", untrained, "--preset", "generate", "--steps", 1)
    ray = ("--device", "cpu", "--engine", "ray", "--json")
    done = run("restore", work / "in", "-o", work / "outs", *words, *ray)
    assert done.exit_code == 2
    first, second, third = json.loads(done.stdout)
    assert "b.svs" in second["error"]
    assert "error" not in first | third, (first, third)
    assert sorted(path.name for path in (work / "outs").glob("*.svs")) == ["a.svs", "c.svs"]
    for said in (first, third):
        assert run("verify", said["output"], "--source", slide).exit_code == 0

    for place, more in (("here.tif", ()), ("there.tif", ray)):
        median = ("--method", "median", *more)
        assert run("denoise", slide, "-o", work / place, *median).exit_code == 0
    assert (work / "here.tif").read_bytes() == (work / "there.tif").read_bytes()


def _check_seen_by_nobody_else(engine: RayEngine) -> None:
    """Every port that Ray listens to is one of this machine alone."""
    me = psutil.Process()
    listening = [
        found.laddr.ip
        for process in (me, *me.children(recursive=True))
        for found in process.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def _killed_after_one_part(engine: RayEngine, journal: Path) -> list[int]:
    """Kill a worker that is at work as soon as a part is finished; return what will say which."""
    seen: list[int] = []
    real = engine._done

    def done(*more: Any) -> Any:
        found = real(*more)
        if not seen and list(journal.glob("*.npz")):
            at_work = _processes("ray::_Worker.work") or _processes("ray::_Worker")
            seen.append(at_work[0])
            os.kill(seen[0], signal.SIGKILL)
        return found

    engine._done = done  # type: ignore[assignment, method-assign]
    return seen


def _processes(title: str) -> list[int]:
    """Return the processes that this one began and that are called so."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if (child.cmdline() or [""])[0].startswith(title)]


def _damaged(slide: Path) -> bytes:
    """Return a slide of which every tile is nonsense."""
    import tifffile

    data = bytearray(slide.read_bytes())
    with tifffile.TiffFile(slide) as file:
        page = file.pages.first
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            data[offset : offset + count] = bytes(count)
    return bytes(data)


def test_what_does_not_fit_ray_costs_a_message(
    work: Path, monkeypatch: pytest.MonkeyPatch, untrained: Path
) -> None:
    words = ("--mask", work / "mask.geojson", "-o", work / "o.svs", "--model", untrained)
    for more, says in (
        (("--ray-address", "head:6379"), "--ray-address is for --engine ray"),
        (("--engine", "ray", "--region", "0,0,200,200"), "--engine ray is for whole slides"),
    ):
        done = run("restore", work / "slide.svs", *words, *more)
        assert done.exit_code == 2
        assert says in " ".join(done.stderr.split())
    with pytest.raises(SettingError, match="Say --device cuda"):
        RayEngine(device="cuda:1")
    real = builtins.__import__

    def without_ray(name: str, *more: Any, **options: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(MissingDependencyError, match=r"histomend\[ray\]"):
        RayEngine()


def test_an_address_where_nobody_listens_is_told() -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "head:not-a-port"):
        with pytest.raises(JobError, match="does not answer there"), RayEngine(address):
            pass


def test_a_cluster_without_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        @staticmethod
        def is_initialized() -> bool:
            return True

        @staticmethod
        def nodes() -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": {"CPU": 1.0}}]

    monkeypatch.setattr(ray_engine, "import_ray", lambda: Small)
    monkeypatch.setattr(ray_engine, "given_threads", lambda: 4)
    with pytest.raises(JobError, match=r"has 4 processors.*the largest has 1"), RayEngine():
        pass
