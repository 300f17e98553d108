"""Images and z-stacks that were denoised, back into files of the kind that they came from.

A TIFF is written page by page as its source was: order, type, compression, tiles, resolution and
descriptions (OME-XML among them) are taken over, and only the values are new.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import tifffile
from PIL.PngImagePlugin import PngInfo

from histomend.errors import SettingError
from histomend.image.ome_names import lacks_ome, ome_of
from histomend.image.reading import content_kind
from histomend.image.replacing import write_atomically
from histomend.image.signals import MOST_CHANNELS
from histomend.image.stack_reading import read_stack
from histomend.image.stacks import Stack
from histomend.image.tiff_like import write_like
from histomend.image.writing import BIG_TIFF, check_output, write_image

__all__ = ["read_stack", "write_stack"]

_SOFTWARE = "Histomend"


def write_stack(
    path: Path | str,
    stack: Stack,
    *,
    note: str | None = None,
    lossy: bool = False,
    force: bool = False,
) -> None:
    """Write an image or a stack; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        .tif or .tiff, or .png for a single image of one or three channels. A TIFF from a TIFF is
        laid out as that is; its compression becomes deflate if it was lossy.
    stack : Stack
        As `read_stack` gave it, with new values.
    note : str or None
        Stored in the file's metadata, beside what stands there already.
    lossy : bool
        Accept JPEG, for a single RGB image.
    force : bool
        Replace an existing file; never the source.

    Raises
    ------
    SettingError
        A format that cannot hold the stack.
    OutputError
    """
    path, stack = Path(path), stack.together()
    check_output(path, force=force, lossy=lossy, source=stack.source)
    source, suffix = stack.source, path.suffix.lower()
    like = source if source is not None and content_kind(source) == "TIFF" else None
    if suffix not in (".tif", ".tiff"):
        check_picture(path, stack)
    samples = _samples(stack)
    # A TIFF of a picture is laid out as that of any other verb; arrays keep their axes.
    if samples == MOST_CHANNELS and (
        suffix not in (".tif", ".tiff") or (source is not None and like is None)
    ):
        values = np.repeat(stack.values[0], samples // stack.channels, axis=2)
        write_image(
            path, values, alpha=stack.alpha, mpp=stack.mpp, icc=stack.icc, note=note,
            lossy=lossy, force=force, orientation=stack.orientation,
        )  # fmt: skip
        return

    def encode(file: BinaryIO) -> None:
        if suffix == ".png":
            _write_grey_png(file, stack, note)
        elif like is not None and stack.region is None and not lacks_ome(path, like):
            write_like(file, stack, like, path.name, note)
        else:
            _write_fresh(file, stack, path, note)

    write_atomically(path, encode)


def _samples(stack: Stack) -> int:
    """Return how many samples a pixel has in a file: three also where all of them are equal."""
    return MOST_CHANNELS if stack.axes.grey else stack.channels


def check_picture(path: Path, stack: Stack) -> None:
    """Fail if a file that is no TIFF could not hold a stack.

    Raises
    ------
    SettingError
    """
    planes, channels, dtype = len(stack.values), _samples(stack), stack.values.dtype
    grey = "" if path.suffix.lower() == ".png" else " (JPEG of three)"
    if planes > 1 or channels == 2 or dtype.kind == "f" or (grey and channels == 1):
        raise SettingError(
            f"{path}: PNG holds one image of one or three channels in 8 or 16 bits{grey}, and this "
            f"is {planes} planes of {channels} in {dtype}. Write .tif."
        )


def _write_grey_png(file: BinaryIO, stack: Stack, note: str | None) -> None:
    dpi = None if stack.mpp is None else (25_400 / stack.mpp,) * 2
    text = PngInfo()
    text.add_text("Software", _SOFTWARE)
    if note:
        text.add_itxt("Comment", note)
    picture = PIL.Image.fromarray(stack.values[0, ..., 0])
    picture.save(file, "PNG", dpi=dpi, pnginfo=text, icc_profile=stack.icc)


def _write_fresh(file: BinaryIO, stack: Stack, path: Path, note: str | None) -> None:
    """Write what did not come from a TIFF, with its axes named for other readers."""
    values = stack.axes.to_original(stack.values)
    samples = _samples(stack)
    colour = samples == MOST_CHANNELS
    letters = stack.axes.letters
    if colour and letters.endswith("C"):
        letters = letters[:-1] + "S"
    per_cm = None if stack.mpp is None else (10_000 / stack.mpp,) * 2
    ome = ome_of(path, values, stack.mpp, note, letters)
    big = values.nbytes > BIG_TIFF
    with tifffile.TiffWriter(file, bigtiff=big, ome=ome is not None) as writer:
        writer.write(
            values,
            photometric="rgb" if colour and letters.endswith("S") else "minisblack",
            planarconfig="contig" if letters[-1] in "CS" and samples > 1 else None,
            compression="zlib",
            predictor=True,
            resolution=per_cm,
            resolutionunit=None if per_cm is None else "CENTIMETER",
            software=_SOFTWARE,
            iccprofile=stack.icc,
            extratags=[(274, 3, 1, stack.orientation, False)] if stack.orientation != 1 else [],
            metadata=ome or {"axes": letters, **({"note": note} if note else {})},
            maxworkers=1,
        )
