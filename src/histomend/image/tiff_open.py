"""The one way in which a TIFF is opened: followed first, then parsed, its failures named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    ResourceError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.tiff_chain import Layout, check_chain

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What these libraries log of a damaged file stands in our message already. A program that sets up
# logging of its own still gets it.
for _name in ("tifffile", "imagecodecs", "tiffslide", "PIL"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@contextmanager
def open_tiff(
    path: Path, *, slide: bool = False
) -> Iterator[tuple[tifffile.TiffFile, Layout | None]]:
    """Open a TIFF whose pages are whole; whatever decoding raises becomes one of our errors.

    Other files that its description names are never opened. With the file comes what was found
    of its pages, which is None for NDPI; that is opened as a `slide` only.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, MissingDependencyError, ResourceError
    """
    layout = check_chain(path)
    if layout is None and not slide:
        raise UnsupportedImageError(
            f"{path}: this is a whole slide (Hamamatsu NDPI), of which only regions are read. Save "
            "the part that is wanted as PNG or TIFF."
        )
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            yield file, layout
    except HistomendError:
        raise
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to decode the image") from error
    except Exception as error:  # decoders raise anything on damaged bytes
        if "imagecodecs" in str(error):
            raise MissingDependencyError(
                f"{path}: this kind of TIFF needs imagecodecs: pip install imagecodecs"
            ) from error
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UnreadableImageError:
    """Return what to raise when decoding a TIFF failed."""
    return UnreadableImageError(
        f"{path}: the TIFF data are truncated or damaged ({error}). Copy or export the file again."
    )
