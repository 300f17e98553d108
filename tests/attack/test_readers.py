"""A few seconds of the fuzzer of all readers; `make attack` runs it for long."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_damaged_files_get_a_named_error_within_time_and_memory():
    script = Path(__file__).with_name("fuzz_readers.py")
    command = [sys.executable, str(script), "--cases", "400", "--seed", "1"]
    source = str(Path(__file__).parents[2] / "src")  # where Histomend is not installed
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["faults"] == 0
    # Not all damage is deadly: some of it must have gone through to the decoders.
    assert summary["answers"]["read"] > 100
    assert summary["answers"]["UnreadableImageError"] > 100
