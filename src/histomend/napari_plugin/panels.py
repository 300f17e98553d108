"""The panels in napari: which layer, a few settings, run, cancel, and progress."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from magicgui.widgets import ComboBox, Container, Label, PushButton, create_widget
from napari.layers import Image, Labels, Layer, Shapes
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from napari.utils.progress import progress

from histomend.errors import HistomendError
from histomend.jobs.progress import Advance
from histomend.napari_plugin import layers
from histomend.napari_plugin.layers import LayerData
from histomend.napari_plugin.steps import steps

_NOTE = "Restored images are not for diagnosis."


class Panel(Container):
    """A panel that runs one verb on a layer, in a thread, and adds what comes of it as layers.

    Parameters
    ----------
    viewer : napari.Viewer
    verb : function of (image layer, progress, options) that returns layers
    name : what the button says
    marks : whether a layer may say where
    settings : widgets of further options, by their names
    """

    def __init__(
        self,
        viewer: Any,
        verb: Callable[..., list[LayerData]],
        name: str,
        *,
        marks: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._viewer, self._verb = viewer, verb
        self._image = self._chooser("Image", Image)
        self._marks = self._chooser("Damage", Labels, Shapes, nullable=True) if marks else None
        self._settings = settings or {}
        self._run = PushButton(text=name)
        self._cancel = PushButton(text="Cancel", enabled=False)
        self._worker: Any = None
        shown = [self._image, self._marks, *self._settings.values(), self._run, self._cancel]
        super().__init__(widgets=[*(w for w in shown if w is not None), Label(value=_NOTE)])
        self._run.changed.connect(self.start)
        self._cancel.changed.connect(self.cancel)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self.reset_choices)

    def _chooser(self, label: str, *kinds: type, nullable: bool = False) -> Any:
        """Return a list of the layers of some kinds, which follows those of the viewer."""

        def found(_: Any) -> list[Any]:
            return [layer for layer in self._viewer.layers if isinstance(layer, kinds)]

        tip = "Without one, artifacts are detected" if nullable else ""
        return ComboBox(label=label, choices=found, nullable=nullable, tooltip=tip)

    def start(self) -> None:
        """Run it on the layer that is chosen."""
        image = self._image.value
        if image is None:
            show_error("Open an image first.")
            return
        options = {name: widget.value for name, widget in self._settings.items()}
        if self._marks is not None:
            options["marks"] = self._marks.value
        work = partial(self._verb, image, **options)
        bar = progress(total=0, desc=f"{self._run.text}: {image.name}")

        def advanced(step: tuple[int, int]) -> None:
            done, of = step
            bar.total = of
            bar.n = done
            bar.refresh()

        def finished() -> None:
            bar.close()
            self._run.enabled, self._cancel.enabled = True, False
            self._worker = None

        worker = create_worker(_tried, lambda advance: work(progress=advance))
        worker.yielded.connect(advanced)
        worker.returned.connect(self._add)
        worker.finished.connect(finished)
        self._run.enabled, self._cancel.enabled = False, True
        self._worker = worker
        worker.start()

    def cancel(self) -> None:
        """End the work at its next step; nothing is added."""
        if self._worker is not None:
            self._worker.quit()

    def _add(self, made: list[LayerData] | str | None) -> None:
        if isinstance(made, str):
            show_error(made)
            return
        for data, settings, kind in made or ():
            self._viewer.add_layer(Layer.create(data, settings, kind))
            for notice in settings.get("metadata", {}).get("notices", ()):
                show_info(notice)


def _tried(
    work: Callable[[Advance], list[LayerData]],
) -> Generator[tuple[int, int], None, list[LayerData] | str]:
    """Return layers, or in words what is wrong: napari shows what is raised with its traceback."""
    try:
        return (yield from steps(work))
    except HistomendError as error:
        return str(error)


def _seed() -> Any:
    return create_widget(0, annotation=int, name="seed", label="Seed", options={"min": 0})


class Restore(Panel):
    """Restores what a Labels or Shapes layer marks, or what is detected."""

    def __init__(self, napari_viewer: Any) -> None:
        from histomend.methods import METHODS

        info = METHODS["artifusion"]
        preset = create_widget(
            info.default_preset, name="preset", label="Preset", widget_type="ComboBox",
            options={"choices": list(info.presets)},
        )  # fmt: skip
        super().__init__(
            napari_viewer, layers.restore, "Restore", marks=True,
            settings={"preset": preset, "seed": _seed()},
        )  # fmt: skip


class Denoise(Panel):
    """Denoises an image or a stack."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, layers.denoise, "Denoise", settings={"seed": _seed()})


class Enlarge(Panel):
    """Enlarges an image."""

    def __init__(self, napari_viewer: Any) -> None:
        scale = create_widget(
            2.0, annotation=float, name="scale", label="Times", options={"min": 1, "max": 8}
        )
        super().__init__(
            napari_viewer, layers.upscale, "Enlarge", settings={"scale": scale, "seed": _seed()}
        )


class Detect(Panel):
    """Finds artifacts, as labels to edit and to restore with."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, layers.detect, "Detect artifacts")
