"""What took time is kept on disk: restored images, and figures.

A run that was stopped goes on where it was, and a new measure needs no restoration. Keys hold the
version of Histomend, and figures that of their measure: what another version made is not used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

import histomend

Pixels = npt.NDArray[np.uint8]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """What a row made of a field.

    Attributes
    ----------
    pixels : (H, W, C) uint8
    seconds : float
        Of processor time: on one thread, what it takes on a machine that does nothing else.
    nfe : float
        Network calls, mean over tiles.
    t : float or None
        Mean of the map of t, where the method has one.
    """

    pixels: Pixels = field(repr=False)
    seconds: float
    nfe: float
    t: float | None = None


class Named(Protocol):
    """A degraded image; its name is told in the log."""

    @property
    def name(self) -> str: ...


F = TypeVar("F", bound=Named, contravariant=True)


class Restores(Protocol[F]):
    """A way to restore a field, which is a row of a table."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """What rows are compared by: ours, or what they are compared with."""
        ...

    def key(self, field: F) -> str:
        """Return a hash of what the result depends on; empty: it is not kept."""
        ...

    def restore(self, field: F) -> Restored:
        """Restore a field."""
        ...


class Lines:
    """Records by their key, in a file of JSON lines that grows.

    A line that a killed run left half-written is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            self._write("\n")  # the half-written line stays one of its own
        for line in text.splitlines():
            try:
                record = json.loads(line)
                self.known[record.pop("key")] = record
            except (ValueError, KeyError, AttributeError):
                continue

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record."""
        self.known[key] = record
        self._write(json.dumps({"key": key, **record}) + "\n")

    def _write(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)


class Store:
    """Restored fields on disk: each a PNG, and a line of JSON in ``records.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = Lines(folder / "records.jsonl")

    def restored(self, row: Restores[F], fields: Sequence[F]) -> list[Restored]:
        """Return what a row makes of each field, restoring only what is not on disk."""
        return [self._one(row, field) for field in fields]

    def _one(self, row: Restores[F], field: F) -> Restored:
        known = row.key(field)
        if not known:
            return row.restore(field)
        key = digest(histomend.__version__, known)
        picture = self.folder / f"{key}.png"
        found = self.records.known.get(key)
        if found is not None and picture.exists():
            pixels = np.asarray(Image.open(picture))
            pixels = pixels[..., None] if pixels.ndim == 2 else pixels
            return Restored(pixels, found["seconds"], found["nfe"], found["t"])
        made = row.restore(field)
        squeezed = made.pixels[..., 0] if made.pixels.shape[2] == 1 else made.pixels
        Image.fromarray(squeezed).save(picture)
        told = {name: value for name, value in asdict(made).items() if name != "pixels"}
        self.records.add(key, {"row": row.name, "field": field.name, **told})
        calls = f"{made.seconds:.1f} s, {made.nfe:.0f} calls"
        _log.info("%s: %s %s", row.name, field.name, calls)
        return made


def digest(*parts: Any) -> str:
    """Return a hash of values that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pixels_digest(pixels: npt.NDArray[Any]) -> str:
    """Return a hash of an image's bytes, without its shape."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def files_digest(place: Path) -> str:
    """Return a hash of the weights in a file or a folder.

    Configs and cards are left out: what a card says may change after figures were made.
    """
    files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file())
    found = hashlib.sha256()
    for file in files:
        if file.suffix not in (".json", ".md"):
            found.update(file.name.encode())
            found.update(file.read_bytes())
    return found.hexdigest()
