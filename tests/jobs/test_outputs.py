"""Which output and which mask belong to which file."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from histomend.errors import InputError, MaskError, SettingError
from histomend.jobs.outputs import Output, pair_outputs, plan_outputs, write_uncertainty


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as an earlier run may have left it."""
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.jpg", "scan.TIF", "b.mask.png", "b.uncertainty.png", ".hidden.png"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "notes.txt").touch()
    return tmp_path / "in"


def test_one_file_goes_into_one_file(folder: Path, tmp_path: Path) -> None:
    assert pair_outputs([folder / "b.png"], tmp_path / "new.tif") == {
        folder / "b.png": tmp_path / "new.tif"
    }


def test_a_folder_is_taken_by_name_without_masks_and_maps(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert list(pair_outputs([folder], out).items()) == [
        (folder / "a.jpg", out / "a.png"),
        (folder / "b.png", out / "b.png"),
        (folder / "scan.TIF", out / "scan.tif"),
    ]


def test_one_file_into_a_folder_that_exists(folder: Path, tmp_path: Path) -> None:
    assert pair_outputs([folder / "a.jpg"], tmp_path) == {folder / "a.jpg": tmp_path / "a.png"}


def test_several_files_do_not_go_into_one(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"one\.png is one file, .* Name a folder"):
        pair_outputs([folder / "a.jpg", folder / "b.png"], tmp_path / "one.png")


def test_two_inputs_never_share_an_output(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").touch()
    with pytest.raises(SettingError, match=r"a\.jpg and .*a\.png would both be written to"):
        pair_outputs([folder], tmp_path / "out")


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: there is no such file"):
        pair_outputs([tmp_path / "gone.png"], tmp_path / "out.png")


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        pair_outputs([tmp_path], tmp_path / "out")


def test_masks_in_a_folder_have_the_names_of_their_images(folder: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "a.geojson").touch()
    (masks / "b.png").touch()
    jobs = {job.source.name: job for job in plan_outputs([folder], tmp_path / "out", masks=masks)}
    assert jobs["a.jpg"].mask == masks / "a.geojson"
    assert jobs["b.png"].mask == masks / "b.png"
    with pytest.raises(MaskError, match=r"scan\.TIF: its mask .* does not exist"):
        jobs["scan.TIF"].check([], lossy=False, force=False)


def test_one_mask_does_not_serve_several_images(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="is one file, and there are 3 images"):
        plan_outputs([folder], tmp_path / "out", masks=folder / "b.mask.png")


def test_companions_lie_beside_the_output() -> None:
    output = Output(Path("out/slide.1.png"))
    assert output.record == Path("out/slide.1.ledger.json")
    assert output.path_of("t_map") == Path("out/slide.1.t-map.tif")


def test_uncertainty_is_written_as_a_share_of_half_the_range(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_uncertainty(path, np.array([[0.0, 0.125, 0.5, 0.7]], np.float32))
    with PIL.Image.open(path) as picture:
        written = np.asarray(picture)
    assert written.tolist() == [[0, 16384, 65535, 65535]]
