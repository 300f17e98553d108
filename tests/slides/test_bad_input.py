"""Damaged slides and senseless masks through the whole way of a job, all but the network.

Each case either ends in a slide of which verify proves that nothing else was changed, or in a named
error without an output. No source is ever touched.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend import restore_slide
from histomend.errors import HistomendError
from histomend.jobs import slide_run
from histomend.jobs.journal import journal_of
from histomend.models import Model, load_model
from histomend.slides.slide_sink import APPENDED
from histomend.slides.undo import verify

Damage = Callable[[bytearray], "bytearray | None"]
_CUTS, _FLIPS = 30, 70
_VALUES = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)
_TAGS = (256, 257, 258, 259, 262, 270, 277, 284, 322, 323, 324, 325, 347)


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore every part to its negative: what is tested is all around the network."""

    def negative(_: Any, part: Any, image: Any, mask: Any, __: Any) -> Any:
        x, y, w, h = part.core
        left, top = x - part.region[0], y - part.region[1]
        place = np.s_[top : top + h, left : left + w]
        report: dict[str, Any] = {"regions": [], "windows": [], "nfe": 0, "notices": []}
        pixels = np.iinfo(image.pixels.dtype).max - image.pixels[place]
        return {"pixels": pixels, "mask": part.own(mask)[place]}, {**report, "provenance": None}

    monkeypatch.setattr(slide_run._SlideRun, "_restored", negative)


