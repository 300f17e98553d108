"""Files that belong together: all of them replace the earlier ones, or none does.

What is to be written is prepared in a folder ``.histomend.part`` beside its place, and moved when
all of it is complete. A set of several files is moved as a journal says, which the next call that
meets it follows to the end: so no kill leaves the image of one call with the record of another.
A failure while files are moved puts the earlier ones back.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from histomend.errors import HistomendError, OutputError
from histomend.image.places import exists_already, make_folder, output_error

try:
    import fcntl
except ImportError:  # not on Windows: what a kill leaves there stays
    fcntl = None  # type: ignore[assignment]

STAGES = ".histomend.part"
"""The folder in which files are prepared; it goes when the last of them has."""
_NEW, _OLD, _JOURNAL, _LEAD = "new", "old", "journal.json", "lead"


class FileSet:
    """Files that appear at their places together, at the end of the block, or not at all.

    Parameters
    ----------
    force : bool
        Files that exist may be replaced.

    Raises
    ------
    OutputError
        A file exists (and not `force`), also if another process was faster; or it cannot be
        written. Then everything is as it was, folders that were made for the files included.

    Examples
    --------
    >>> with FileSet(force=True) as files:                                       # doctest: +SKIP
    ...     record.write(files.place(Path("out/a.ledger.json")))
    ...     write_image(files.place(Path("out/a.png")), pixels)
    """

    def __init__(self, *, force: bool):
        self._force = force
        self._token = secrets.token_hex(6)
        self._targets: list[Path] = []
        self._leaving: list[Path] = []
        self._held: dict[Path, int | None] = {}  # folders with a stage, and what holds it
        self._made: list[Path] = []

    def __enter__(self) -> FileSet:
        return self

    def place(self, target: Path) -> Path:
        """Return where to write what shall become `target`. The one named last appears last.

        Raises
        ------
        OutputError
        """
        try:
            if target.is_dir():
                raise OutputError(f"{target}: is a folder. Give the name of a file.")
            if not self._force and _is_there(target):
                raise exists_already(target)
            self._made += make_folder(target.parent)
            self._prepare(target.parent)
        except OSError as error:
            raise output_error(target, error) from error
        self._targets.append(target)
        return self._new(target)

    def remove(self, path: Path) -> None:
        """Have a file that belongs to an earlier set go, when the files of this one appear.

        Raises
        ------
        OutputError
        """
        try:
            self._prepare(path.parent)
        except OSError as error:
            raise output_error(path, error) from error
        self._leaving.append(path)

    def _prepare(self, folder: Path) -> None:
        if folder not in self._held:
            self._held[folder] = _stage(folder, self._token)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        done = False
        try:
            if error is None:
                self._move()
                done = True
            elif isinstance(error, HistomendError):
                # Whoever wrote knows the place in the stage only.
                text = str(error)
                for target in self._targets:
                    text = text.replace(str(self._new(target)), str(target))
                for folder in self._held:
                    new = folder / STAGES / self._token / _NEW
                    text = text.replace(str(new), str(folder))
                if text != str(error):
                    raise type(error)(text) from error
        finally:
            self._end_stages(done=done)
            if not done:
                for folder in reversed(self._made):
                    with suppress(OSError):
                        folder.rmdir()

    def _end_stages(self, *, done: bool) -> None:
        """Clear up, the folder with the journal last: it leads whoever comes after a kill."""
        last = self._targets[-1].parent if self._targets else None
        if not done and last is not None:  # what it says must not be followed
            with suppress(OSError):
                (last / STAGES / self._token / _JOURNAL).unlink(missing_ok=True)
        for folder in sorted(self._held, key=lambda folder: folder == last):
            _end(folder / STAGES / self._token, self._held[folder])

    def _new(self, target: Path) -> Path:
        return target.parent / STAGES / self._token / _NEW / target.name

    def _move(self) -> None:
        if not self._targets:
            return
        last = self._targets[-1]
        stage = last.parent / STAGES / self._token
        try:
            with _alone_in(last.parent):
                for target in self._targets:
                    if not self._force and _is_there(target):
                        raise exists_already(target)
                if len(self._targets) + len(self._leaving) > 1:
                    for folder in self._held:
                        if folder != last.parent:
                            lead = folder / STAGES / self._token / _LEAD
                            _write_synced(lead, json.dumps(str(last.parent.resolve())))
                    _write_synced(stage / f"{_JOURNAL}.part", self._journal(last.parent))
                    (stage / f"{_JOURNAL}.part").replace(stage / _JOURNAL)
                self._replace_all()
        except OSError as error:
            raise output_error(last, error) from error

    def _journal(self, folder: Path) -> str:
        """Return where the files go: names in the folder itself, whole paths elsewhere.

        What leaves is named with what tells it from a file that somebody puts there later.
        """

        def name(path: Path) -> str:
            return path.name if path.parent == folder else str(path.parent.resolve() / path.name)

        leaving = [[name(path), *_about(path)] for path in self._leaving if _is_there(path)]
        return json.dumps([*map(name, self._targets), *leaving])

    def _replace_all(self) -> None:
        begun: list[Path] = []
        several = len(self._targets) + len(self._leaving) > 1
        try:
            for target in self._targets:
                begun.append(target)
                if several and _is_there(target):
                    _keep(target, self._old(target))
                self._new(target).replace(target)
            for path in self._leaving:
                with suppress(FileNotFoundError):
                    path.replace(self._old(path))
        except BaseException:
            for path in self._leaving:
                with suppress(OSError):
                    self._old(path).replace(path)
            for target in reversed(begun):
                new, old = self._new(target), self._old(target)
                with suppress(OSError):
                    if not _is_there(new):
                        target.replace(new)
                    if _is_there(old):
                        old.replace(target)
            raise

    def _old(self, target: Path) -> Path:
        return target.parent / STAGES / self._token / _OLD / target.name


def settle(folder: Path) -> None:
    """Follow the journals that killed calls left in a folder, and clear up behind them.

    Where it is not allowed, or another process is at work, nothing is done.
    """
    stages = folder / STAGES
    with suppress(OSError):
        for lead in stages.glob(f"*/{_LEAD}"):
            other = json.loads(lead.read_text(encoding="utf-8"))
            if isinstance(other, str) and Path(other) != folder:
                settle(Path(other))
        if fcntl is not None and stages.is_dir():
            with _alone_in(folder):
                _clear(folder)


def write_atomically(
    path: Path, encode: Callable[[BinaryIO], None], *, through: Path | None = None
) -> None:
    """Write a file that appears complete or not at all.

    Parameters
    ----------
    path : Path
    encode : function that writes to a binary file
    through : Path, optional
        A folder on the same file system in which to prepare it, whose owner clears it up.

    Raises
    ------
    OutputError
        If the disk is full or the file cannot be written; nothing is left behind.
    """
    if path.parent.name == _NEW and path.parents[2].name == STAGES:
        _encode(path, encode)  # a place in a set, which appears with it
        return
    if through is not None:
        prepared = through / f"{secrets.token_hex(6)}.part"
        try:
            _encode(prepared, encode, called=path)
            prepared.replace(path)
        except OSError as error:
            raise output_error(path, error) from error
        finally:
            with suppress(OSError):
                prepared.unlink(missing_ok=True)
        return
    with FileSet(force=True) as files:
        _encode(files.place(path), encode)


def _encode(path: Path, encode: Callable[[BinaryIO], None], *, called: Path | None = None) -> None:
    try:
        with path.open("w+b") as file:
            encode(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise output_error(called or path, error) from error


def _stage(folder: Path, token: str) -> int | None:
    """Make a place to prepare files in, and return what shows others that it is in use."""
    settle(folder)
    with _alone_in(folder):
        stage = folder / STAGES / token
        for kind in (_NEW, _OLD):
            (stage / kind).mkdir(parents=True)
        return _hold(stage)


def _end(stage: Path, held: int | None) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    with suppress(OSError):  # others are at work in it
        stage.parent.rmdir()
    if held is not None:
        os.close(held)


def _hold(stage: Path) -> int | None:
    """Lock a folder, and return its descriptor; None where that cannot be done.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    """
    if fcntl is None:
        return None
    descriptor = os.open(stage, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process moves files in a folder."""
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):  # a folder that may not be listed, a file system without locks
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _clear(folder: Path) -> None:
    """Finish and remove the stages that nobody holds."""
    for stage in (folder / STAGES).iterdir():
        try:
            held = _hold(stage)
        except OSError:  # in use, or nothing of ours
            continue
        if held is not None:
            with suppress(OSError):
                for other in _follow(stage, folder):
                    _end(other, None)
                _end(stage, None)
            os.close(held)
    with suppress(OSError):
        (folder / STAGES).rmdir()


def _follow(stage: Path, folder: Path) -> list[Path]:
    """Move what a journal says and was not moved yet; return stages that are done elsewhere."""
    try:
        targets = json.loads((stage / _JOURNAL).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    others: list[Path] = []
    for entry in targets if isinstance(targets, list) else []:
        name, *about = entry if isinstance(entry, list) and entry else [entry]
        target = folder / str(name)
        if about and _is_there(target) and _about(target) == about:
            target.unlink()
        there = target.parent / STAGES / stage.name
        new = there / _NEW / target.name
        if new.is_file():
            new.replace(target)
        if target.parent != folder and there.is_dir():
            others.append(there)
    return others


def _keep(target: Path, old: Path) -> None:
    """Keep a file under a second name, so that it can be put back."""
    try:
        os.link(target, old)
    except OSError:  # no such links on this file system
        target.replace(old)


def _about(path: Path) -> list[int]:
    found = path.lstat()
    return [found.st_ino, found.st_mtime_ns]


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
