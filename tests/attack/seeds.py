"""Small sound files of every kind that is read, for the fuzzer to damage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import tifffile
from PIL import PngImagePlugin

SIDE = 96
SHAPE = (80, SIDE)


def _light(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    smooth = np.add.outer(np.arange(shape[-2]), np.arange(shape[-1])) / (shape[-1] + shape[-2])
    values = (smooth + np.random.default_rng(0).uniform(0, 0.1, shape)) / 1.2
    return (values * top).astype(dtype)


def _rgb(dtype: Any = np.uint8) -> np.ndarray:
    return np.moveaxis(_light(3, *SHAPE, dtype=dtype), 0, -1)


def _tiff(values: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def _picture(values: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    picture = PIL.Image.fromarray(values)
    (picture.convert(mode) if mode else picture).save(out, kind, **options)
    return out.getvalue()


def _pyramid() -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out, ome=True) as writer:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "compression": "jpeg"}
        writer.write(np.kron(_rgb(), np.ones((2, 2, 1), np.uint8)), subifds=1, **options)
        writer.write(_rgb(), subfiletype=1, **options)
    return out.getvalue()


def _tiffs() -> Iterator[tuple[str, bytes]]:
    colour: dict[str, Any] = {"photometric": "rgb"}
    for compression in (
        None,
        "zlib",
        "lzw",
        "packbits",
        "lzma",
        "zstd",
        "jpeg",
        "jpeg2000",
        "webp",
    ):
        yield f"rgb-{compression}.tif", _tiff(_rgb(), compression=compression, **colour)
    tiles = {"tile": (32, 48), "compression": "zlib", "predictor": True}
    yield "tiles.tif", _tiff(_rgb(), **tiles, **colour)
    yield "tiles-jpeg.tif", _tiff(_rgb(), tile=(32, 32), compression="jpeg", **colour)
    yield "big.tif", _tiff(_rgb(), bigtiff=True, byteorder=">", **tiles, **colour)
    yield "deep.tif", _tiff(_rgb(np.uint16), compression="zlib", **colour)
    apart = np.moveaxis(_rgb(), -1, 0)
    yield "apart.tif", _tiff(apart, planarconfig="separate", **colour)
    grey: dict[str, Any] = {"photometric": "minisblack"}
    yield "float.tif", _tiff(_light(3, *SHAPE, dtype=np.float32), metadata=None, **grey)
    yield "shaped.tif", _tiff(_light(2, 3, *SHAPE), metadata={"axes": "ZCYX"}, **grey)
    yield "white.tif", _tiff(_light(*SHAPE), photometric="miniswhite")
    yield (
        "imagej.tif",
        _tiff(_light(3, 2, *SHAPE), imagej=True, metadata={"axes": "ZCYX", "unit": "um"}),
    )
    named = {"axes": "ZCYX", "PhysicalSizeX": 0.5}
    yield "ome.tif", _tiff(_light(3, 2, *SHAPE), ome=True, metadata=named, **grey)
    yield "pyramid.ome.tif", _pyramid()
    yield "one-bit.tif", _tiff(_light(*SHAPE) > 90, **grey)
    table = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    yield "palette.tif", _tiff(_light(*SHAPE), photometric="palette", colormap=table)
    aperio = "Aperio Image Library v1\n96x80 (32x32) Q=70|AppMag = 20|MPP = 0.5"
    yield (
        "aperio.svs",
        _tiff(
            _rgb(), tile=(32, 32), compression="jpeg", description=aperio, metadata=None, **colour
        ),
    )


def _pictures() -> Iterator[tuple[str, bytes]]:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "tissue " * 9, zip=True)
    rgb, grey = _rgb(), _light(*SHAPE)
    yield "rgb.png", _picture(rgb, "PNG", dpi=(50_800, 50_800), pnginfo=info)
    yield "rgba.png", _picture(rgb, "PNG", "RGBA", icc_profile=bytes(300))
    yield "grey.png", _picture(grey, "PNG")
    yield "grey-alpha.png", _picture(grey, "PNG", "LA")
    yield "grey16.png", _picture(_light(*SHAPE, dtype=np.uint16), "PNG")
    yield "palette.png", _picture(rgb, "PNG", "P")
    yield "labels_mask.png", _picture((grey // 40).astype(np.uint8), "PNG")
    yield "mask.png", _picture(np.where(grey > 90, 255, 0).astype(np.uint8), "PNG")
    yield "one-bit.png", _picture(grey > 90, "PNG")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    yield "rgb.jpg", _picture(rgb, "JPEG", exif=exif)
    yield "grey.jpg", _picture(grey, "JPEG", progressive=True)
    yield "rgb.webp", _picture(rgb, "WEBP", lossless=True)
    yield "lossy.webp", _picture(rgb, "WEBP", exif=exif)
    yield "rgb.avif", _picture(rgb, "AVIF", speed=10)


def _polygons() -> Iterator[tuple[str, bytes]]:
    square = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]
    hole = [[20, 20], [30, 20], [30, 30], [20, 20]]
    named = {"objectType": "annotation", "classification": {"name": "Artifact"}}
    features = [
        {"type": "Feature", "properties": named, "geometry": geometry}
        for geometry in (
            {"type": "Polygon", "coordinates": [square, hole]},
            {"type": "MultiPolygon", "coordinates": [[square], [hole]]},
            {
                "type": "GeometryCollection",
                "geometries": [{"type": "Point", "coordinates": [1, 2]}],
            },
        )
    ]
    collection = {"type": "FeatureCollection", "features": features}
    yield "qupath.geojson", json.dumps(collection).encode()
    tissue = {
        "type": "Feature",
        "properties": {"tissue_id": 0},
        "geometry": features[0]["geometry"],
    }
    outlines = {"type": "FeatureCollection", "features": [tissue]}
    yield "trident.geojson", json.dumps(outlines).encode("utf-16")


def seeds() -> list[tuple[str, bytes]]:
    """Return (name, bytes) of all of them."""
    return [*_tiffs(), *_pictures(), *_polygons()]
