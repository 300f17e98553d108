"""How Ray is started on this machine, or found on others."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from histomend.errors import JobError, MissingDependencyError
from histomend.jobs.engines import usable_cores

_log = logging.getLogger(__name__)
_LOOPBACK = "127.0.0.1"


def import_ray() -> Any:
    """Return the module.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            '--engine ray needs Ray: pip install "histomend[ray]"'
        ) from error
    return ray


@contextmanager
def session(ray: Any, address: str | None, threads: int) -> Iterator[None]:
    """Connect to Ray, or start it on this machine.

    Parameters
    ----------
    ray : the module
    address : str or None
        Of a cluster; None to start one that this machine alone sees, which ends with the block.
    threads : int
        Processors that a worker needs.

    Raises
    ------
    JobError
        There is none at that address, or Ray would be open to the network.
    """
    if ray.is_initialized():  # by who called: theirs to end
        yield
        return
    with _logged(ray):
        yield from _own_session(ray, address, threads)


def _own_session(ray: Any, address: str | None, threads: int) -> Iterator[None]:
    quiet = {"log_to_driver": False, "configure_logging": False}
    if address is not None:
        try:
            _check_answers(address)
            ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise JobError(
                f"{address}: Ray does not answer there ({first_line(error)}). Is the cluster "
                "started, and of the same versions of Ray and Python?"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Names of sockets may have no more than some hundred characters.
    short = "/tmp" if os.name == "posix" else None  # noqa: S108
    folder = tempfile.mkdtemp(prefix="hm-", dir=short)
    try:
        with _private(ray):
            ray.init(
                address="local",
                num_cpus=max(threads, usable_cores()),
                include_dashboard=False,
                _node_ip_address=_LOOPBACK,
                _temp_dir=folder,
                **quiet,
            )
        try:
            if ray.util.get_node_ip_address() != _LOOPBACK:
                raise JobError(
                    "Ray would listen to the network. Start it yourself (ray start --head), and "
                    "name it: --ray-address auto."
                )
            yield
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_answers(address: str) -> None:
    """Fail if nobody listens at HOST:PORT, for which Ray would wait without end.

    Raises
    ------
    OSError, ValueError
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass


@contextmanager
def _logged(ray: Any) -> Iterator[None]:
    """Log what Ray would print, such as that a worker ended: a verb's answer may be JSON."""
    worker = ray._private.worker
    printing = worker.print_to_stdstream

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        _log.info("Ray: %s", " ".join(str(line) for line in data["lines"]))

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


@contextmanager
def _private(ray: Any) -> Iterator[None]:
    """Let Ray that starts listen to this machine only, ask for a token, and tell nobody."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        wanted["RAY_AUTH_TOKEN"] = os.environ.get("RAY_AUTH_TOKEN", _token())
    names = (*wanted, "RAY_AUTH_MODE")  # which Ray sets by itself, unless it is told
    before = {name: os.environ.get(name) for name in names}
    # Ray listens to all networks wherever it could be part of a cluster, whatever it is told.
    constants = ray._private.ray_constants
    clusters = constants.ENABLE_RAY_CLUSTER
    said = logging.getLogger("ray")
    level = said.level
    os.environ.update(wanted)
    constants.ENABLE_RAY_CLUSTER = False
    said.setLevel(logging.ERROR)
    try:
        yield
    finally:
        said.setLevel(level)
        constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@cache
def _token() -> str:
    """Return what connections must know; Ray reads it once in a process."""
    return secrets.token_hex(32)


def first_line(error: BaseException) -> str:
    """Return what an error says first, as those of Ray hold whole logs."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
