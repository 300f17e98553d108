"""Waiting for another process that works on the same output."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from histomend.errors import InUseError
from histomend.jobs.companions import record_of
from histomend.jobs.journal import LOCK, PLAN, journal_of

_SECONDS = 0.5
_Result = TypeVar("_Result")


class Awaited:
    """What another process does that may work on an output.

    Made before a job is decided, which takes its time: the other one may be done by then.

    Parameters
    ----------
    target : Path
        The output.
    tell : function of a text
        Called with what the user should know.
    """

    def __init__(self, target: Path, tell: Callable[[str], None]) -> None:
        self._target, self._folder, self._tell = target, journal_of(target), tell
        self._plan: Any = None
        self._begun = 0.0
        self._look()

    def _look(self) -> None:
        """Note what the job is that the other process works on; its journal will be gone."""
        plan = self._folder / PLAN
        with suppress(OSError, ValueError):
            self._plan, self._begun = json.loads(plan.read_text("utf-8")), plan.stat().st_mtime

    def carried_out(
        self,
        plan: Mapping[str, Any],
        work: Callable[[], _Result],
        found: Callable[[], _Result],
    ) -> _Result:
        """Do some work when nobody else works on the output, unless its result is there then.

        Parameters
        ----------
        plan : dict
            Of the journal of this job.
        work, found : function
            Give the result: anew, or as it is there.

        Raises
        ------
        HistomendError
            Of `work` and `found`.
        """
        told = False
        while not self._is_done(plan):
            try:
                return work()
            except InUseError:
                if not told:
                    self._tell(f"{self._target}: another process works on it, which is waited for")
                    told = True
                self._wait()
        self._tell(f"{self._target}: is there, made by another process from the same inputs")
        return found()

    def _is_done(self, plan: Mapping[str, Any]) -> bool:
        """Tell whether the job that was seen is this one, and its result is there."""
        if self._plan is None or self._plan != json.loads(json.dumps(plan)):
            return False
        if (self._folder / PLAN).exists():  # at work, or killed
            return False
        with suppress(OSError):
            return self._target.exists() and record_of(self._target).stat().st_mtime >= self._begun
        return False

    def _wait(self) -> None:
        """Return when the journal is gone, or nobody works in it."""
        while self._folder.is_dir():
            self._look()
            lock = FileLock(self._folder / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                time.sleep(_SECONDS)
                continue
            except OSError:  # it went meanwhile
                return
            try:
                if not (self._folder / PLAN).exists():  # asking for the lock made it once more
                    shutil.rmtree(self._folder, ignore_errors=True)
            finally:
                lock.release()
            return
