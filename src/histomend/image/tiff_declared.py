"""Sizes that the description of a TIFF declares, checked before any library makes room for them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from histomend.errors import UnreadableImageError
from histomend.image.tiff_chain import Layout

_MOST_LABELS = 1 << 16  # of a further axis (OME's Modulo)


def check_declared(file: tifffile.TiffFile, layout: Layout | None, path: Path) -> None:
    """Fail if OME-XML or ImageJ's description tells of far more planes than there are.

    Raises
    ------
    UnreadableImageError
    """
    pages = len(file.pages) if layout is None else layout.pages + layout.below
    if file.is_ome:
        try:
            # Expat bounds how far entities may expand.
            root = ElementTree.fromstring(file.ome_metadata or "")  # noqa: S314
        except ElementTree.ParseError:
            return  # read as a file without a description
        _check_ome(root, pages * int(file.pages.first.samplesperpixel), path)
    elif file.is_imagej:
        said = file.imagej_metadata or {}
        counts = [int(said.get(name, 1)) for name in ("channels", "slices", "frames")]
        planes = max(int(said.get("images", 1)), math.prod(counts))
        first = file.pages.first
        # ImageJ leaves out pages whose values follow the first one's without a gap.
        if planes > max(pages, file.filehandle.size // max(1, int(first.nbytes)) + 1):
            raise missing_planes(path, f"{planes:,} planes")


def _check_ome(root: Any, planes: int, path: Path) -> None:
    declared = 0
    for element in root.iter():
        tag = element.tag.rsplit("}")[-1] if isinstance(element.tag, str) else ""
        said = element.attrib
        if tag == "Pixels":
            declared += math.prod(int(said.get(f"Size{axis}", 1)) for axis in "ZCT")
            if declared > planes:
                raise missing_planes(path, f"{declared:,} planes")
        elif tag == "TiffData":
            for name in ("IFD", "PlaneCount", "NumPlanes"):
                if not 0 <= int(said.get(name, 0)) <= planes:
                    raise missing_planes(path, f"{name}={said[name]}")
        elif tag.startswith("ModuloAlong") and "Start" in said:
            length = float(said.get("End", 0)) - float(said["Start"])
            step = float(said.get("Step", 1))
            if not (step and 0 <= length / step <= _MOST_LABELS):
                raise missing_planes(path, f"a further axis of {length:g} in steps of {step:g}")


def missing_planes(path: Path, declared: str) -> UnreadableImageError:
    """Return what to raise where a description tells of more than the file holds."""
    return UnreadableImageError(
        f"{path}: the description speaks of {declared}, but some of the planes are missing, or are "
        "in other files. Export the stack to one file again."
    )
