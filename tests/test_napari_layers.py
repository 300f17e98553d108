"""The plugin for napari without napari: from layers to the verbs and back."""

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.errors import MaskError, PixelSizeError, UnsupportedImageError
from histomend.image.reading import as_image
from histomend.jobs.progress import Advance
from histomend.ledger import Record, verify
from histomend.napari_plugin import layers
from histomend.napari_plugin.steps import steps


@dataclass
class Layer:
    """What the plugin uses of a layer: napari's data coordinates, scaled and moved."""

    data: Any
    scale: Any = (1.0, 1.0)
    translate: Any = (0.0, 0.0)
    name: str = "layer"
    rgb: bool = False
    multiscale: bool = False
    units: Any = ("pixel", "pixel")
    contrast_limits: tuple[float, float] = (0, 255)
    metadata: dict[str, Any] = field(default_factory=dict)

    def data_to_world(self, place: Any) -> Any:
        return np.asarray(place) * self.scale + self.translate

    def world_to_data(self, place: Any) -> Any:
        return (np.asarray(place) - self.translate) / self.scale


@dataclass
class Shapes(Layer):
    shape_type: list[str] = field(default_factory=list)


@pytest.fixture
def image(tissue: np.ndarray) -> Layer:
    return Layer(np.ascontiguousarray(tissue[:96, :128]), (0.5, 0.5), (10, 20), "tissue", True)


@pytest.mark.parametrize(
    ("scale", "unit", "mpp"),
    [
        (1, "pixel", None), (0.25, "pixel", 0.25), (0.25, "micrometer", 0.25), (1, "micrometer", 1),
        (500, "nanometer", 0.5), (5e-4, "millimeter", 0.5), (72, "pixel", None),
    ],
)  # fmt: skip
def test_the_pixel_size_comes_from_scale_and_unit(
    scale: float, unit: str, mpp: float | None
) -> None:
    layer = Layer(None, (3, scale, scale), units=(unit,) * 3)
    assert layers.pixel_size(layer) == mpp


def test_pixels_that_are_not_square_are_refused() -> None:
    with pytest.raises(PixelSizeError, match=r"0\.5 by 0\.25"):
        layers.pixel_size(Layer(None, (0.5, 0.25)))


def test_shapes_mark_the_pixels_whose_centres_they_hold(image: Layer) -> None:
    square = np.array([[39.6, 49.6], [39.6, 59.4], [49.4, 59.4], [49.4, 49.6]])
    corners = np.array([[60, 80], [80, 80], [80, 110], [60, 110]], float)
    line = np.array([[0, 0], [90, 120]], float)
    marks = Shapes(
        [image.data_to_world(shape) for shape in (square, corners, line)],
        shape_type=["polygon", "ellipse", "line"],
    )
    mask = layers.mask_from(marks, image)
    assert mask[40:50, 50:60].all()
    assert mask.sum() - 100 == pytest.approx(np.pi * 10 * 15, rel=0.04)
    assert mask[70, 95]
    assert not mask[62, 82], "outside the ellipse, in its rectangle"


def test_labels_have_to_lie_where_the_image_lies(image: Layer) -> None:
    labels = np.zeros((96, 128), np.int32)
    place = (image.scale, image.translate)
    with pytest.raises(MaskError, match="marks nothing"):
        layers.mask_from(Layer(labels, *place), image)
    labels[3:5, 7] = 9
    assert layers.mask_from(Layer(labels, *place), image).sum() == 2
    with pytest.raises(MaskError, match="lie elsewhere"):
        layers.mask_from(Layer(labels, image.scale), image)
    with pytest.raises(MaskError, match="shape"):
        layers.mask_from(Layer(labels[1:], *place), image)


