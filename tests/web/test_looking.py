"""What is seen: tiles, contrast, versions, overlays, changed regions."""

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from PIL import Image as PilImage

from histomend.api import denoise, restore
from histomend.errors import InputError
from histomend.image import read_image, write_image
from histomend.image.reading import file_sha256
from histomend.jobs.outputs import write_t_map
from histomend.ledger import Record, ledger_mask
from histomend.web import pyramid as pyramids
from histomend.web.companions import MaskPyramid
from histomend.web.contrast import Contrast, first_contrast
from histomend.web.desk import Desk, Shelf
from histomend.web.pyramid import TILE_PX, ArrayPyramid, SlidePyramid, last_level, open_pyramid

RNG = np.random.default_rng(0)


def pixels_of(answer: bytes) -> np.ndarray:
    return np.asarray(PilImage.open(io.BytesIO(answer)))


def test_the_last_level_is_the_image_itself() -> None:
    values = RNG.integers(0, 255, (1, 700, 1100, 3), dtype=np.uint8)
    pyramid = ArrayPyramid(values)
    last = last_level(1100, 700)
    assert last == 11
    rows = [
        np.concatenate([pyramid.tile(last, column, row, 0) for column in range(3)], axis=1)
        for row in range(2)
    ]
    assert (np.concatenate(rows) == values[0]).all()
    assert pyramid.tile(0, 0, 0, 0).shape == (1, 1, 3)


def test_each_level_is_half_of_the_next_by_averages() -> None:
    values = RNG.integers(0, 65535, (1, 600, 800, 1), dtype=np.uint16)
    pyramid = ArrayPyramid(values)
    half = pyramid.tile(last_level(800, 600) - 1, 0, 0, 0)[..., 0]
    wanted = values[0, ..., 0].reshape(300, 2, 400, 2).mean(axis=(1, 3))
    assert half.shape == (300, 400)
    assert np.abs(half - wanted).max() <= 1


@pytest.mark.parametrize(
    "place",
    [(-1, 0, 0, 0), (9, 1, 0, 0), (9, 0, 1, 0), (9, 0, 0, 1), (30, 0, 0, 0), (9, -1, 0, 0)],
)
def test_there_is_no_tile_outside(place: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="no tile"):
        ArrayPyramid(np.zeros((1, 400, 400, 3), np.uint8)).tile(*place)


def test_contrast_by_values() -> None:
    values = np.array([[[100], [300], [500], [900]]], np.uint16)
    shown = Contrast((100,), (500,)).shown(values)
    assert shown[0, :, 0].tolist() == [0, 128, 255, 255]
    assert Contrast((100,), (500,), gamma=0.5).shown(values)[0, 1, 0] == round(255 * 0.5**0.5)
    two = np.array([[[255, 0], [0, 255], [255, 255]]], np.uint8)
    assert Contrast((0,), (255,)).shown(two)[0].tolist() == [[255, 0, 255], [0, 255, 0], [255] * 3]
    assert Contrast((0,), (255,), channels=(1,)).shown(two)[0, 2].tolist() == [0, 255, 0]
    with pytest.raises(InputError, match="cannot be shown"):
        Contrast((5,), (5,))


def test_colours_are_shown_as_stored_and_signals_by_percentiles() -> None:
    colours = ArrayPyramid(RNG.integers(0, 9, (1, 64, 64, 3), dtype=np.uint8))
    assert first_contrast(colours) == Contrast((0,), (255,))
    signal = np.full((3, 100, 100, 1), 1000, np.uint16)
    signal[0, 0, :40] = 60000  # hot pixels: 0.13 % of all
    signal[1] = np.linspace(900, 1100, 10_000).reshape(100, 100, 1)
    look = first_contrast(ArrayPyramid(signal))
    assert 900 <= look.low[0] < 905
    assert look.high[0] > 1100