@pytest.fixture(scope="module")
def whole(make_slide: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An intact slide: Aperio's, JPEG tiles with tables of their own tag."""
    return make_slide(tmp_path_factory.mktemp("whole") / "a.svs").read_bytes()


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask over tiles in the middle and at the edge."""
    rings = [[[[90, 90], [150, 100], [120, 160]]], [[[440, 380], [500, 380], [500, 420]]]]
    path = tmp_path_factory.mktemp("mask") / "m.geojson"
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": rings}))
    return path


def attempt(slide: Path, mask: Path, model: Model, suffix: str = ".svs") -> str:
    """Restore a slide; return "restored" or the kind of error, once all that has to hold does."""
    before = slide.read_bytes()
    out = slide.with_name(f"out{suffix}")
    try:
        result = restore_slide(slide, out, mask, model=model, preset="generate", mpp=0.5)
    except HistomendError as error:
        assert not out.exists()
        assert slide.read_bytes() == before
        left = {path for path in slide.parent.iterdir() if path != slide}
        assert left <= {journal_of(out), mask}
        return type(error).__name__
    assert slide.read_bytes() == before
    if result.record.output.container == APPENDED:
        proof = verify(out, slide)
        assert proof.ok, proof.problems
    return "restored"


def _entry(data: bytearray, tag: int) -> int | None:
    """Return where the entry of a tag of the first directory lies."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == tag:
            return place
    return None


def _field(tag: int, offset: int, kind: str, value: int) -> Damage:
    def damage(data: bytearray) -> None:
        place = _entry(data, tag)
        assert place is not None, tag
        struct.pack_into(kind, data, place + offset, value)

    return damage


def _flip(seed: int) -> Damage:
    """Change some bytes: of tiles, or of the directories at the end."""

    def damage(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        first = 0 if seed % 2 else struct.unpack_from("<I", data, 4)[0]
        stop = min(len(data), first + 400) if seed % 2 == 0 else len(data)
        for at in rng.integers(first, stop, 1 + seed % 5):
            data[int(at)] ^= int(rng.integers(1, 256))

    return damage


def _loop(directory: int) -> Damage:
    """Let a directory be followed by the first one."""

    def damage(data: bytearray) -> None:
        (first,) = at = struct.unpack_from("<I", data, 4)
        place = at[0]
        for _ in range(directory + 1):
            (count,) = struct.unpack_from("<H", data, place)
            following = place + 2 + 12 * count
            (place,) = struct.unpack_from("<I", data, following)
        struct.pack_into("<I", data, following, first)

    return damage


def damages() -> Iterator[Any]:
    for number in range(_CUTS):
        share = number / _CUTS
        yield pytest.param(
            lambda data, share=share: data[: int(len(data) * share)], id=f"cut{share:.2f}"
        )
    for seed in range(_FLIPS):
        yield pytest.param(_flip(seed), id=f"flip{seed}")
    for tag in _TAGS:
        for value in _VALUES:
            yield pytest.param(_field(tag, 8, "<I", value), id=f"tag{tag}-{value:x}")
        for count in (0, 0x7FFFFFFF):
            yield pytest.param(_field(tag, 4, "<I", count), id=f"tag{tag}x{count}")
        yield pytest.param(_field(tag, 2, "<H", 99), id=f"tag{tag}of99")
    for directory in range(3):
        yield pytest.param(_loop(directory), id=f"loop{directory}")
    for head in (b"", b"II*\0", b"MM\0*", b"%PDF-1.7", b"\xff\xd8\xff\xe0", b"\0" * 64, b"text"):
        yield pytest.param(
            lambda data, head=head: bytearray(head) + data[len(head) * 2 :], id=repr(head)
        )


CASES = list(damages())


def test_there_are_many() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("damage", CASES)
def test_damaged_slides(
    damage: Damage, whole: bytes, mask: Path, model: Model, tmp_path: Path
) -> None:
    data = bytearray(whole)
    data = damage(data) or data
    slide = tmp_path / "slide.svs"
    slide.write_bytes(data)
    attempt(slide, mask, model)


def test_the_intact_slide_is_restored(
    whole: bytes, mask: Path, model: Model, tmp_path: Path
) -> None:
    (tmp_path / "slide.svs").write_bytes(whole)
    assert attempt(tmp_path / "slide.svs", mask, model) == "restored"


MASKS: dict[str, Any] = {
    "text": b"no JSON",
    "nothing": b"",
    "null": b"null",
    "empty": b'{"type": "FeatureCollection", "features": []}',
    "point": b'{"type": "Point", "coordinates": [1, 2]}',
    "NaN": b'{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [2, 0]]]}',
    "far": b'{"type": "Polygon", "coordinates": [[[1e99, 0], [1, 1], [2, 0]]]}',
    "outside": b'{"type": "Polygon", "coordinates": [[[900, 900], [950, 900], [950, 950]]]}',
    "thin": b'{"type": "Polygon", "coordinates": [[[9, 9], [9.1, 9], [9.1, 9.1]]]}',
    "words": b'{"type": "Polygon", "coordinates": [[["a", "b"], [1, 1], [2, 0]]]}',
    "deep": b"[" * 5000 + b"]" * 5000,
}


@pytest.mark.parametrize("name", sorted(MASKS))
def test_senseless_masks(name: str, whole: bytes, model: Model, tmp_path: Path) -> None:
    (tmp_path / "slide.svs").write_bytes(whole)
    mask = tmp_path / "m.geojson"
    mask.write_bytes(MASKS[name])
    assert attempt(tmp_path / "slide.svs", mask, model) == "MaskError"


@pytest.mark.parametrize(
    ("shape", "mode"), [((42, 50), "L"), ((500, 420), "L"), ((420, 500), "RGB"), ((420, 500), "P")]
)
def test_pictures_that_are_no_mask(
    shape: tuple[int, int], mode: str, whole: bytes, model: Model, tmp_path: Path
) -> None:
    (tmp_path / "slide.svs").write_bytes(whole)
    grey = np.zeros((*shape, 3), np.uint8)
    grey[10:20, 10:20] = 255, 120, 0
    PIL.Image.fromarray(grey).convert(mode).save(tmp_path / "m.png")
    assert attempt(tmp_path / "slide.svs", tmp_path / "m.png", model) == "MaskError"


@pytest.mark.parametrize("name", ["missing.geojson", "a folder", "missing.png"])
def test_masks_that_are_not_there(name: str, whole: bytes, model: Model, tmp_path: Path) -> None:
    (tmp_path / "slide.svs").write_bytes(whole)
    path = tmp_path / name
    if name == "a folder":
        path.mkdir()
    assert attempt(tmp_path / "slide.svs", path, model) != "restored"


@pytest.mark.parametrize(
    "name", ["with space.svs", "größe µ.svs", "a|b=c;d.svs", "-x.svs", "a\nb.svs"]
)
def test_odd_names(name: str, whole: bytes, mask: Path, model: Model, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(whole)
    assert attempt(tmp_path / name, mask, model) == "restored"


@pytest.mark.parametrize("levels", [1, 2])
def test_slides_of_few_levels(
    levels: int, tissue: np.ndarray, mask: Path, model: Model, tmp_path: Path
) -> None:
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        for factor in (1, 2)[:levels]:
            part = tissue[:420:factor, :500:factor]
            writer.write(part, tile=(64, 64), subfiletype=int(factor > 1), metadata=None)
    assert attempt(tmp_path / "s.tif", mask, model, ".tif") == "restored"


@pytest.mark.parametrize("rows", [1, 7, 420])
def test_strips(rows: int, tissue: np.ndarray, mask: Path, model: Model, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", tissue[:420, :500], rowsperstrip=rows, metadata=None)
    assert attempt(tmp_path / "s.tif", mask, model, ".tif") == "restored"


def test_tiles_that_were_never_scanned_stay_so(
    tissue: np.ndarray, mask: Path, model: Model, tmp_path: Path
) -> None:
    slide = tmp_path / "s.tif"
    tifffile.imwrite(slide, tissue[:420, :500], tile=(64, 64), metadata=None)
    with tifffile.TiffFile(slide) as file:
        counts = file.pages[0].tags[325]
        place, size = counts.valueoffset, 2 if counts.dtype == 3 else 4
    data = bytearray(slide.read_bytes())
    for tile in (8 + 1, 8 + 2):  # of the second row, which the mask touches
        data[place + size * tile : place + size * (tile + 1)] = bytes(size)
    slide.write_bytes(data)
    out = tmp_path / "out.tif"
    result = restore_slide(slide, out, mask, model=model, preset="generate", mpp=0.5)
    assert result.record.figures["never_scanned_tiles"] == 2
    assert verify(out, slide).ok


def test_a_full_disk(
    whole: bytes, mask: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slide.svs").write_bytes(whole)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert attempt(tmp_path / "slide.svs", mask, model) == "OutputError"
