"""Run hostile command lines, and say which were answered wrongly.

    python tests/attack/attack_lines.py --cases 1643       # the long run: `make attack`
    python tests/attack/attack_lines.py --only 77          # one line, with what it prints

Right is: it ends with 0 and what it promised, or with 2 and one message that names what was wrong,
or with 1 where `verify` says no; nothing that was there is changed unless it was to be replaced;
after a 2 nothing new is there, and nothing was computed. Each line runs in a process of its own,
forked from one that has imported everything, in a folder of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import os
import resource
import shutil
import stat
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from folder import build
from lines import line

SECONDS = 60
MEGABYTES = 3000
NOBODY = 65534
LARGE = 1 << 18


def snapshot(root: Path) -> dict[str, tuple[str, int]]:
    """Return hash and inode of each file, and folders, by name."""
    found: dict[str, tuple[str, int]] = {}
    for path in root.rglob("*"):
        name, about = str(path.relative_to(root)), path.lstat()
        if about.st_size > LARGE:
            found[name] = f"{about.st_size} {about.st_mtime_ns}", about.st_ino
        elif stat.S_ISREG(about.st_mode):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest(), about.st_ino
        else:
            found[name] = oct(stat.S_IFMT(about.st_mode)), 0
    return found


def run_line(words: list[str], root: Path, log: Path, *, rights: bool) -> dict[str, Any]:
    """Run a line in a folder; return its exit code, seconds, peak memory, and if it computed."""
    began = time.monotonic()
    marks = log.with_suffix(".computed")
    child = os.fork()
    if child == 0:
        _child(words, root, log, marks, rights)
    ended = None
    while ended is None:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            ended = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - began > 4 * SECONDS or _cpu_of(child) > SECONDS:
            os.kill(child, 9)
            os.wait4(child, 0)
            return {"code": "hung", "text": log.read_text(errors="replace")}
        else:
            time.sleep(0.01)
    return {
        "code": ended,
        "megabytes": usage.ru_maxrss // 1024,
        "computed": marks.exists(),
        "text": log.read_text(errors="replace"),
    }


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child(words: list[str], root: Path, log: Path, marks: Path, rights: bool) -> None:
    from histomend.cli import main
    from histomend.jobs import run as jobs

    real = jobs.run_stage

    def run_stage(*parts: Any) -> Any:
        Path(f"/proc/self/fd/{computed}").write_text("yes")
        marks_seen.append(1)
        return real(*parts)

    marks_seen: list[int] = []
    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    computed = os.open(marks.with_suffix(".flag"), os.O_CREAT | os.O_WRONLY, 0o666)
    jobs.run_stage = run_stage  # type: ignore[assignment]
    os.chdir(root)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30,) * 2)
    if rights:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    sys.argv = ["histomend", *words]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        sys.stderr.write(f"Traceback: {type(error).__name__}: {error}\n")
        code = 1
    finally:
        if marks_seen:
            os.ftruncate(computed, 1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wrong_with(
    words: list[str], told: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> list[str]:
    """Return what is wrong with an answer."""
    code, text = told["code"], told["text"]
    verb = words[0] if words else ""
    wrong = []
    if code not in (0, 2) and not (code == 1 and verb == "verify" and "Unexpected" not in text):
        wrong.append(f"ends with {code}")
    if "Traceback" in text or "Unexpected error" in text:
        wrong.append("an unexpected error")
    if told.get("megabytes", 0) > MEGABYTES:
        wrong.append(f"took {told['megabytes']} MB")
    changed = [name for name in before if after.get(name) != before[name]]
    allowed = _may_be_replaced(words) if code == 0 else set()
    wrong += [f"changed {name}" for name in changed if name not in allowed]
    new = sorted(set(after) - set(before))
    wrong += [f"left {name}" for name in new if ".part" in name]
    several = text.count("Error") > 1 or "files:" in text or verb in ("tiles", "train")
    if code == 2 and not several:
        wrong += [f"left {name}" for name in new[:3]]
        if told.get("computed") and "NaN" not in text:
            wrong.append("computed before it refused")
    folders = [name for name in new if after[name][0] == "0o40000"]
    empty = [name for name in folders if not any(n.startswith(f"{name}/") for n in after)]
    wrong += [f"left the empty folder {name}" for name in empty]
    if code == 2 and not text.strip():
        wrong.append("says nothing")
    return wrong


def _may_be_replaced(words: list[str]) -> set[str]:
    """Return the names that a line with --force may replace: those of its outputs."""
    if "--force" not in words and words[0] not in ("train", "tiles"):
        return set()
    pairs = list(itertools.pairwise(words))
    places = {word for option, word in pairs if option in ("-o", "--t-map", "--control-out")}
    read = {word for option, word in pairs if option == "--mask"}
    return {os.path.normpath(place) for place in places if place} - read


class Ground:
    """A folder that is built once, and copied for each line; weights by a second name."""

    def __init__(self, root: Path, seed: int):
        self.template = root / "template"
        build(self.template, Random(seed))  # noqa: S311
        self.root = root
        self.mutants = {
            path.name.partition("-")[0]: path.name for path in self.template.glob("mutant*")
        }
        self._made()

    def _made(self) -> None:
        """Restore an image, so that there is something to verify and to undo."""
        log = self.root / "made.log"
        words = ["restore", "a.png", "--mask", "m.png", "-o", "made.png", "--steps", "1"]
        told = run_line(words, self.template, log, rights=False)
        assert told["code"] == 0, told

    def copy(self, number: int) -> Path:
        """Return a fresh copy."""
        target = self.root / f"case{number}"

        def link(source: str, place: str) -> None:
            if stat.S_ISFIFO(os.lstat(source).st_mode):
                os.mkfifo(place)
            elif Path(source).stat().st_size > LARGE:
                os.link(source, place)
            else:
                shutil.copyfile(source, place)

        shutil.copytree(self.template, target, symlinks=True, copy_function=link)
        for path in [target, *target.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o777 if path.is_dir() else 0o666)
        (target / "shut").chmod(0)
        return target


def attack(seed: int, numbers: range, say: Any) -> tuple[Counter[str], int]:
    """Run lines, and tell each that was answered wrongly."""
    answers: Counter[str] = Counter()
    faults = 0
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        ground = Ground(Path(folder), seed)
        for number in numbers:
            draw = Random(f"{seed} rights {number}")  # noqa: S311
            rights = os.geteuid() == 0 and draw.random() < 0.15
            words = [ground.mutants.get(word, word) for word in line(seed, number)]
            root, log = ground.copy(number), Path(folder) / "log"
            before = snapshot(root)
            log.with_suffix(".flag").unlink(missing_ok=True)
            told = run_line(words, root, log, rights=rights)
            flag = log.with_suffix(".flag")
            told["computed"] = flag.exists() and flag.stat().st_size > 0
            wrong = wrong_with(words, told, before, snapshot(root))
            answers[str(told["code"])] += 1
            if wrong:
                faults += 1
                about = {"case": number, "words": words, "wrong": wrong, "rights": rights}
                say(json.dumps(about | {"text": told["text"][-600:]}))
            shutil.rmtree(root)
    return answers, faults


def _import_all() -> None:
    """Import what takes seconds, once for all lines."""
    import histomend.cli.app
    import histomend.curate.collection
    import histomend.methods.loading
    import histomend.train.run  # noqa: F401

    # What a process without rights could not import: Python's own files may be closed to it.
    for name in ("zoneinfo", "skimage.measure", "skimage.morphology", "scipy.ndimage", "rich.table",
                 "rich.progress", "openslide", "tiffslide", "accelerate", "imagecodecs",
                 "skimage.color", "skimage.filters", "rich.traceback", "multiprocessing.pool",
                 "torch._dynamo", "unicodedata", "encodings.idna", "xml.etree.ElementTree",
                 "torch.utils.data", "concurrent.futures.thread", "PIL.ImageCms",
                 "histomend.detect.threshold", "histomend.methods.decide", "stringprep",
                 "histomend.masks.other_tools", "histomend.image.display", "encodings.utf_16",
                 "encodings.utf_32", "encodings.utf_8_sig", "encodings.cp1252",
                 "email.mime.text"):  # fmt: skip
        with suppress(ImportError):
            importlib.import_module(name)


def main() -> int:
    """Run from the command line; 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1643)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    numbers = range(options.first, options.first + options.cases)
    if options.only is not None:
        numbers = range(options.only, options.only + 1)
        say(json.dumps(line(options.seed, options.only)))
    answers, faults = attack(options.seed, numbers, say)
    say(json.dumps({"cases": len(numbers), "answers": answers, "faults": faults}))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