def test_a_restored_layer_lies_on_the_image_and_has_its_record(
    image: Layer, untrained: Path
) -> None:
    labels = np.zeros((96, 128), np.int32)
    labels[30:50, 40:60] = 1
    marks = Layer(labels, image.scale, image.translate)
    told: list[tuple[int, int]] = []
    ((data, settings, kind),) = layers.restore(
        image, marks, model=untrained, preset="generate", progress=lambda *now: told.append(now)
    )
    assert (kind, settings["name"], settings["rgb"]) == ("image", "tissue restored", True)
    assert settings["scale"] == pytest.approx((0.5, 0.5))
    assert settings["translate"] == pytest.approx((10, 20))
    record = Record.from_json(settings["metadata"]["histomend"])
    assert record.source.mpp == 0.5
    assert verify(record, as_image(data), as_image(image.data)).ok
    assert told[-1][0] == told[-1][1] > 0


def test_an_enlarged_layer_covers_what_the_image_covers(image: Layer) -> None:
    ((data, settings, _),) = layers.upscale(image, method="bicubic", scale=2.0)
    assert data.shape == (192, 256, 3)
    assert settings["scale"] == pytest.approx((0.25, 0.25))
    # The outer corner of the first pixel: half a pixel before its centre.
    for axis, edge in enumerate((10 - 0.25, 20 - 0.25)):
        assert settings["translate"][axis] - settings["scale"][axis] / 2 == pytest.approx(edge)


def test_grey_images_and_stacks_are_denoised(tissue: np.ndarray) -> None:
    stack = np.ascontiguousarray(tissue[:70, :80, 0] * np.ones((3, 1, 1), np.uint8))
    for values in (stack[0], stack):
        layer = Layer(values, (1,) * values.ndim, (0,) * values.ndim, "grey")
        ((data, settings, kind),) = layers.denoise(layer, method="median")
        assert (kind, data.shape, data.dtype) == ("image", values.shape, np.uint8)
        assert settings["contrast_limits"] == (0, 255)
        assert (data != values).any()
    with pytest.raises(UnsupportedImageError, match="takes one RGB image"):
        layers.upscale(Layer(stack[0], name="grey"))


def test_what_is_detected_is_a_layer_to_restore_with(image: Layer) -> None:
    ((labels, settings, kind),) = layers.detect(image)
    assert (kind, labels.shape) == ("labels", (96, 128))
    assert len(settings["features"]["class"]) == len(settings["features"]["index"]) > labels.max()
    assert settings["translate"] == pytest.approx((10, 20))


def test_of_a_multiscale_layer_the_finest_level_is_taken_without_alpha() -> None:
    fine = np.dstack([np.full((80, 90, 3), 7, np.uint8), np.full((80, 90), 255, np.uint8)])
    layer = Layer([fine, fine[::2, ::2]], rgb=True, multiscale=True)
    assert layers.pixels_of(layer).shape == (80, 90, 3)


def test_steps_come_out_one_by_one_and_the_result_at_the_end() -> None:
    def work(advance: Advance) -> str:
        for n in (1, 2, 3):
            advance(n, 3)
        return "made"

    run = steps(work)
    assert [next(run), next(run), next(run)] == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(StopIteration) as end:
        next(run)
    assert end.value.value == "made"


def test_errors_come_out_and_work_that_is_left_ends() -> None:
    def failing(advance: Advance) -> None:
        raise MaskError("nothing is marked")

    with pytest.raises(MaskError, match="nothing is marked"):
        list(steps(failing))
    ended = threading.Event()

    def endless(advance: Advance) -> None:
        try:
            while True:
                advance(0, 1)
                time.sleep(0.001)
        finally:
            ended.set()

    run = steps(endless)
    next(run)
    run.close()
    assert ended.wait(30)


def test_the_manifest_names_what_there_is() -> None:
    """What napari reads: the panels themselves need it to be imported."""
    folder = Path(layers.__file__).parent
    manifest = (folder / "napari.yaml").read_text()
    named = re.findall(r"python_name: histomend\.napari_plugin\.panels:(\w+)", manifest)
    assert len(named) == manifest.count("python_name:") == 4
    code = (folder / "panels.py").read_text()
    assert [name for name in named if f"class {name}(Panel)" not in code] == []
    ids = re.findall(r"- id: (\S+)", manifest)
    assert re.findall(r"- command: (\S+)", manifest) == ids
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'histomend = "histomend.napari_plugin:napari.yaml"' in project
