"""Work over an earlier result, and be killed or run out of space on the way.

    python tests/attack/over_results.py            # every touch of the disk: `make attack`
    python tests/attack/over_results.py --few 3    # three of each

Each verb writes over its own earlier result with --force, in a process that

- is killed (SIGKILL) at a touch of the disk, one after the other, or at a random moment;
- may write no file beyond a size (``ulimit -f``), or has a disk of its own that is nearly full.

Afterwards image, record and maps are all of the earlier call or all of the later one; where a
record belongs to them `verify` says so; of a call that ended by itself nothing else is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from histomend.image import settle, write_image
from histomend.masks import write_mask

_OF_THE_TIME = {"created", "checksum"}
RESULT = "out"
"""The folder into which the verbs write."""
VERBS = {
    "restore": ("restore a.png --mask m.png -o out/r.png --steps 1 --samples 2", "--seed 2"),
    "restore what is found": (
        "restore a.png --detect --detector threshold -o out/r.tif --steps 1 --max-share 1",
        "--seed 2",
    ),
    "denoise": ("denoise a.png -o out/d.tif --steps 1", "--seed 2"),
    "denoise, its map elsewhere": (
        "denoise a.png -o out/d.tif --steps 1 --t-map out/maps/t.tif",
        "--seed 2",
    ),
    "upscale": ("upscale a.png -o out/u.png --method bicubic --scale 2", "--scale 3"),
    "detect": (
        "detect a.png -o out/m.png --labels --overview",
        "--region 0,0,64,64",
    ),
    "simulate": ("simulate a.png -o out/s.png --kind ink", "--seed 2"),
}
"""Words of each verb, and what makes a later call another one."""


class Ground:
    """Results of an earlier and a later call of a verb, and copies of the earlier one to try on."""

    def __init__(self, root: Path, verb: str):
        words, later = VERBS[verb]
        self.root, self.verb, self.count = root, verb, 0
        self.old_words, self.words = words.split(), [*words.split(), *later.split(), "--force"]
        self.template = root / "template"
        self.template.mkdir(parents=True)
        _inputs(self.template)
        self._run_well(self.old_words, self.template)
        self.old = contents(self.template / RESULT)
        began = time.monotonic()
        copy = self.copy()
        self._run_well(self.words, copy)
        self.seconds = time.monotonic() - began
        self.new = contents(copy / RESULT)
        assert self.new.keys() == self.old.keys()
        assert self.new != self.old
        shutil.rmtree(copy)

    def copy(self, place: Path | None = None) -> Path:
        """Return a copy of the inputs and the earlier result."""
        self.count += 1
        copy = place or self.root / str(self.count)
        shutil.copytree(self.template, copy, dirs_exist_ok=True)
        return copy

    def _run_well(self, words: list[str], folder: Path) -> None:
        code, text = forked(words, folder)
        assert code == 0, text

    def wrong_after(self, folder: Path) -> str:
        """Return what is wrong with a result; nothing where it is whole."""
        if self.words[0] in ("restore", "denoise", "upscale"):
            image = self.words[self.words.index("-o") + 1]
            code, text = forked(["verify", image], folder)
            if code != 0:
                return f"verify ends with {code}: {text[-300:]}"
        # What was only prepared is cleared by whoever comes into its folder next.
        for place in (folder / RESULT, folder / RESULT / "maps"):
            settle(place)
        found = contents(folder / RESULT)
        if found in (self.old, self.new):
            return ""
        told = {name: _version(name, kept, self) for name, kept in found.items()}
        return f"mixed: {told}"


def _version(name: str, kept: str, ground: Ground) -> str:
    return {ground.old.get(name): "old", ground.new.get(name): "new"}.get(kept, "neither")


def _inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(150, 230, (96, 96, 3), np.uint8)
    pixels[20:40, 20:60] = 20  # something to be found
    write_image(folder / "a.png", pixels, mpp=0.5)
    mask = np.zeros((96, 96), bool)
    mask[30:50, 30:60] = True
    write_mask(folder / "m.png", mask)


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file in a folder, by its name; of a record without its time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name.endswith(".ledger.json"):
                told = json.loads(data)
                data = json.dumps([told[k] for k in sorted(told.keys() - _OF_THE_TIME)]).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def forked(
    words: list[str],
    folder: Path,
    before: Callable[[], None] | None = None,
    kill_after: float | None = None,
) -> tuple[int, str]:
    """Run the program on words in a fork; return how it ended, and what it said."""
    # A pipe, to which no limit on the size of files applies.
    listening, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listening)
        _child(words, folder, told, before)
    os.close(told)
    timer = threading.Timer(kill_after or 0, _kill, [child])
    if kill_after is not None:
        timer.start()
    with open(listening, "rb") as heard:  # noqa: PTH123  it has no path
        text = heard.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    timer.cancel()
    return code, text


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):  # it was faster
        os.kill(process, signal.SIGKILL)


def _child(words: list[str], folder: Path, told: int, before: Callable[[], None] | None) -> None:
    from histomend.cli import main

    code = 1
    try:
        os.dup2(told, 1)
        os.dup2(told, 2)
        os.chdir(folder)
        sys.argv = ["histomend", *words]
        if before is not None:
            before()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.stderr.write(f"Traceback: {type(error).__name__}: {error}\n")
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def dying_at(number: int, log: Path) -> Callable[[], None]:
    """Return what has a process killed before its n-th touch of the disk; `log` lists them."""
    touches = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}

    def begin() -> None:
        count = 0
        told = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

        def watch(event: str, words: tuple[Any, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(words[2], int) and words[2] & os.O_ACCMODE
            if not (writes or event in touches) or str(words[0]).startswith(("/dev", "/proc")):
                return
            count += 1
            os.write(told, f"{event} {words[0]}\n".encode("utf-8", "replace"))
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)

    return begin


def spread(numbers: list[int], few: int | None, seed: int) -> list[int]:
    """Return all numbers, or a few of them that are spread over the whole."""
    if few is None or few >= len(numbers):
        return numbers
    return sorted(Random(seed).sample(numbers, few))  # noqa: S311


def killed(ground: Ground, few: int | None, seed: int) -> Iterator[tuple[str, str]]:
    """Kill at touches of the disk, and at random; give each kill, and what was wrong after it."""
    log = ground.root / "log"
    copy = ground.copy()
    forked(ground.words, copy, dying_at(0, log))
    touches = log.read_text().splitlines()
    shutil.rmtree(copy)
    # The last moves are where it matters: a few kills are among them.
    first = 1 if few is None else max(1, len(touches) - 25)
    for at in spread(list(range(first, len(touches) + 1)), few, seed):
        copy = ground.copy()
        code, _ = forked(ground.words, copy, dying_at(at, log))
        assert code == -signal.SIGKILL, f"{code} at {at} of {len(touches)}"
        yield f"killed at {touches[at - 1].split()[0]}", ground.wrong_after(copy)
        shutil.rmtree(copy)
    draw = Random(seed)  # noqa: S311
    for _ in range(20 if few is None else 1):
        copy = ground.copy()
        forked(ground.words, copy, kill_after=draw.uniform(0, 1.1 * ground.seconds))
        yield "killed at random", ground.wrong_after(copy)
        shutil.rmtree(copy)


def limited(ground: Ground, few: int | None, seed: int) -> Iterator[tuple[str, str]]:
    """Allow no file beyond a size; give each, and what was wrong after it."""
    sizes = sorted({(ground.template / RESULT / name).stat().st_size for name in ground.old})
    wanted = sorted({max(1, size + more) for size in sizes for more in (-500, -1, 0, 1, 500)})
    for size in spread([*wanted, *range(1000, max(sizes), max(sizes) // 12)], few, seed):

        def limit(size: int = size) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        copy = ground.copy()
        code, text = forked(ground.words, copy, limit)
        yield "a limit on files", _refused_or_done(ground, copy, code, text)
        shutil.rmtree(copy)


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a disk of some size.

    Raises
    ------
    PermissionError
        Where that is not allowed.
    """
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise PermissionError(str(error)) from error
    if done.returncode:
        raise PermissionError(done.stderr.decode(errors="replace"))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607
        place.rmdir()


