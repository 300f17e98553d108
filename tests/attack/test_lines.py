"""A few of the hostile command lines; `make attack` runs all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")
def test_hostile_command_lines_end_with_0_or_2_and_leave_nothing():
    script = Path(__file__).with_name("attack_lines.py")
    source = str(Path(__file__).parents[2] / "src")  # where Histomend is not installed
    done = subprocess.run(
        [sys.executable, str(script), "--cases", "10", "--seed", "1"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["faults"] == 0
    assert summary["answers"]["2"] > 3