def test_each_channel_has_a_contrast_of_its_own() -> None:
    values = np.zeros((1, 50, 50, 2), np.uint16)
    values[0, ..., 0] = np.linspace(0, 100, 2500).reshape(50, 50)
    values[0, ..., 1] = np.linspace(3000, 9000, 2500).reshape(50, 50)
    look = first_contrast(ArrayPyramid(values))
    assert look.low == pytest.approx((0, 3006), abs=3)
    assert look.high == pytest.approx((100, 8994), abs=3)
    both = look.shown(values[0])
    assert (both[-1, -1] == 255).all()
    with pytest.raises(InputError, match="is not one of 3"):
        look.shown(np.zeros((4, 4, 3), np.uint16))


def test_a_stack_of_16_bit_is_looked_at_plane_by_plane(tmp_path: Path) -> None:
    values = RNG.integers(200, 900, (4, 80, 90), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "z.tif", values, metadata={"axes": "ZYX"}, ome=True)
    pyramid = open_pyramid(tmp_path / "z.tif")
    assert (pyramid.planes, pyramid.channels, pyramid.dtype) == (4, 1, np.uint16)
    assert (pyramid.tile(7, 0, 0, 2)[..., 0] == values[2]).all()


def test_a_slide_is_read_where_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.repeat(np.repeat(RNG.integers(0, 255, (20, 25, 3), dtype=np.uint8), 64, 0), 64, 1)
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2, 4):
            file.write(
                np.ascontiguousarray(pixels[::step, ::step]), tile=(256, 256), photometric="rgb"
            )
    slide = SlidePyramid(path)
    assert (slide.width, slide.height) == (1600, 1280)
    last = last_level(1600, 1280)
    assert (slide.tile(last, 1, 1, 0) == pixels[TILE_PX:1024, TILE_PX:1024]).all()
    assert slide.overview(0).shape == (320, 400, 3)
    with pytest.raises(InputError, match="no tile"):
        slide.tile(last, 4, 0, 0)
    monkeypatch.setattr(pyramids, "_MOST_READ", 1 << 10)
    assert (slide.tile(last, 1, 1, 0) == pixels[TILE_PX:1024, TILE_PX:1024]).all()
    assert slide.tile(0, 0, 0, 0)[0, 0] == pytest.approx(pixels.mean((0, 1)), abs=10)


def test_a_slide_of_one_level_of_16_bits_is_averaged(tmp_path: Path) -> None:
    pixels = np.kron(RNG.integers(0, 65535, (101, 150, 3)), np.ones((4, 4, 1))).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", pixels[:-3], tile=(64, 64), photometric="rgb")
    slide = SlidePyramid(tmp_path / "deep.tif")
    assert (slide.width, slide.height, slide.dtype) == (600, 401, np.uint16)
    fourth = slide.tile(last_level(600, 401) - 2, 0, 0, 0)
    assert (fourth == pixels[::4, ::4]).all()  # the last row is a part of a pixel
    assert slide.tile(last_level(600, 401), 1, 0, 0).shape == (401, 88, 3)


def test_what_was_restored_is_shown_with_what_it_was_made_of(client: TestClient) -> None:
    about = client.get("api/items/0").json()
    assert [version["name"] for version in about["versions"]] == ["tissue.png", "restored.png"]
    assert (about["width"], about["height"], about["mpp"]) == (
        260,
        200,
        pytest.approx(0.5, rel=1e-3),
    )
    after = about["versions"][1]
    assert after["record"]["method"] == "artifusion"
    assert [overlay["name"] for overlay in after["overlays"]] == ["mask", "uncertainty"]
    assert [change["box"] for change in after["changes"]] == [[50, 40, 60, 40], [200, 150, 10, 10]]
    assert after["changes"][0]["area_um2"] == pytest.approx(600, rel=1e-2)
    record = client.get("api/items/0/versions/1/record").json()
    assert record["checksum"]
    assert client.get("api/items/0/versions/0/record").status_code == 404
    saved = client.get("api/items/0/versions/1/file")
    assert "restored.png" in saved.headers["content-disposition"]
    assert (
        pixels_of(saved.content) == pixels_of(client.get("tiles/0/1/image/9/0/0").content)
    ).all()
    assert client.get("api/items/0/versions/7/file").status_code == 404


