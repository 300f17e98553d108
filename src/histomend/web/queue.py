"""Jobs one after the other in the background, kept in a file so that a new start goes on."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from histomend.errors import HistomendError, JobError, LedgerError
from histomend.image.places import make_folder
from histomend.image.writing import write_text
from histomend.jobs.progress import Advance

FILE_NAME = "histomend-queue.json"
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
_STATES = (WAITING, RUNNING, DONE, FAILED, CANCELLED)
_log = logging.getLogger(__name__)


class CancelledError(Exception):
    """Raised out of the progress of a job that is no longer wanted."""


@dataclass(frozen=True)
class Entry:
    """One job of the queue.

    Parameters
    ----------
    number : int
    task : "restore", "denoise" or "upscale"
    source, output : str
        Files.
    command : str
        The line that does the same.
    mask : str or None
    region : list of four int, or None
    whole : bool
        Whether a whole slide is written.
    options : dict
        Of `histomend.methods.decide.decide`.
    state : str
    done, of : int
        Parts that are done, and parts in all; 0 until it is known.
    error : str
        Why it failed.
    created : str
        UTC.
    """

    number: int
    task: str
    source: str
    output: str
    command: str
    mask: str | None = None
    region: tuple[int, int, int, int] | None = None
    whole: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    state: str = WAITING
    done: int = 0
    of: int = 0
    error: str = ""
    created: str = ""

    @property
    def open(self) -> bool:
        """Whether it is still to be done."""
        return self.state in (WAITING, RUNNING)


Work = Callable[[Entry, Advance], None]


class Queue:
    """Does jobs one after the other in a thread of its own.

    Parameters
    ----------
    folder : Path
        Of the results, in which the queue's file lies; created with the first job.
    work : function of (job, progress)
        Does a job. Its progress raises `CancelledError` when the job is not wanted any more.
    """

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.version = folder, 0
        self._work = work
        self._changed = threading.Condition()
        self._entries: list[Entry] = _kept(folder / FILE_NAME)
        self._unwanted: set[int] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def entries(self) -> list[Entry]:
        """All jobs, the first one first."""
        with self._changed:
            return list(self._entries)

    def start(self) -> None:
        """Begin to work, with what an earlier run did not finish."""
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the present part of a job; it waits for the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def add(self, entry: Entry) -> Entry:
        """Put a job at the end, and return it with its number.

        Raises
        ------
        OutputError
            The queue cannot be written to its folder.
        """
        make_folder(self.folder)
        with self._changed:
            number = 1 + max((known.number for known in self._entries), default=0)
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            added = replace(entry, number=number, created=now)
            self._entries.append(added)
            try:
                self._keep()
            except HistomendError:
                self._entries.pop()
                raise
            self._tell()
        return added

    def cancel(self, number: int) -> Entry:
        """Take a job back; one that is being done ends with its present part.

        Raises
        ------
        JobError
            It does not exist, or is finished.
        """
        with self._changed:
            entry = self._find(number)
            if not entry.open:
                raise JobError(f"Job {number} is {entry.state} and cannot be cancelled any more.")
            if entry.state == RUNNING:
                self._unwanted.add(number)
                return entry
            return self._set(number, state=CANCELLED)

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Wait until something changed since the version that was seen; return the version now."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != seen, timeout)
            return self.version

    def _find(self, number: int) -> Entry:
        found = next((entry for entry in self._entries if entry.number == number), None)
        if found is None:
            raise JobError(f"There is no job {number}.")
        return found

    def _set(self, number: int, **values: Any) -> Entry:
        with self._changed:
            place = self._entries.index(self._find(number))
            self._entries[place] = replace(self._entries[place], **values)
            if "state" in values:
                try:
                    self._keep()
                except HistomendError as error:  # the job goes on; only a new start would not know
                    _log.warning("%s", error)
            self._tell()
            return self._entries[place]

    def _tell(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def _keep(self) -> None:
        kept = [asdict(replace(entry, done=0, of=0)) for entry in self._entries]
        text = json.dumps({"histomend_queue": 1, "jobs": kept}, indent=1)
        write_text(self.folder / FILE_NAME, text + "\n", force=True)

    def _next(self) -> Entry | None:
        with self._changed:
            while not self._closed:
                waiting = [entry for entry in self._entries if entry.state == WAITING]
                if waiting:
                    return self._set(waiting[0].number, state=RUNNING)
                self._changed.wait()
            return None

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            number = entry.number

            def advance(done: int, of: int, number: int = number) -> None:
                if self._closed or number in self._unwanted:
                    raise CancelledError
                self._set(number, done=done, of=of)

            try:
                self._work(entry, advance)
                self._set(number, state=DONE)
            except CancelledError:
                # Closed is not taken back: it waits for the next start.
                wanted = number not in self._unwanted
                self._set(number, state=WAITING if wanted else CANCELLED, done=0, of=0)
            except Exception as error:
                named = isinstance(error, HistomendError)
                if not named:
                    _log.exception("job %s", number)
                self._set(
                    number,
                    state=FAILED,
                    error=str(error) if named else f"{type(error).__name__}: {error}",
                )


def _kept(path: Path) -> list[Entry]:
    """Read the queue of an earlier run; what was being done then is waiting again.

    Raises
    ------
    JobError
        The file is damaged.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = [Entry(**{**job, "region": _region(job)}) for job in found["jobs"]]
        for entry in entries:
            if entry.state not in _STATES or not isinstance(entry.number, int):
                raise LedgerError(f"{entry.state!r} is no state of a job")
    except (OSError, ValueError, TypeError, KeyError, LedgerError, RecursionError) as error:
        raise JobError(
            f"{path}: the queue of an earlier run cannot be read ({error}). Move the file away to "
            "begin with an empty one, or name another folder: -o FOLDER."
        ) from error
    return [replace(entry, state=WAITING) if entry.state == RUNNING else entry for entry in entries]


def _region(job: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Return the region of a job, which JSON holds as a list."""
    if job.get("region") is None:
        return None
    x, y, w, h = (int(number) for number in job["region"])
    return x, y, w, h
