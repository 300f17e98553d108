"""Processes killed at any moment: no part of a slide is ever seen under its final name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WORKER = """
import sys
from pathlib import Path
import numpy as np
from histomend.slides.appended import AppendedSlide

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
for number in range(1000):
    with AppendedSlide(source, folder / f"{number}.svs") as out:
        out.put((20, 30, 200, 120), np.full((120, 200, 3), 90, np.uint8), np.ones((120, 200), bool))
        out.finish({"Restored by": "tests"})
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_leaves_whole_slides_only(make_slide: Any, tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "a.svs")
    before = slide.read_bytes()
    rng = np.random.default_rng(3)
    seen: set[bytes] = set()
    for trial in range(4):
        folder = tmp_path / str(trial)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(slide), str(folder)], stdout=subprocess.PIPE
        ) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                if line == b"0\n":
                    break
            time.sleep(float(rng.uniform(0, 0.3)))
            worker.send_signal(signal.SIGKILL)
        whole = sorted(folder.glob("[0-9]*.svs"))
        seen |= {path.read_bytes() for path in whole}
        assert whole
        others = {path for path in folder.iterdir() if path not in whole}
        assert all(path.name.startswith(".") and path.suffix == ".part" for path in others)
    assert len(seen) == 1  # the same bytes every time, and nothing shorter
    assert slide.read_bytes() == before