def test_tiles_are_the_pixels(client: TestClient, folder: Path) -> None:
    for version, name in enumerate(("tissue.png", "restored.png")):
        answer = client.get(f"tiles/0/{version}/image/9/0/0")
        assert answer.headers["content-type"] == "image/png"
        assert (pixels_of(answer.content) == read_image(folder / name).pixels).all()
    mask = pixels_of(client.get("tiles/0/1/mask/9/0/0").content)
    stored = np.asarray(cv2.imread(str(folder / "mask.png"), cv2.IMREAD_UNCHANGED)) > 0
    assert ((mask[..., 3] > 0) == stored).all()
    uncertainty = pixels_of(client.get("tiles/0/1/uncertainty/9/0/0").content)
    assert (uncertainty[~stored][:, 3] == 0).all()
    assert uncertainty[stored][:, 3].max() == 255
    assert client.get("tiles/0/1/nothing/9/0/0").status_code == 404
    for wrong in ("low=9&high=3", "low=1,2", "low=a", "low=nan", "gamma=0"):
        assert client.get(f"tiles/0/1/image/9/0/0?{wrong}").status_code == 422


def test_without_its_source_the_record_gives_back_what_was_there(folder: Path) -> None:
    before = read_image(folder / "tissue.png").pixels
    (folder / "tissue.png").unlink()
    desk = Desk([folder / "restored.png"])
    item = desk.item(0)
    assert [version.name for version in item.versions] == [
        "before, from the record",
        "restored.png",
    ]
    assert (desk.pyramid(item, 0).tile(9, 0, 0, 0) == before).all()


def test_a_pair_without_a_record_has_regions_where_it_differs(folder: Path) -> None:
    image = read_image(folder / "tissue.png").pixels
    other = image.copy()
    other[10:20, 30:50] ^= 1
    other[100:105, 100:105] ^= 1
    write_image(folder / "other.png", other)
    desk = Desk([], [folder / "tissue.png", folder / "other.png"])
    changes = desk.about(desk.item(0))["versions"][1]["changes"]
    assert [change["box"] for change in changes] == [[30, 10, 20, 10], [100, 100, 5, 5]]


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(folder: Path) -> None:
    (folder / "restored.ledger.json").write_text("{}")
    desk = Desk([folder / "restored.png"])
    about = desk.about(desk.item(0))
    assert len(about["versions"]) == 1
    assert "no Histomend ledger" in about["notices"][-1]