def on_full_disks(ground: Ground, few: int | None, seed: int) -> Iterator[tuple[str, str]]:
    """Leave a disk no more than some free space; give each, and what was wrong after it."""
    size = sum(path.stat().st_size for path in ground.template.rglob("*") if path.is_file())
    needed = size // 1024 + 64
    pages = list(range(0, needed // 2, max(4, needed // 60 // 4 * 4)))
    for free in spread(pages, few, seed):
        with small_disk(ground.root / "disk", 2 * needed) as disk:
            copy = ground.copy(disk / "work")
            room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 1024 * free
            (disk / "ballast").write_bytes(bytes(max(0, room)))
            code, text = forked(ground.words, copy)
            # Its answer first: what is looked at afterwards has room.
            (disk / "ballast").unlink()
            yield "a full disk", _refused_or_done(ground, copy, code, text)


def _refused_or_done(ground: Ground, copy: Path, code: int, text: str) -> str:
    expected = ground.old if code == 2 else ground.new
    if code not in (0, 2):
        return f"ends with {code}: {text[-300:]}"
    if code == 2 and not ("disk" in text or "space" in text):
        return f"does not say why: {text[-300:]}"
    hidden = [path.name for path in copy.rglob(".*")]
    if hidden:
        return f"left {hidden}"
    if contents(copy / RESULT) != expected:
        return "the result is not that of the call that was answered last"
    return ground.wrong_after(copy)


TRIALS = {"kills": killed, "limits": limited, "disks": on_full_disks}


def attack(
    trials: list[str], verbs: list[str], few: int | None, seed: int, say: Callable[[str], None]
) -> tuple[Counter[str], int]:
    """Try each verb; say what was wrong; return how often what was tried, and the faults."""
    tried: Counter[str] = Counter()
    faults = 0
    import histomend.cli.app
    import histomend.methods.loading  # noqa: F401  once for all forks

    for number, verb in enumerate(verbs):
        with tempfile.TemporaryDirectory() as folder:
            ground = Ground(Path(folder) / "ground", verb)
            for name in trials:
                try:
                    for what, wrong in TRIALS[name](ground, few, seed + number):
                        tried[what] += 1
                        if wrong:
                            faults += 1
                            say(json.dumps({"verb": verb, "after": what, "wrong": wrong}))
                except PermissionError as error:
                    tried[f"{name}: not allowed here ({error})"] += 1
    return tried, faults


def main() -> int:
    """Run from the command line; 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, help="so many of each kind alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--verbs", nargs="+", choices=list(VERBS), default=list(VERBS))
    options = parser.parse_args()

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    tried, faults = attack(options.trials, options.verbs, options.few, options.seed, say)
    say(json.dumps({"tried": tried, "faults": faults}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
