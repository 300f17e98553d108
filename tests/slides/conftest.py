"""Small slides of every kind that is edited in place, and all readers that open them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from histomend.masks import write_mask
from histomend.models import Model, load_model
from histomend.slides.tiff_structure import TiffStructure

OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06" UUID="urn:uuid:00000000-0000-0000-0000-000000000001"><Image ID="Image:0" Name="s">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="500" SizeY="420" SizeC="3" '
    'SizeZ="1" SizeT="1" Interleaved="true" PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" '
    'PhysicalSizeY="0.5" PhysicalSizeYUnit="µm"><Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
    '<TiffData IFD="0" PlaneCount="1"><UUID FileName="ome.tif">'
    "urn:uuid:00000000-0000-0000-0000-000000000001</UUID></TiffData></Pixels></Image></OME>"
)
APERIO = "Aperio Image Library v11.2.1 \r\n500x420 [0,0 500x420] (64x64) JPEG/RGB Q=70|MPP = 0.5"
KINDS: dict[str, dict[str, Any]] = {
    "aperio": {},
    "ome": {},
    "jpeg-420": {"compression": "jpeg", "compressionargs": {"level": 75}, "subsampling": (2, 2)},
    "jpeg-422": {"compression": "jpeg", "compressionargs": {"level": 90}, "subsampling": (2, 1)},
    "jpeg-444": {"compression": "jpeg", "compressionargs": {"level": 60}, "subsampling": (1, 1)},
    "jpeg-grey": {"compression": "jpeg", "compressionargs": {"level": 80}},
    "deflate": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw", "predictor": True},
    "lzw-big-endian": {"compression": "lzw", "predictor": True, "byteorder": ">"},
    "raw": {},
    "raw-bigtiff": {"bigtiff": True},
    "deflate-16": {"compression": "zlib", "predictor": True, "dtype": np.uint16},
    "deflate-16-big-endian": {"compression": "zlib", "dtype": np.uint16, "byteorder": ">"},
    "jpeg2000": {},
}


def tiles_of(pixels: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Give tiles row by row, filled up by repeating the edge."""
    for y in range(0, pixels.shape[0], side):
        for x in range(0, pixels.shape[1], side):
            part = pixels[y : y + side, x : x + side]
            short = [(0, side - part.shape[0]), (0, side - part.shape[1])]
            yield np.pad(part, short + [(0, 0)] * (part.ndim - 2), mode="edge")


def _averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    cells = pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, *pixels.shape[2:])
    # Not quite the average, as scanners do not quite average either.
    return np.clip(cells.mean((1, 3)) * 0.97 + 3, 0, 255 if pixels.dtype == np.uint8 else 65535)


