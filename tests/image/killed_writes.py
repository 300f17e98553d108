"""Write sets of files, and be killed at each touch of the disk; say what is left.

A process of its own, as it forks for each kill: `python killed_writes.py FOLDER`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from histomend.image.replacing import FileSet, settle, write_atomically

# Every way in which the disk is touched.
STEPS = (
    (Path, "open"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "rmdir"),
    (os, "link"), (os, "fsync"), (os, "open"), (os, "unlink"), (os, "rmdir"),
)  # fmt: skip


def write(folder: Path, version: str, *, force: bool = True, map_in: Path | None = None) -> None:
    """Write three files that say of which version they are; beside an old one lies a mask, too."""
    mask = folder / "a.mask.png"
    with FileSet(force=force) as files:
        if version == "old":
            write_atomically(files.place(mask), lambda file: file.write(version.encode()))  # type: ignore[arg-type,return-value]
        elif mask.exists():
            files.remove(mask)
        for target in places(folder, map_in):
            write_atomically(files.place(target), lambda file: file.write(version.encode()))  # type: ignore[arg-type,return-value]


def places(folder: Path, map_in: Path | None = None) -> tuple[Path, ...]:
    return folder / "a.ledger.json", (map_in or folder) / "a.t-map.tif", folder / "a.tif"


def versions(folder: Path, map_in: Path | None = None) -> set[str | None]:
    found = {path.read_text() if path.exists() else None for path in places(folder, map_in)}
    if (mask := folder / "a.mask.png").exists():
        return found | {mask.read_text()}
    return found | {None} if "old" in found else found


@contextmanager
def failing(at: int, how: Callable[[], Any]) -> Iterator[list[int]]:
    """Do `how` in place of the n-th touch of the disk; give how many there were."""
    count = [0]
    patches = []
    for owner, name in STEPS:
        real = getattr(owner, name)
        if name == "fsync":  # a kill of a process loses nothing that was written

            def real(_: int) -> None:
                return None

        def step(*words: Any, _real: Any = real, **options: Any) -> Any:
            count[0] += 1
            if count[0] == at:
                how()
            return _real(*words, **options)

        patches.append(mock.patch.object(owner, name, step))
    for patch in patches:
        patch.start()
    try:
        yield count
    finally:
        for patch in patches:
            patch.stop()


def killed(at: int, work: Callable[[], None]) -> bool:
    """Do some work in a process that ends at the n-th touch of the disk; return whether it did."""
    child = os.fork()
    if child == 0:
        with failing(at, lambda: os._exit(9)):
            work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def after_kills(root: Path, before: str | None, *, elsewhere: bool) -> Iterator[dict[str, Any]]:
    """Give what each kill left, until one comes too late.

    Parameters
    ----------
    before : the version that is there already, if one is.
    elsewhere : whether one of the files goes to another folder.
    """
    for at in range(1, 200):
        folder = root / str(at)
        map_in = folder / "maps" if elsewhere else None
        (map_in or folder).mkdir(parents=True)
        if before:
            write(folder, before, map_in=map_in)
        ended = killed(at, lambda f=folder, m=map_in: write(f, "new", map_in=m))  # type: ignore[misc]
        # The one who comes next may look at the map first, or at the record.
        settle(map_in if map_in is not None and at % 2 else folder)
        found = versions(folder, map_in)
        settle(folder)
        settle(map_in or folder)
        left = [str(path) for path in folder.rglob("*") if path.name.startswith(".")]
        yield {"at": at, "ended": ended, "versions": list(found), "left": left}
        if not ended:
            return


if __name__ == "__main__":
    cases = [(before, elsewhere) for before in ("old", None) for elsewhere in (False, True)]
    told = [
        {"before": before, "kills": list(after_kills(Path(sys.argv[1], str(n)), before,
                                                     elsewhere=elsewhere))}
        for n, (before, elsewhere) in enumerate(cases)
    ]  # fmt: skip
    sys.stdout.write(json.dumps(told))
