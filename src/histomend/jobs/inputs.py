"""Files that a verb works on: those that were named, and those in folders that were named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histomend.errors import InputError, MaskError
from histomend.image import settle
from histomend.image.reading import SLIDE_FILES
from histomend.masks import masks_beside
from histomend.slides.tile_folders import SUFFIXES as TILE_FOLDERS
from histomend.slides.tile_folders import is_tile_folder

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".avif", ".webp")
"""What is taken from a folder; a file named one by one may be of any kind that can be read."""
WITH_SLIDES = (*IMAGE_SUFFIXES, *(s for s in SLIDE_FILES if s != ".dcm"), *TILE_FOLDERS)
"""The same for verbs that take whole slides; of a folder of DICOM, each file is but a level."""
MAPS = {
    "mask": "mask.png",
    "uncertainty": "uncertainty.png",
    "t_map": "t-map.tif",
    "control": "control.png",
}
"""What may lie beside an output, by the names of `Result`: the end of its file's name."""
_OWN = tuple(f".{ending.partition('.')[0]}" for ending in MAPS.values())


def folder_name(image: Path) -> str:
    """Return what a folder for an image is called: its stem, where that is a name at all.

    The stem of "...png" is "..", the folder above.
    """
    return image.stem if image.stem.strip(".") else image.name


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder of images, rather than a slide that is one."""
    return path.is_dir() and not is_tile_folder(path)


def list_images(inputs: Sequence[Path], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the files among `inputs`, folders replaced by the images in them, by name.

    An image in a folder is known by its suffix, which is one of `suffixes`.

    Masks and uncertainty maps that Histomend wrote into such a folder are left out.

    Raises
    ------
    InputError
        If something is not there, or a folder holds no image.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder. Check the path.")
        if not is_folder(path):
            settle(path.parent)
            found.append(path)
            continue
        settle(path)
        images = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() in suffixes
            and not file.name.startswith(".")
            and not file.stem.endswith(_OWN)
        ]
        if not images:
            raise InputError(
                f"{path}: the folder holds no image ({', '.join(suffixes)}). "
                "Name another one, or single files."
            )
        found += images
    return found


def passed_over(inputs: Sequence[Path], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """Say what `list_images` leaves out of folders though somebody may have meant it."""
    said = []
    for folder in inputs:
        if not is_folder(folder):
            continue
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        folders = sum(path.is_dir() and path.suffix.lower() not in suffixes for path in inside)
        slides = sum(
            path.is_file()
            and path.suffix.lower() in SLIDE_FILES
            and path.suffix.lower() not in suffixes
            for path in inside
        )
        what = [
            f"{count} {kind}{'s' if count > 1 else ''}"
            for count, kind in ((folders, "subfolder"), (slides, "whole-slide file"))
            if count
        ]
        if what:
            said.append(f"{folder}: passed over {' and '.join(what)}. Name them to have them taken")
    return said


def with_masks(sources: Sequence[Path]) -> dict[Path, Path | None]:
    """Give each image the one mask that lies beside it, None where there is none.

    A mask of one of the images is no image.

    Raises
    ------
    MaskError
        If several lie beside one image.
    """
    found = {source: masks_beside(source) for source in sources}
    masks = {mask for several in found.values() for mask in several}
    for source, several in found.items():
        if len(several) > 1 and source not in masks:
            raise MaskError(
                f"{source}: {len(several)} masks lie beside it ({', '.join(map(str, several))}). "
                "Say which one counts: --mask FILE."
            )
    return {
        source: next(iter(several), None)
        for source, several in found.items()
        if source not in masks
    }
