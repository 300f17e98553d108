"""Damage files of every kind by structure, and see what the readers answer.

Each case has a number, and the same seed and number give the same file again:

    python tests/attack/fuzz_readers.py --cases 20000          # the long run: `make attack`
    python tests/attack/fuzz_readers.py --only 1234            # one case, with its traceback

Right is an image, or a `HistomendError` that names the file, within time and memory, with nothing
printed and the file as it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mutations import mutated
from seeds import SHAPE, seeds

from histomend.errors import HistomendError, ResourceError
from histomend.image import read_image
from histomend.image.stack_reading import read_stack
from histomend.image.tile_reading import read_tile
from histomend.masks import load_mask
from histomend.slides.scans import open_scan

SECONDS = 20.0
MEGABYTES = 1500


def _scan(path: Path) -> None:
    with open_scan(path, source_mpp=0.5) as scan:
        mpp = scan.mpp_near(2 * scan.mpp)
        width, height = scan.size_at(mpp)
        scan.read((0, 0, min(16, width), min(16, height)), mpp)


READERS: dict[str, Callable[[Path], Any]] = {
    "image": read_image,
    "region": lambda path: read_image(path, region=(8, 8, 64, 64)),
    "stack": read_stack,
    "stack of 3": lambda path: read_stack(path, channels=3),
    "mask": lambda path: load_mask(path, SHAPE),
    "mask by class": lambda path: load_mask(path, SHAPE, classes=["2", "Fold"]),
    "tile": read_tile,
    "grey tile": lambda path: read_tile(path, grey=True),
    "scan": _scan,
}


def case(files: list[tuple[str, bytes]], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a case."""
    draw = random.Random(f"{seed} {number}")  # noqa: S311
    name, data = draw.choice(files)
    return name, mutated(name, data, draw)


def answered(path: Path, reader: str, noise: Path) -> tuple[str, str]:
    """Let a reader have a file; return its answer, and what is wrong with that."""
    before, started, printed = path.read_bytes(), time.process_time(), noise.stat().st_size
    answer, wrong = "read", ""
    try:
        READERS[reader](path)
    except HistomendError as error:
        answer = type(error).__name__
        if isinstance(error, ResourceError) or path.name not in str(error):
            wrong = f"{answer}: {error}"
    except BaseException as error:
        answer = "fault"
        place = traceback.extract_tb(error.__traceback__)[-1]
        wrong = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
    if not wrong and noise.stat().st_size > printed:
        wrong = f"printed {noise.read_bytes()[printed:][:200]!r}"
    if not wrong and path.read_bytes() != before:
        wrong = "the file was changed"
    # Of the processor: a loaded machine is no fault of the reader.
    if not wrong and time.process_time() - started > SECONDS:
        wrong = f"took {time.process_time() - started:.0f} s"
    return answer, wrong


def _work(pipe: Connection, folder: Path, seed: int, start: int, stop: int) -> None:
    noise = folder / "noise"
    noise.touch()
    with noise.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    files = seeds()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(start, stop):
        name, data = case(files, seed, number)
        path = folder / name
        path.write_bytes(data)
        readers = ("mask", "mask by class") if name.endswith("json") else tuple(READERS)
        for reader in readers:
            pipe.send((number, name, reader, None, ""))
            answer, wrong = answered(path, reader, noise)
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if not wrong and now - peak > 1024 * MEGABYTES:
                wrong = f"took {(now - peak) // 1024} MB more memory"
            peak = max(now, peak)
            pipe.send((number, name, reader, answer, wrong))
        path.unlink()
    pipe.send(None)


def run(cases: int, seed: int, first: int = 0) -> tuple[Counter[str], int]:
    """Try cases, in a process that may die or hang, and print each fault.

    Returns
    -------
    answers : how often each was given
    faults : how many answers were wrong
    """
    answers: Counter[str] = Counter()
    faults = 0

    def fault(now: tuple[Any, ...], wrong: str) -> None:
        nonlocal faults
        faults += 1
        say(json.dumps({"case": now[0], "file": now[1], "reader": now[2], "wrong": wrong}))

    number, stop = first, first + cases
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        while number < stop:
            mine, theirs = context.Pipe()
            worker = context.Process(
                target=_work, args=(theirs, Path(folder), seed, number, stop), daemon=True
            )
            worker.start()
            theirs.close()
            now: tuple[Any, ...] = (number, "", "", None, "")
            try:
                while mine.poll(30 * SECONDS) and (message := mine.recv()) is not None:
                    now = message
                    if now[3] is None:
                        continue
                    answers[now[3]] += 1
                    if now[4]:
                        fault(now, now[4])
                else:
                    if worker.is_alive() and now[3] is None:
                        raise EOFError
                    number = stop
            except EOFError:
                worker.kill()
                worker.join()
                died = "hung" if worker.exitcode == -9 else f"died of signal {worker.exitcode}"
                answers[died] += 1
                fault(now, died)
                number = now[0] + 1
            worker.join()
    return answers, faults


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line; 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    if options.only is not None:
        name, data = case(seeds(), options.seed, options.only)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            for reader in READERS:
                say(f"--- {reader}")
                try:
                    say(str(READERS[reader](path)))
                except Exception:
                    traceback.print_exc()
        return 0
    answers, faults = run(options.cases, options.seed, options.first)
    say(json.dumps({"cases": options.cases, "answers": answers, "faults": faults}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
