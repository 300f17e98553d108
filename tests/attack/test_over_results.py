"""A few of the kills and of the full disks; `make attack` tries every touch of the disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts disks")
def test_results_are_of_one_call_after_kills_and_on_full_disks():
    script = Path(__file__).with_name("over_results.py")
    source = str(Path(__file__).parents[2] / "src")  # where Histomend is not installed
    words = ["--few", "1", "--verbs", "restore"]
    done = subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["faults"] == 0
    assert summary["tried"]["killed at random"] == 1
    assert summary["tried"]["a limit on files"] == 1
