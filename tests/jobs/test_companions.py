"""What lies beside outputs: no two images share it, and nothing that is read is replaced."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histomend.errors import OutputError
from histomend.image import Image
from histomend.image.reading import file_sha256
from histomend.jobs.companions import check_apart, name_beside, record_of
from histomend.jobs.outputs import Output, plan_outputs
from histomend.jobs.run import Result
from histomend.ledger import Record
from histomend.ledger.build import build_record


def test_two_inputs_of_one_stem_have_records_of_two_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("x.png", "x.tif", "y.png"):
        (tmp_path / "in" / name).touch()
    outputs = plan_outputs([tmp_path / "in"], tmp_path / "out")
    assert [(o.image.name, o.record.name, o.path_of("t_map").name) for o in outputs] == [
        ("x.png", "x.png.ledger.json", "x.png.t-map.tif"),
        ("x.tif", "x.tif.ledger.json", "x.tif.t-map.tif"),
        ("y.png", "y.ledger.json", "y.t-map.tif"),
    ]


def test_what_belongs_to_another_image_is_left_to_it(tmp_path: Path) -> None:
    for name in ("x.png", "x.ledger.json"):
        (tmp_path / name).touch()
    assert Output(tmp_path / "x.png").record.name == "x.ledger.json"
    later = Output(tmp_path / "x.tif")
    assert later.record.name == "x.tif.ledger.json"
    assert later.path_of("mask").name == "x.tif.mask.png"
    later.image.touch()
    later.record.touch()
    # Each finds its own, and keeps its name.
    assert record_of(tmp_path / "x.png").name == "x.ledger.json"
    assert record_of(tmp_path / "x.tif").name == "x.tif.ledger.json"
    assert name_beside(tmp_path / "x.tif") == "x.tif"


def test_a_source_of_the_same_stem_has_no_companions_to_lose(tmp_path: Path) -> None:
    (tmp_path / "x.tif").touch()
    assert Output(tmp_path / "x.png", tmp_path / "x.tif").record.name == "x.ledger.json"


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_what_is_read_is_never_replaced_under_any_name(tmp_path: Path, link: object) -> None:
    (tmp_path / "a.png").touch()
    link(tmp_path / "a.png", tmp_path / "other.png")  # type: ignore[operator]
    with pytest.raises(OutputError, match=r"other\.png: is the source image itself"):
        check_apart([tmp_path / "a.png"], [tmp_path / "b.png", tmp_path / "other.png"])
    with pytest.raises(OutputError, match="is the mask itself"):
        check_apart([], [tmp_path / "other.png"], others={tmp_path / "a.png": "the mask"})


def test_no_two_things_have_one_place(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    twice = [tmp_path / "new.tif", tmp_path / "in" / ".." / "new.tif"]
    with pytest.raises(OutputError, match="is the output itself, or another's"):
        check_apart([], twice)
    check_apart([tmp_path / "none.png"], twice[:1])


def _of_an_earlier_call(folder: Path) -> tuple[Output, dict[str, Path]]:
    """An image with its record, and maps beside it."""
    output = Output(folder / "x.png", folder / "source.png")
    maps = {name: output.path_of(name) for name in ("mask", "uncertainty", "t_map")}
    for name, path in maps.items():
        path.write_bytes(name.encode())
    output.image.touch()
    written = {name: file_sha256(path) for name, path in maps.items()}
    record = build_record("restore", _image(), _image(), method="m", model=None, options={},
                          settings={}, seed=0, nfe=0)  # fmt: skip
    replace(record, maps=written).write(output.record)
    return output, maps


def _image() -> Image:
    return Image(np.zeros((16, 16, 3), np.uint8))


def test_maps_of_the_result_that_is_replaced_go_with_it_and_others_stay(tmp_path: Path) -> None:
    output, maps = _of_an_earlier_call(tmp_path)
    maps["uncertainty"].write_bytes(b"mine")  # somebody's own, by chance of this name
    assert output.left_over(["t_map"]) == ([maps["mask"]], [maps["uncertainty"]])
    # What is read stays, and what is written again is replaced.
    assert output.left_over(["t_map"], read=[maps["mask"]]) == ([], [maps["uncertainty"]])
    assert replace(output, mask=maps["mask"]).left_over(maps) == ([], [])
    # Without a record that names them nobody knows whose they are.
    output.record.unlink()
    assert output.left_over([]) == ([], list(maps.values()))


def test_a_result_leaves_no_map_of_the_one_before(tmp_path: Path) -> None:
    output, maps = _of_an_earlier_call(tmp_path)
    record = Record.read(output.record)
    drawn = np.full((16, 16), 0.1, np.float32)
    output.write(Result(_image(), record, _image(), uncertainty=drawn), force=True)
    found = Record.read(output.record).maps
    assert found == {"uncertainty": file_sha256(maps["uncertainty"])}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.ledger.json", "x.png", "x.uncertainty.png",
    ]  # fmt: skip


def test_an_image_keeps_the_names_of_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("x.png", "x.ledger.json", "x.tif", "x.tif.ledger.json", "y.svs", "y.ledger.json"):
        (tmp_path / name).touch()
    assert name_beside(tmp_path / "x.png") == "x"
    assert name_beside(tmp_path / "x.tif") == "x.tif"
    assert name_beside(tmp_path / "y.tif") == "y.tif"
