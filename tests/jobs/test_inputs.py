"""Folders: what is taken, what is passed over, and which mask belongs to which image."""

from pathlib import Path

import pytest

from histomend.errors import MaskError
from histomend.jobs.inputs import folder_name, passed_over, with_masks


def test_subfolders_and_slides_in_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ("more", "still-more", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "b.svs"):
        (tmp_path / name).touch()
    (said,) = passed_over([tmp_path])
    assert "passed over 2 subfolders and 1 whole-slide file." in said
    assert passed_over([tmp_path / "a.png", tmp_path / "more"]) == []


def test_a_mask_beside_an_image_belongs_to_it_and_is_no_image(tmp_path: Path) -> None:
    for name in ("a.png", "a_mask.png", "b.png"):
        (tmp_path / name).touch()
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    assert with_masks([a, tmp_path / "a_mask.png", b]) == {a: tmp_path / "a_mask.png", b: None}
    (tmp_path / "a.mask.geojson").touch()
    with pytest.raises(MaskError, match="2 masks lie beside it"):
        with_masks([a])


@pytest.mark.parametrize(
    ("name", "folder"), [("a.png", "a"), ("a.ome.tif", "a.ome"), ("...png", "...png"), (".x", ".x")]
)
def test_no_folder_of_an_image_lies_outside(name: str, folder: str) -> None:
    assert folder_name(Path("in", name)) == folder
