"""Kill a process that restores a slide at random moments, and see whether all ends well.

    python tests/attack/kill_slides.py --kills 50 --slide SLIDE --mask MASK [--assembly] [--zarr]

A job is begun, killed with SIGKILL, begun again, and so on until it is done; that is a trial. Every
trial has to end in the bytes of a job that nobody killed, with nothing else left behind, and no
file may ever be seen under the final name that is not these bytes. Most of a job's time goes into
its parts: with --assembly it is killed at random moments of the rest, when all are finished. With
--zarr an OME-Zarr is written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from histomend.slides.tile_folders import slide_sha256

# The first job runs here, so that all is imported; each of the others in a fork, which is killed.
# One thread, as a fork has no threads but its own.
SERVER = """
import json, os, sys
from histomend import restore_slide
from histomend.tiles import slide_plan

slide_plan.BLOCK_PX = int(sys.argv[1])

def work(wish):
    files = (wish.pop("slide"), wish.pop("output"), wish.pop("mask"))
    restore_slide(*files, **wish)

work(json.loads(sys.stdin.readline()))
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try:
            work(json.loads(line))
            code = 0
        except BaseException as error:
            code = 2 if type(error).__name__ == "OutputError" else 1
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Server:
    """Runs jobs in processes of their own, which can be killed."""

    def __init__(self, block_px: int, first: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(block_px)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(first) + "\n")
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(
        self, wish: dict[str, Any], kill_after: float | None = None, *, since: Path | None = None
    ) -> int:
        """Run a job; return its exit code, -9 if it was killed.

        Parameters
        ----------
        kill_after : float or None
            Seconds.
        since : Path or None
            They count from when this file is made or touched.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        touched = _touched(since)
        process.stdin.write(json.dumps(wish) + "\n")
        child = int(process.stdout.readline())
        ended = threading.Event()
        if kill_after is not None:
            killing = (child, kill_after, lambda: since is None or _touched(since) != touched)
            threading.Thread(target=_kill, args=(*killing, ended)).start()
        code = int(process.stdout.readline())
        ended.set()
        return code


def _touched(file: Path | None) -> int:
    """Return when a file was touched; 0 if there is none."""
    with suppress(OSError):
        return 0 if file is None else file.stat().st_mtime_ns
    return 0


def _kill(process: int, after: float, begun: Callable[[], bool], ended: threading.Event) -> None:
    while not begun():
        if ended.wait(0.001):
            return
    if not ended.wait(after):
        with suppress(ProcessLookupError):  # it was faster
            os.kill(process, signal.SIGKILL)


def _timed(server: Server, wish: dict[str, Any], since: Path | None) -> float:
    """Return how long a job takes, since a file is there."""
    begun, ended = [time.monotonic()], threading.Event()

    def watch() -> None:
        while since is not None and not since.exists():
            if ended.wait(0.001):
                return
        begun[0] = time.monotonic()

    watching = threading.Thread(target=watch)
    watching.start()
    assert server.run(wish) == 0
    takes = time.monotonic() - begun[0]
    ended.set()
    watching.join()
    return takes


def journal_of(output: Path) -> Path:
    """Return the folder of finished parts beside an output."""
    return output.with_name(f"{output.name}.journal")


def phase(folder: Path, output: Path) -> str:
    """Tell from what lies there what a job was doing when it was killed."""
    journal = journal_of(output)
    if output.exists():
        return "after the output was in place"
    if not (journal / "plan.json").exists():
        return "before the first part"
    if (journal / "writing").exists():
        return "while the output was written"
    return "among the parts"


def trials(
    kills: int,
    wish: dict[str, Any],
    folder: Path,
    *,
    seed: int = 0,
    block_px: int = 1024,
    assembly: bool = False,
    suffix: str | None = None,
) -> Iterator[tuple[Counter[str], int]]:
    """Kill a job until it was killed often enough; give the phases and the kills of each trial.

    Parameters
    ----------
    assembly : bool
        Kill it once all parts are finished.
    suffix : str or None
        Of the output; by default that of the slide.

    Raises
    ------
    AssertionError
        A trial ended in other bytes, or left something behind.
    """
    suffix = suffix or Path(wish["slide"]).suffix
    (folder / "whole").mkdir()
    whole = folder / "whole" / f"out{suffix}"
    rng = np.random.default_rng(seed)
    with Server(block_px, {**wish, "output": str(whole)}) as server:
        again = folder / "whole" / f"again{suffix}"
        since = journal_of(again) / "writing" if assembly else None
        takes = _timed(server, {**wish, "output": str(again)}, since)
        expected = slide_sha256(whole)
        left, number = kills, 0
        while left > 0:
            number += 1
            here = folder / str(number)
            here.mkdir()
            output, phases, done = here / whole.name, Counter[str](), 0
            while left > 0:
                since = journal_of(output) / "writing" if assembly else None
                after = rng.uniform(0, 1.05 * takes)
                code = server.run({**wish, "output": str(output)}, after, since=since)
                if code == 0:
                    break
                if code == 2:  # killed when at most the folder of the journal was left to remove
                    assert output.exists()
                    assert {path.name for path in journal_of(output).glob("*")} <= {"plan.json"}
                    shutil.rmtree(journal_of(output), ignore_errors=True)
                    break
                assert code == -signal.SIGKILL
                phases[phase(here, output)] += 1
                left, done = left - 1, done + 1
                if output.exists():
                    assert slide_sha256(output) == expected
            if not (output.exists() and not (here / f"{output.name}.journal").exists()):
                assert server.run({**wish, "output": str(output)}) == 0
            assert slide_sha256(output) == expected
            assert sorted(path.name for path in here.iterdir()) == ["out.ledger.json", output.name]
            shutil.rmtree(here)  # of large slides there would be many
            yield phases, done


def main() -> None:
    """Print how many kills there were in each phase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--assembly", action="store_true")
    parser.add_argument("--zarr", action="store_true")
    parser.add_argument("--steps", type=int, help="draw what is masked, in so many steps")
    chosen = parser.parse_args()
    total: Counter[str] = Counter()
    wish = {"slide": chosen.slide, "mask": chosen.mask, "device": "cpu"}
    if chosen.steps is not None:
        wish |= {"preset": "generate", "steps": chosen.steps}
    with tempfile.TemporaryDirectory() as name:
        options = {"seed": chosen.seed, "block_px": chosen.block, "assembly": chosen.assembly}
        options["suffix"] = ".zarr" if chosen.zarr else None
        found = trials(chosen.kills, wish, Path(name), **options)
        count = 0
        for phases, _ in found:
            total += phases
            count += 1
    said = [
        f"{sum(total.values())} kills in {count} trials, each ended in the bytes of one unkilled"
    ]
    said += [f"  {kills:3} {name}" for name, kills in total.most_common()]
    sys.stdout.write("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
