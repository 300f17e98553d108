"""The server is killed in the middle of a job: the same command goes on with it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from histomend.cli.app import app as program
from histomend.web.queue import FILE_NAME

pytest.importorskip("openslide")


@contextmanager
def viewing(slide: Path, model: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Run the program as people do, and talk to its page."""
    words = ["view", str(slide), "--model", str(model), "--device", "cpu", "--no-browser"]
    command = [sys.executable, "-m", "histomend", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.search(r"http://\S+", said)
            assert found, said
            with httpx.Client(base_url=found[0], timeout=60) as client:
                yield client, process
        finally:
            process.kill()


def until(client: httpx.Client, reached: Any) -> dict[str, Any]:
    """Return the job when it is as it is waited for."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        (job,) = client.get("api/jobs").json()
        assert job["state"] != "failed", job["error"]
        if reached(job):
            return dict(job)
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_job_goes_on_after_its_server_was_killed(
    long_slide: Path, untrained: Path, tmp_path: Path
) -> None:
    squares = [
        {"kind": "polygon", "rings": [[[90, y], [120, y], [120, y + 30], [90, y + 30]]]}
        for y in (100, 1300, 2300)
    ]
    options = {"model": untrained.name, "preset": "generate", "steps": 10}
    wish = {"task": "restore", "item": 0, "drawing": squares, "whole": True, "options": options}
    with viewing(long_slide, untrained) as (client, process):
        asked = client.post("api/jobs", json=wish).json()
        # One of three squares is done, and the next one begun.
        until(client, lambda job: job["state"] == "running" and job["done"] > job["of"] // 3)
        process.kill()
    folder = long_slide.parent / "histomend"
    output = Path(asked["output"])
    assert not output.exists()
    assert json.loads((folder / FILE_NAME).read_text())["jobs"][0]["state"] == "running"
    with viewing(long_slide, untrained) as (client, _):
        job = until(client, lambda job: job["state"] == "done")
        newest = client.get("api/items/0").json()["versions"][-1]
    assert (job["number"], job["output"]) == (asked["number"], asked["output"])
    assert newest["name"] == output.name
    assert len(newest["changes"]) == 3
    # The command that the page showed gives the very same file.
    words = asked["command"].split()[1:]
    words[words.index("-o") + 1] = str(tmp_path / "again.svs")
    ran = CliRunner().invoke(program, words)
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "again.svs").read_bytes() == output.read_bytes()
