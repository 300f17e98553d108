"""Finished parts of a long job on disk, so that one that was killed goes on where it was.

Nothing is believed that was not written completely: a part is a file that appears whole or not at
all, and holds its own checksums. A job with other inputs than those that the journal began with is
refused, and told what differs.

>>> with Journal(folder, {"source": sha256, "seed": 0}) as journal:
...     if not journal.has(key):
...         journal.put(key, {"pixels": pixels}, report)
...     arrays, report = journal.get(key)
...     journal.remove()                       # when all is done
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from histomend.errors import InUseError, JobError, OutputError
from histomend.image.replacing import write_atomically

Arrays = dict[str, npt.NDArray[Any]]
PLAN, LOCK = "plan.json", "lock"
"""Names in the folder: what the job is, and what the process that works in it holds."""
_WRITING, _FINISHED = "writing", "finished"
_REPORT = "report"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Journal:
    """What is finished of a job.

    Parameters
    ----------
    folder : Path
        Made if it is not there; one process works in it at a time.
    plan : dict of str to JSON values
        All that the result depends on, by names that a person understands.

    Raises
    ------
    InUseError
        Another process works on the job.
    JobError
        The journal is of one with another plan.
    OutputError
        The folder cannot be made or written.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
            self._lock = FileLock(folder / LOCK)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InUseError(
                f"{folder}: another process works on this job. Wait until it is done (--wait), or "
                "write to another output."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{folder}: the folder for finished parts cannot be written "
                f"({error.strerror or error}). Choose another output."
            ) from error
        try:
            self._begin(json.loads(json.dumps(plan)))
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _begin(self, plan: dict[str, Any]) -> None:
        # Left by a process that was killed while it wrote.
        for path in self.folder.glob("*.part"):
            if path.is_dir():  # an OME-Zarr
                shutil.rmtree(path)
            else:
                path.unlink()
        file = self.folder / PLAN
        if not file.exists():
            text = json.dumps(plan, indent=1, sort_keys=True)
            self._write(file, lambda out: _write(out, text.encode()))
            return
        try:
            before = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise JobError(
                f"{file}: is damaged. Remove the folder {self.folder} to begin anew."
            ) from error
        other = [
            f"{name} was {_short(before.get(name))} and is {_short(plan.get(name))}"
            for name in sorted(before.keys() | plan.keys())
            if before.get(name) != plan.get(name)
        ]
        if other:
            raise JobError(
                f"{self.folder}: holds finished parts of a job that is not this one: "
                f"{'; '.join(other)}. Go on with what it was, or remove that folder to begin anew."
            )

    def _write(self, place: Path, encode: Callable[[BinaryIO], None]) -> None:
        # Prepared here, where the next run clears up.
        write_atomically(place, encode, through=self.folder)

    def has(self, key: str) -> bool:
        """Tell whether a part is finished."""
        return self._place(key).exists()

    def put(self, key: str, arrays: Arrays, report: dict[str, Any]) -> None:
        """Keep a finished part.

        Parameters
        ----------
        key : str
        arrays : dict of str to array
        report : dict
            JSON values.

        Raises
        ------
        OutputError
            The disk is full.
        """
        text = np.frombuffer(json.dumps(report).encode(), np.uint8)
        held: dict[str, Any] = {**arrays, _REPORT: text}
        self._write(self._place(key), lambda file: np.savez_compressed(file, **held))

    def get(self, key: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Return a finished part; None if there is none, or it is damaged and has to be redone."""
        with suppress(*_DAMAGED), self._place(key).open("rb") as stored:
            with np.load(stored, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            report: dict[str, Any] = json.loads(arrays.pop(_REPORT).tobytes())
            return arrays, report
        return None

    def arrays(self, key: str, names: Sequence[str]) -> list[npt.NDArray[Any]] | None:
        """Return some arrays of a finished part, without reading the others; None as of `get`."""
        with (
            suppress(*_DAMAGED),
            self._place(key).open("rb") as stored,
            np.load(stored, allow_pickle=False) as file,
        ):
            return [file[name] for name in names]
        return None

    def begin_writing(self) -> None:
        """Note that the output is written from now on."""
        (self.folder / _WRITING).touch()

    @property
    def finished(self) -> bool:
        """Whether the output and its record were on the disk before this journal was removed."""
        return (self.folder / _FINISHED).exists()

    def remove(self) -> None:
        """Remove all of it, when the output and its record are on the disk.

        Whoever comes after a kill meanwhile is told that nothing is left to do.
        """
        _sync(self.folder.parent)
        with suppress(OSError):
            (self.folder / _FINISHED).touch()
            _sync(self.folder)
            last = (LOCK, _WRITING, _FINISHED, PLAN)  # that of another job is not finished
            for path in self.folder.iterdir():
                if path.name not in last:
                    path.unlink()
            self._lock.release()
            for name in last:
                (self.folder / name).unlink(missing_ok=True)
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def journal_of(output: Path) -> Path:
    """Return the folder of finished parts beside an output."""
    return output.with_name(f"{output.name}.journal")


def begun_writing(folder: Path) -> bool:
    """Tell whether the output of a job was being written: one that is there may be its own."""
    return (folder / _WRITING).exists() or (folder / _FINISHED).exists()


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _short(value: Any) -> str:
    text = "not there" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:12]}..."


def _sync(folder: Path) -> None:
    """Make sure that names in a folder are on the disk, where a folder can be opened for that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
