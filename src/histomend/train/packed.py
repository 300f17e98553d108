"""Tiles and what is made of them in one file, from which a training draws."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from histomend.image.places import kept_if_filled, output_error


@contextmanager
def packing(packed: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> Iterator[np.ndarray]:
    """Give an array to fill, which then is the file `packed` (.npy): whole, or not there."""
    # Two trainings may pack the same folder at once.
    partial = packed.with_suffix(f".{os.getpid()}.partial")
    with kept_if_filled(packed.parent), _whole(partial, packed):
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        _claim(partial)
        yield out
        out.flush()
        partial.replace(packed)


@contextmanager
def _whole(partial: Path, packed: Path) -> Iterator[None]:
    """Name what the machine refuses, and leave nothing that is only begun."""
    try:
        yield
    except OSError as error:
        raise output_error(packed, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _claim(path: Path) -> None:
    """Take the space of a file at once: a full disk kills whoever writes to a mapped file."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
