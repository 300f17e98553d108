"""Units of slides on Ray: on this machine, or on all machines of a cluster.

Each worker holds the job with its model, opens the slide itself, and gives back what became of
the units that it is asked for. What is finished is kept in the journal, and put together, by the
process that asked, so workers need to see the slide and nothing else. Ray starts a worker that
ended anew, and asks it once more.

>>> with RayEngine() as engine:                  # or RayEngine("head:6379")
...     execute_slide(job, engine=engine)
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any

import imagecodecs
import numpy as np
import torch

import histomend
from histomend.errors import JobError, SettingError
from histomend.jobs.engines import given_threads
from histomend.jobs.ray_session import first_line, import_ray, session
from histomend.jobs.slide_engine import Begin, Earlier, Finished, Work
from histomend.slides.copying import bytes_sha256, open_slide_file
from histomend.slides.tile_folders import description_of, is_tile_folder
from histomend.slides.whole import open_slide

_PATIENCE_S = 300
"""How long the first worker may take: PyTorch on a slow shared disk takes a minute."""
_TRIES = 3
"""How often a unit is asked for again whose worker ended."""
_JOBS = 2
"""Jobs that a worker keeps open."""
_ENDS = 1 << 20


class RayEngine:
    """Workers on Ray.

    Parameters
    ----------
    address : str or None
        Of a cluster (``head:6379``, or ``auto`` on one of its machines). Without one, and unless
        Ray runs in this process already, Ray is started on this machine, seen by nobody else, and
        ends with the block.
    device : str
        What workers compute on, as of the jobs.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    JobError
        The cluster cannot be reached, has no room, or runs other versions.
    SettingError
        The device is one of several.
    """

    def __init__(self, address: str | None = None, device: str = "auto") -> None:
        if device.startswith("cuda:"):
            raise SettingError(
                f"--device {device}: with --engine ray each worker gets a graphics card from Ray. "
                "Say --device cuda."
            )
        self._ray = import_ray()
        self._address, self._device = address, device
        self._threads = given_threads()
        self._open = ExitStack()
        self._idle: Queue[Any] = Queue()
        self._wrong: list[str] = []
        self._ended = False

    def __enter__(self) -> RayEngine:
        with ExitStack() as opened:
            opened.enter_context(session(self._ray, self._address, self._threads))
            count = self._room()
            self._pool = opened.enter_context(ThreadPoolExecutor(count))
            self._workers = [self._worker() for _ in range(count)]
            opened.callback(self._end)
            greeting = ThreadPoolExecutor(count)
            opened.callback(greeting.shutdown, wait=False, cancel_futures=True)
            for worker in self._workers:
                greeting.submit(self._greet, worker)
            self._wait()
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def ahead(self) -> int:
        """How many units of a job are to be begun at a time."""
        return 2 * len(self._workers)

    @property
    def workers(self) -> int:
        """How many units are worked on at a time."""
        return len(self._workers)

    @contextmanager
    def serving(self, job: Any, work: Work) -> Iterator[Begin]:
        """Give what begins units of a job; see `SlideEngine`."""
        if self._ended:
            raise JobError(f"{job.path}: the workers have ended already.")
        key = secrets.token_hex(8)
        path = Path(job.path).absolute()
        held = [self._ray.put(_Order(job, work, path, _fingerprint(path), self._threads))]
        asked: list[Future[Finished]] = []

        def begin(
            unit: Any, earlier: Earlier, then: Callable[[Finished], None]
        ) -> Future[Finished]:
            future = self._pool.submit(self._done, key, held, unit, earlier, then)
            asked.append(future)
            return future

        try:
            yield begin
        finally:
            for future in asked:
                future.cancel()
            for future in asked:
                if not future.cancelled():
                    future.exception()

    def _done(
        self,
        key: str,
        held: list[Any],
        unit: Any,
        earlier: Earlier,
        then: Callable[[Finished], None],
    ) -> Finished:
        """Have a unit worked on by the next worker that is free."""
        worker = self._idle.get()
        try:
            found: Finished = self._ray.get(worker.work.remote(key, held, unit, earlier))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise JobError(
                f"{unit.key}: its worker ended, {_TRIES + 1} times ({first_line(error)}). What is "
                "finished is kept: the same command goes on. If memory was short, give each worker "
                "more, or use fewer."
            ) from error
        finally:
            self._idle.put(worker)
        then(found)
        return found

    def _room(self) -> int:
        """Return how many workers the machines have room for."""
        count, most = 0, 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                cores = int(has.get("CPU", 0))
                most = max(most, cores)
                fits = cores // self._threads
                count += min(fits, int(has.get("GPU", 0))) if self._on_gpu() else fits
        if not count:
            what = " and a graphics card" if self._on_gpu() else ""
            raise JobError(
                f"No machine of Ray has {self._threads} processors{what} for a worker; the largest "
                f"has {most} processors. A worker gets as many as PyTorch would use here: set "
                "OMP_NUM_THREADS to fewer."
            )
        return count

    def _on_gpu(self) -> bool:
        return self._device == "cuda" or (self._device == "auto" and torch.cuda.is_available())

    def _worker(self) -> Any:
        return (
            self._ray.remote(_Worker)
            .options(
                num_cpus=self._threads,
                num_gpus=1 if self._on_gpu() else 0,
                max_restarts=-1,
                max_task_retries=_TRIES,
            )
            .remote()
        )

    def _greet(self, worker: Any) -> None:
        """Let a worker that has begun, and is of these versions, take units."""
        try:
            found = self._ray.get(worker.versions.remote())
        except self._ray.exceptions.RayError as error:
            self._wrong.append(f"it does not start ({first_line(error)})")
            return
        own = _versions()
        other = [f"{name} {found[name]} in place of {own[name]}" for name in own]
        other = [text for text, name in zip(other, own, strict=True) if found[name] != own[name]]
        if other:
            self._wrong.append("it has " + ", ".join(other))
        else:
            self._idle.put(worker)

    def _wait(self) -> None:
        """Wait for the first worker."""
        for _ in range(_PATIENCE_S):
            with suppress(Empty):
                self._idle.put(self._idle.get(timeout=1))
                return
            if len(self._wrong) == len(self._workers):
                break
        why = f"{self._wrong[0]}" if self._wrong else "the machines may be busy with other work"
        raise JobError(
            f"No worker of Ray could begin in {_PATIENCE_S} s: {why}. All machines need Histomend, "
            "PyTorch and imagecodecs of the versions of this one."
        )

    def _end(self) -> None:
        self._ended = True
        for worker in self._workers:
            with suppress(Exception):  # it may have ended
                self._ray.kill(worker)


@dataclass(frozen=True)
class _Order:
    """What a worker has to know of a job."""

    job: Any
    work: Work
    path: Path
    fingerprint: str
    threads: int


class _Worker:
    """Works on units in a process of its own."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[_Order, Any, ExitStack]] = OrderedDict()

    def versions(self) -> dict[str, str]:
        """Return what the bytes of results depend on."""
        return _versions()

    def work(self, key: str, held: list[Any], unit: Any, earlier: Earlier) -> Finished:
        """Work on a unit of a job."""
        order, slide = self._opened(key, held)
        # As many threads as there: another number rounds differently.
        torch.set_num_threads(order.threads)
        return order.work(order.job, slide, unit, earlier)

    def _opened(self, key: str, held: list[Any]) -> tuple[_Order, Any]:
        if key not in self._open:
            order: _Order = import_ray().get(held[0])
            if _fingerprint(order.path) != order.fingerprint:
                raise JobError(
                    f"{order.path}: is another file on {platform.node()} than where the command "
                    "was given. The folder of the slide must be shared between the machines."
                )
            with ExitStack() as opened:
                about = order.job.source
                slide = opened.enter_context(
                    open_slide(order.path, mpp=about.mpp, sha256=about.sha256)
                )
                self._open[key] = order, slide, opened.pop_all()
            while len(self._open) > _JOBS:
                self._open.popitem(last=False)[1][2].close()
        self._open.move_to_end(key)
        return self._open[key][:2]


def _fingerprint(path: Path) -> str:
    """Return what tells two slides apart, from their size and ends."""
    with open_slide_file(description_of(path) if is_tile_folder(path) else path) as file:
        size = os.fstat(file.fileno()).st_size
        ends = bytes_sha256(file, 0, _ENDS) + bytes_sha256(file, max(0, size - _ENDS))
    return hashlib.sha256(f"{size} {ends}".encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {
        "Histomend": histomend.__version__,
        "PyTorch": str(torch.__version__),
        "imagecodecs": str(imagecodecs.__version__),
        "NumPy": str(np.__version__),
    }