def _abbreviated(stream: bytes) -> tuple[bytes, bytes]:
    """Take the tables out of a JPEG stream, as they stand in TIFF tag 347."""
    at, tables, rest = 2, b"", b""
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        elif not 0xE0 <= stream[at + 1] <= 0xEF:
            rest += stream[at:end]
        at = end
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def _aperio(path: Path, pixels: np.ndarray, side: int, factors: tuple[int, ...]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for number, factor in enumerate((1, *factors)):
            level = pixels if factor == 1 else _averaged(pixels, factor).astype(np.uint8)
            coded = [
                _abbreviated(
                    imagecodecs.jpeg8_encode(t, level=70, colorspace="RGB", outcolorspace="RGB")
                )
                for t in tiles_of(level, side)
            ]
            writer.write(
                iter([stream for _, stream in coded]),
                shape=level.shape,
                dtype=np.uint8,
                tile=(side, side),
                compression=7,
                compressionargs={"outcolorspace": "RGB"},
                jpegtables=coded[0][0],
                photometric="rgb",
                description=APERIO,
                metadata=None,
                software=False,
            )
            if number == 0:
                thumb = _averaged(pixels, 4).astype(np.uint8)
                text = APERIO.replace("JPEG", "-> thumb JPEG")
                writer.write(thumb, photometric="rgb", description=text, metadata=None)
        label = np.full((40, 60, 3), 7, np.uint8)
        label[5:9] = (
            np.frombuffer(b"NAME OF THE PATIENT ", np.uint8)[:, None].repeat(3, 0).reshape(1, 60, 1)
        )
        text = "Aperio Image Library v11.2.1 \nlabel 60x40"
        writer.write(
            label, photometric="rgb", description=text, metadata=None, subfiletype=1, software=False
        )


def _make(
    path: Path, kind: str, pixels: np.ndarray, side: int = 64, factors: tuple[int, ...] = (2, 4)
) -> Path:
    if kind == "aperio":
        _aperio(path, pixels, side, factors)
        return path
    options: dict[str, Any] = {"photometric": "rgb", **KINDS[kind]}
    dtype = options.pop("dtype", np.uint8)
    whole = {name: options.pop(name) for name in ("byteorder", "bigtiff") if name in options}
    if kind == "jpeg-grey":
        pixels, options["photometric"] = pixels[..., 1], "minisblack"
    if dtype == np.uint16:
        pixels = pixels.astype(np.uint16) * 257
    with tifffile.TiffWriter(path, ome=False, **whole) as writer:
        for factor in (1, *factors):
            level = pixels if factor == 1 else _averaged(pixels, factor).astype(dtype)
            own = {"subfiletype": int(factor > 1), "tile": (side, side), "metadata": None}
            if kind == "ome":
                own |= {"subifds": len(factors)} if factor == 1 else {}
                own |= {"compression": "jpeg", "compressionargs": {"level": 80}}
                own |= {"subsampling": (2, 2)}
            text = OME.encode() if kind == "ome" and factor == 1 else None
            if kind == "jpeg2000":
                text = APERIO.replace("JPEG/RGB", "J2K").encode()
                own |= {
                    "subfiletype": 0,
                    "compression": 33005,
                    "shape": level.shape,
                    "dtype": np.uint8,
                }
                coded = [
                    imagecodecs.jpeg2k_encode(t, level=40, codecformat="J2K", reversible=False)
                    for t in tiles_of(level, side)
                ]
                writer.write(iter(coded), description=text, **(options | own))
                if factor == 1:  # readers of Aperio's files expect the thumbnail second
                    thumb = _averaged(pixels, 5).astype(np.uint8)
                    writer.write(thumb, photometric="rgb", description=text, metadata=None)
                continue
            writer.write(level, description=text, **(options | own))
    return path


@pytest.fixture(scope="session")
def make_slide(tissue: np.ndarray) -> Callable[..., Path]:
    """Return what writes a slide of 500 x 420 px of tissue, of a kind, to a path."""

    def make(path: Path, kind: str = "aperio", **options: Any) -> Path:
        return _make(path, kind, tissue[:420, :500], **options)

    return make


@pytest.fixture(scope="session", params=sorted(KINDS))
def slide(request: pytest.FixtureRequest, tmp_path_factory: Any, make_slide: Any) -> Path:
    """Return a slide of each kind in turn."""
    name = {"aperio": "aperio.svs", "jpeg2000": "jpeg2000.svs"}.get(
        request.param, request.param + ".tif"
    )
    return make_slide(tmp_path_factory.mktemp("slides") / name, request.param)


@pytest.fixture(scope="session")
def blob() -> Callable[..., tuple[Any, np.ndarray, np.ndarray]]:
    """Return what draws new pixels: a region, its pixels, and a round mask in it."""

    def draw(slide: Any, x: int, y: int, side: int = 90, seed: int = 0) -> Any:
        codec = slide.levels[0].codec
        kind = codec.dtype.newbyteorder("=")
        rng = np.random.default_rng(seed)
        ramp = np.linspace(0.2, 0.8, side)[:, None, None] + rng.normal(0, 0.02, (side, side, 1))
        shade = np.linspace(1, 0.7, codec.samples)
        pixels = (ramp * shade * np.iinfo(kind).max).astype(kind)
        rows, columns = np.mgrid[:side, :side]
        mask = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side * 0.45) ** 2
        return (x, y, side, side), pixels, mask

    return draw


def _openslide(path: Path) -> list[np.ndarray]:
    openslide = pytest.importorskip("openslide")
    if openslide.OpenSlide.detect_format(str(path)) is None:
        return []
    with openslide.OpenSlide(str(path)) as slide:
        return [
            np.asarray(slide.read_region((0, 0), level, size))[..., :3]
            for level, size in enumerate(slide.level_dimensions)
        ]


def _tiffslide(path: Path) -> list[np.ndarray]:
    tiffslide = pytest.importorskip("tiffslide")
    try:
        slide = tiffslide.TiffSlide(str(path))
    except Exception:  # each reader refuses some kinds, in its own way
        return []
    with slide:
        return [
            np.asarray(slide.read_region((0, 0), level, size, as_array=True))
            for level, size in enumerate(slide.level_dimensions)
        ]


def _tifffile(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as file:
        return [level.asarray() for series in file.series for level in series.levels]


def _libtiff(path: Path) -> list[np.ndarray]:
    """Read the chain with plain libtiff, which keeps its JPEG decoder from tile to tile."""
    data = path.read_bytes()
    with path.open("rb") as file:
        tiff = TiffStructure(file, str(path))
        kinds = [tiff.number(directory, 259, 1) for directory in tiff.chain]
    if max(kinds) > 33000:  # libtiff knows no JPEG 2000
        return []
    return [imagecodecs.tiff_decode(data, index=i) for i in range(len(kinds))]


READERS: dict[str, Callable[[Path], list[np.ndarray]]] = {
    "openslide": _openslide,
    "tiffslide": _tiffslide,
    "tifffile": _tifffile,
    "libtiff": _libtiff,
}


@pytest.fixture(params=sorted(READERS))
def reader(request: pytest.FixtureRequest) -> Callable[[Path], list[np.ndarray]]:
    """Return what reads all levels of a slide; none where the reader does not know the kind."""
    return READERS[request.param]


@pytest.fixture(scope="session")
def readers() -> dict[str, Callable[[Path], list[np.ndarray]]]:
    """Return all readers by name."""
    return READERS


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """Three artifacts: two in the tissue, one at the edge of the slide."""
    mask = np.zeros((420, 500), bool)
    mask[100:130, 120:160] = True
    mask[300:320, 90:110] = True
    mask[200:240, 480:] = True
    return mask


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture
def work(make_slide: Any, mask: np.ndarray, tmp_path: Path) -> Path:
    make_slide(tmp_path / "slide.svs")
    write_mask(tmp_path / "mask.geojson", mask)
    return tmp_path
