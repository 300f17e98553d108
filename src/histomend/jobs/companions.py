"""What lies beside an output: names that no two images share, and files that are never replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from histomend.errors import HistomendError, OutputError
from histomend.image.places import output_error
from histomend.image.reading import file_sha256
from histomend.jobs.inputs import MAPS, WITH_SLIDES
from histomend.ledger import Record

RECORD = "ledger.json"
"""The end of a record's name."""


def name_beside(image: Path, others: Iterable[Path] = ()) -> str:
    """Return what the names of an output's companions begin with.

    That is its stem, so that a.ledger.json lies beside a.png. Where it belongs, or may belong, to
    another image of the stem (a.tif), it is the whole name: a.png.ledger.json.

    Parameters
    ----------
    image : the output.
    others : outputs of the same call.
    """
    stem, whole = image.stem, image.name
    if _has_companions(image.parent, whole):
        return whole
    if any(other != image and other.parent == image.parent and other.stem == stem
           for other in others):  # fmt: skip
        return whole
    if not _has_companions(image.parent, stem):
        return stem
    twins = (image.with_suffix(suffix) for suffix in WITH_SLIDES)
    return whole if any(map(_may_own, (twin for twin in twins if twin != image))) else stem


def _may_own(twin: Path) -> bool:
    """Tell whether an image may be the one that companions named by the stem belong to."""
    return os.path.lexists(twin) and not _has_companions(twin.parent, twin.name)


def record_of(image: Path) -> Path:
    """Return the path of the record beside an image that is there."""
    own = image.with_name(f"{image.name}.{RECORD}")
    return own if os.path.lexists(own) else image.with_name(f"{image.stem}.{RECORD}")


def map_beside(image: Path, ending: str) -> Path:
    """Return the path of a map beside an image that is there, named as its record is."""
    return image.with_name(f"{record_of(image).name.removesuffix(RECORD)}{ending}")


def left_over(record: Path, maps: Mapping[str, Path]) -> tuple[list[Path], list[Path]]:
    """Return which files beside an output are not of the result that will be written there.

    Parameters
    ----------
    record : of the earlier result, if there is one.
    maps : files that are there and will not be written, by which map their name says they are.

    Returns
    -------
    list of Path
        Maps of the earlier result, as it wrote them: with it they should go.
    list of Path
        Others, which may be anybody's.
    """
    written: Mapping[str, str] = {}
    if maps and os.path.lexists(record):
        with suppress(HistomendError, OSError):
            written = Record.read(record).maps or {}
    ours: list[Path] = []
    others: list[Path] = []
    for name, path in maps.items():
        regular = path.is_file() and not path.is_symlink()
        own = regular and written.get(name) == file_sha256(path)
        (ours if own else others).append(path)
    return ours, others


def is_one_of(path: Path, others: Iterable[Path]) -> bool:
    """Tell whether a path is another name of one of several."""
    return _identity(path) in {_identity(other) for other in others}


def check_apart(
    sources: Iterable[Path], written: Iterable[Path], *, others: Mapping[Path, str] | None = None
) -> None:
    """Fail if something that is read would be replaced, or two things have one place.

    Parameters
    ----------
    sources : images that are read, whether they are there or not.
    written : files that are there or not.
    others : what else is read, and what it is: "the mask".

    Raises
    ------
    OutputError
    """
    read = {_identity(path): what for path, what in (others or {}).items()}
    read |= {_identity(path): "the source image" for path in sources}
    taken: set[object] = set()
    for path in written:
        identity = _identity(path)
        if identity in read:
            raise OutputError(f"{path}: is {read[identity]} itself. Choose another output.")
        if identity in taken:
            raise OutputError(f"{path}: is the output itself, or another's. Name another file.")
        taken.add(identity)


def _has_companions(folder: Path, name: str) -> bool:
    return any(os.path.lexists(folder / f"{name}.{ending}") for ending in (RECORD, *MAPS.values()))


def _identity(path: Path) -> object:
    """Return what is the same for all names of one file."""
    try:
        found = path.stat()
        return found.st_dev, found.st_ino
    except FileNotFoundError:
        return os.path.realpath(path)
    except OSError as error:
        raise output_error(path, error) from error
