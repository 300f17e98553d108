"""The plugin in napari itself: it is found, and its panels run, cancel and say what is wrong."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

napari = pytest.importorskip("napari")
qtpy = pytest.importorskip("qtpy.QtWidgets")

from histomend.image.reading import as_image  # noqa: E402
from histomend.ledger import Record, verify  # noqa: E402
from histomend.napari_plugin import panels  # noqa: E402

pytestmark = [
    # Of napari and what it stands on.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def application() -> Any:
    return qtpy.QApplication.instance() or qtpy.QApplication([])


@pytest.fixture
def viewer(application: Any) -> Any:
    """Return a viewer without a window, which needs no OpenGL."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(panels, "show_error", found.append)
    monkeypatch.setattr(panels, "show_info", found.append)
    return found


def until(application: Any, reached: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        application.processEvents()
        time.sleep(0.01)


def test_napari_finds_the_panels() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("histomend")
    assert manifest.contributions.widgets is not None
    assert [widget.display_name for widget in manifest.contributions.widgets] == [
        "Restore", "Denoise", "Enlarge", "Detect artifacts",
    ]  # fmt: skip
    for command in manifest.contributions.commands or ():
        module, _, name = str(command.python_name).partition(":")
        assert (module, hasattr(panels, name)) == (panels.__name__, True)


def test_what_is_marked_is_restored_in_a_new_layer(
    application: Any, viewer: Any, tissue: np.ndarray, said: list[str], untrained: Path
) -> None:
    pixels = np.ascontiguousarray(tissue[:128, :160])
    panel = panels.Restore(viewer)
    image = viewer.add_image(pixels, name="tissue", scale=(0.5, 0.5), units=("um", "um"))
    assert panel._image.value is image, "layers that come later can be chosen"
    square = [[40, 50], [40, 79], [69, 79], [69, 50]]
    marks = viewer.add_shapes(
        np.array(square) * 0.5, shape_type="polygon", name="damage", units=("um", "um")
    )
    panel._marks.value = marks
    panel._verb = lambda *a, **k: panels.layers.restore(
        *a, **{**k, "preset": "generate", "model": untrained}
    )
    panel.start()
    assert not panel._run.enabled
    until(application, lambda: len(viewer.layers) > 2 and panel._run.enabled)
    made = viewer.layers[-1]
    assert made.name == "tissue restored"
    assert tuple(made.scale) == (0.5, 0.5)
    assert str(made.units[0]) == "micrometer"
    record = Record.from_json(made.metadata["histomend"])
    assert record.source.mpp == 0.5
    assert verify(record, as_image(made.data), as_image(pixels)).ok
    changed = (made.data != pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 68, 50, 78)


def test_what_is_wrong_is_said_and_cancelled_work_adds_nothing(
    application: Any, viewer: Any, tissue: np.ndarray, said: list[str]
) -> None:
    viewer.add_image(np.zeros((100, 100), np.uint8), name="grey")
    panel = panels.Enlarge(viewer)
    panel.start()
    until(application, lambda: panel._run.enabled)
    assert any("takes one RGB image" in text for text in said)

    def endless(image: Any, *, progress: Any, **_: Any) -> Any:
        for n in range(10**6):
            progress(n, 10**6)
            time.sleep(0.01)

    panel._verb = endless
    panel.start()
    until(application, lambda: panel._cancel.enabled)
    panel.cancel()
    until(application, lambda: panel._run.enabled)
    assert len(viewer.layers) == 1