def test_the_mask_of_a_record_is_seen_at_every_size(restored: Path) -> None:
    """However far one zooms out, as of a slide, a region is one pixel at least."""
    record = Record.read(restored / "restored.ledger.json")
    mask = MaskPyramid(record)
    assert (mask.tile(9, 0, 0, 0)[..., 0] == ledger_mask(record) * 255).all()
    assert mask.tile(9, 0, 0, 0).shape == (200, 260, 1)
    whole = ledger_mask(record)
    for level in range(9):
        step = 2 ** (9 - level)
        rows, columns = np.nonzero(whole)
        wanted = np.zeros((-(-200 // step), -(-260 // step)), bool)
        wanted[rows // step, columns // step] = True
        assert ((mask.tile(level, 0, 0, 0)[..., 0] > 0) == wanted).all()
    with pytest.raises(InputError, match="no tile"):
        mask.tile(9, 1, 0, 0)


def test_more_channels_than_colours_are_shown_together(tmp_path: Path) -> None:
    values = RNG.integers(200, 900, (4, 70, 80), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", values, metadata={"axes": "CYX"}, ome=True)
    pyramid = open_pyramid(tmp_path / "c.tif")
    assert (pyramid.planes, pyramid.channels) == (1, 4)
    tile = pyramid.tile(last_level(80, 70), 0, 0, 0)
    assert (np.moveaxis(tile, 2, 0) == values).all()
    alone = Contrast((0,), (65535,), channels=(1,)).shown(tile)
    assert (alone[..., 0] == 0).all()
    assert (alone[..., 1] == np.rint(values[1] / 65535 * 255)).all()


def test_a_slide_of_a_scanner_is_opened_as_one(slide: Path) -> None:
    pytest.importorskip("openslide")
    desk = Desk([slide])
    about = desk.about(desk.item(0))
    assert (about["slide"], about["width"], about["mpp"]) == (True, 1024, 0.5)
    data, kind = desk.tile(desk.item(0), 0, "image", (10, 1, 1, 0), Contrast((0,), (255,)))
    assert kind == "image/jpeg"
    assert pixels_of(data).shape == (512, 512, 3)


def test_copies_and_their_places_can_be_seen(
    tissue: np.ndarray, untrained: Path, tmp_path: Path
) -> None:
    mask = np.zeros((300, 300), bool)
    mask[100:140, 100:150] = True
    write_image(tmp_path / "a.png", tissue[:300, :300], mpp=0.5)
    restore(tmp_path / "a.png", mask, model=untrained, steps=1).save(tmp_path / "b.png")
    desk = Desk([tmp_path / "b.png"])  # its source lies beside it
    item = desk.item(0)
    assert [version.name for version in item.versions] == ["a.png", "b.png"]
    names = [overlay["name"] for overlay in desk.about(item)["versions"][1]["overlays"]]
    assert names == ["mask", "provenance"]
    shown = pixels_of(desk.tile(item, 1, "provenance", (9, 0, 0, 0), Contrast((0,), (255,)))[0])
    coloured = np.ptp(shown[..., :3].astype(int), axis=2) > 20
    assert coloured[mask].mean() > 0.5
    assert not coloured[:20].all()


def test_results_of_one_image_are_versions_of_it_and_t_is_laid_over(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png", tissue[:96, :128])
    for name in ("b.png", "c.png"):
        denoise(tmp_path / "a.png", method="median").save(tmp_path / name)
    for name in ("b.t-map.tif", "c.t-map.tif"):
        write_t_map(tmp_path / name, np.arange(96 * 128, dtype=np.float32).reshape(96, 128))
    record = Record.read(tmp_path / "c.ledger.json")
    own = replace(record, maps={"t_map": file_sha256(tmp_path / "c.t-map.tif")})
    own.write(tmp_path / "c.ledger.json", force=True)
    desk = Desk([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    (item,) = desk.items
    with pytest.raises(InputError, match="t_map"):  # of another call, says the record
        desk.tile(item, 1, "t_map", (7, 0, 0, 0), Contrast((0,), (255,)))
    assert [version.name for version in item.versions] == ["a.png", "b.png", "c.png"]
    shown = pixels_of(desk.tile(item, 2, "t_map", (7, 0, 0, 0), Contrast((0,), (255,)))[0])
    assert shown[0, 0, 3] == 0, "nothing is laid over what is clean"
    assert shown[-1, -1].tolist() == [252, 255, 164, 255], "the last colour of inferno"


def test_a_result_of_a_part_lies_where_it_belongs(
    tissue: np.ndarray, untrained: Path, tmp_path: Path
) -> None:
    mask = np.zeros((100, 120), bool)
    mask[30:50, 30:60] = True
    write_image(tmp_path / "a.png", tissue, mpp=0.5)
    part = (200, 300, 120, 100)
    options = {"region": part, "model": untrained, "preset": "generate", "steps": 1}
    restore(tmp_path / "a.png", mask, **options).save(tmp_path / "b.png")
    desk = Desk([tmp_path / "a.png", tmp_path / "b.png"])
    after = desk.about(desk.item(0))["versions"][1]
    assert after["region"] == part
    assert after["changes"][0]["box"] == [230, 330, 30, 20]
    write_image(tmp_path / "small.png", tissue[:90, :90])
    other = Desk([], [tmp_path / "small.png", tmp_path / "b.png"])
    about = other.about(other.item(0))
    assert len(about["versions"]) == 1
    assert "lies outside small.png" in about["notices"][-1]


def test_memory_stays_bounded() -> None:
    shelf, loaded = Shelf(most=100), []

    def load(n: int) -> int:
        loaded.append(n)
        return n

    for n in (1, 2, 1, 3, 1, 2):
        assert shelf.get(n, lambda n=n: load(n), lambda _: 40) == n
    assert loaded == [1, 2, 3, 2], "the one that was not used for longest goes"
