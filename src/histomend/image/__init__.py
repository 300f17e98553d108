"""Images in and out of files: pixels, physical size, intensity, and what files may hold."""

from histomend.image.pixels import (
    FINEST_MPP,
    MAX_PIXELS,
    MIN_SIDE,
    Frame,
    Image,
    Intensity,
    bands,
    check_mpp,
    check_region,
    check_rgb,
    pixels_sha256,
)
from histomend.image.places import make_folder
from histomend.image.png import decode_deep_png, encode_png
from histomend.image.rasters import open_picture
from histomend.image.reading import as_image, content_kind, read_image
from histomend.image.regular_files import check_regular_file, read_at_most
from histomend.image.replacing import FileSet, settle, write_atomically
from histomend.image.tile_reading import read_tile
from histomend.image.writing import (
    check_output,
    check_target,
    write_image,
    write_text,
)

__all__ = [
    "FINEST_MPP",
    "MAX_PIXELS",
    "MIN_SIDE",
    "FileSet",
    "Frame",
    "Image",
    "Intensity",
    "as_image",
    "bands",
    "check_mpp",
    "check_output",
    "check_region",
    "check_regular_file",
    "check_rgb",
    "check_target",
    "content_kind",
    "decode_deep_png",
    "encode_png",
    "make_folder",
    "open_picture",
    "pixels_sha256",
    "read_at_most",
    "read_image",
    "read_tile",
    "settle",
    "write_atomically",
    "write_image",
    "write_text",
]
