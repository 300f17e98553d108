"""From layers of napari to the verbs, and back to layers; neither napari nor Qt is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError, PixelSizeError, UnsupportedImageError
from histomend.image.pixels import length_um, plausible_mpp
from histomend.jobs.progress import Advance
from histomend.masks.polygons import PolygonFiller

LayerData = tuple[Any, dict[str, Any], str]
"""Data, settings and kind of a layer, as napari takes them."""
Mask = npt.NDArray[np.bool_]
RECORD = "histomend"
"""Under this name the metadata of a result hold its record, as JSON."""
# Where a layer lies in the world, beside its scale and translation.
_PLACE = ("rotate", "shear", "affine", "units")
_AREAS = ("polygon", "rectangle", "ellipse")
_SAME = 0.01  # of a pixel size: how far two sides may differ


def pixel_size(layer: Any) -> float | None:
    """Return the micrometres per pixel of a layer, None where it states none.

    A scale without a unit is taken as micrometres, as readers of microscope files give it; a scale
    of 1 without a unit says nothing.

    Parameters
    ----------
    layer : Image, Labels or Shapes layer

    Raises
    ------
    PixelSizeError
        Pixels are not square.
    """
    down, across = (abs(float(side)) for side in layer.scale[-2:])
    if abs(down - across) > _SAME * max(down, across):
        raise PixelSizeError(
            f"The layer {layer.name!r} has pixels of {down:g} by {across:g}, and Histomend works "
            "on square ones. Resample it, or set its scale."
        )
    units = getattr(layer, "units", None)
    unit = "pixel" if units is None else str(units[-1])
    if unit != "pixel":
        return plausible_mpp(length_um(across, unit))
    return None if across == 1 else plausible_mpp(across)


def pixels_of(layer: Any) -> npt.NDArray[Any]:
    """Return the pixels of an Image layer, of a multiscale one the finest level, without alpha."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    pixels = np.asarray(data)
    return pixels[..., :3] if layer.rgb else pixels


def mask_from(marks: Any, image: Any) -> Mask:
    """Return where a Labels or Shapes layer marks an Image layer.

    Parameters
    ----------
    marks : Labels or Shapes layer
        Every label but 0; the inside of polygons, rectangles and ellipses.
    image : Image layer

    Returns
    -------
    (H, W) bool

    Raises
    ------
    MaskError
        Labels are of another size or lie elsewhere; nothing is marked.
    """
    height, width = pixels_of(image).shape[:2]
    if hasattr(marks, "shape_type"):
        mask = _inside_shapes(marks, image, (height, width))
    else:
        labels = np.asarray(marks.data)
        if labels.shape != (height, width):
            raise MaskError(
                f"The labels {marks.name!r} have the shape {labels.shape}, and the image "
                f"{image.name!r} is {height} x {width}. Draw on a Labels layer of the image's size."
            )
        corners = ((0, 0), (height - 1, width - 1))
        for corner in corners:
            there = np.asarray(image.world_to_data(marks.data_to_world(corner)))[-2:]
            if not np.allclose(there, corner, atol=0.5):
                raise MaskError(
                    f"The labels {marks.name!r} lie elsewhere than the image {image.name!r}, or "
                    "have another scale. Give both the same scale and translation."
                )
        mask = labels != 0
    if not mask.any():
        raise MaskError(
            f"The layer {marks.name!r} marks nothing of {image.name!r}. Paint labels over the "
            "damage, or draw polygons, rectangles or ellipses around it."
        )
    return mask


def _inside_shapes(marks: Any, image: Any, shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    for corners, kind in zip(marks.data, marks.shape_type, strict=True):
        if kind not in _AREAS:
            continue
        there = [image.world_to_data(marks.data_to_world(corner)) for corner in corners]
        ring = np.asarray(there, np.float64)[:, -2:]
        if kind == "ellipse":
            ring = _ellipse(ring)
        # napari counts from the centre of the first pixel, rings from its corner; and (y, x).
        filler = PolygonFiller(mask)
        filler.add([ring[:, ::-1] + 0.5])
        filler.finish()
    return mask


def _ellipse(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the ellipse in a rectangle of four corners, as a polygon."""
    turn = np.linspace(0, 2 * np.pi, 128, endpoint=False)[:, None]
    half, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(turn) * half + np.sin(turn) * other)


def restore(
    image: Any, marks: Any | None, *, progress: Advance | None = None, **options: Any
) -> list[LayerData]:
    """Restore what a layer marks in an RGB Image layer, or what a detector finds.

    Parameters
    ----------
    image : Image layer
    marks : Labels or Shapes layer, or None
        Without one, artifacts are detected.
    progress : function of (parts done, parts in all), optional
    options
        Further ones of `histomend.restore`.

    Returns
    -------
    list of LayerData
        The restored image; without marks also the labels of what was restored.

    Raises
    ------
    InputError, ModelError, ResourceError
    """
    import histomend

    pixels = _colours(image, "Restoring")
    where = {"detect": True} if marks is None else {"mask": mask_from(marks, image)}
    mpp = pixel_size(image)
    result = histomend.restore(pixels, **where, mpp=mpp, progress=progress, **options)
    made = [_made(image, result, "restored")]
    if marks is None and result.mask is not None:
        labels = result.mask.astype(np.uint8)
        made.append((labels, {"name": f"{image.name} artifacts", **_placed(image)}, "labels"))
    return made


def denoise(image: Any, *, progress: Advance | None = None, **options: Any) -> list[LayerData]:
    """Denoise an Image layer: grey or RGB, one image or a stack of planes.

    Parameters
    ----------
    image, progress
        As of `restore`.
    options
        Further ones of `histomend.denoise`.
    """
    import histomend

    pixels = pixels_of(image)
    if pixels.ndim == 3 and not image.rgb:
        pixels = pixels[..., None]
    result = histomend.denoise(pixels, mpp=pixel_size(image), progress=progress, **options)
    made = _made(image, result, "denoised")
    return [(made[0].reshape(pixels_of(image).shape), *made[1:])]


def upscale(image: Any, *, progress: Advance | None = None, **options: Any) -> list[LayerData]:
    """Enlarge an RGB Image layer; the result lies where the image lies.

    Parameters
    ----------
    image, progress
        As of `restore`.
    options
        Further ones of `histomend.upscale`.
    """
    import histomend

    pixels = _colours(image, "Enlarging")
    result = histomend.upscale(pixels, mpp=pixel_size(image), progress=progress, **options)
    return [_made(image, result, "enlarged", pixels.shape[0] / result.pixels.shape[0])]


def detect(image: Any, *, progress: Advance | None = None) -> list[LayerData]:
    """Find artifacts in an RGB Image layer, as a Labels layer to edit and to restore with.

    Returns
    -------
    list of LayerData
        Of the labels, 1 is the first class of `histomend.masks.artifact_classes.ARTIFACTS`.
    """
    from histomend.api import find_artifacts
    from histomend.masks.artifact_classes import ARTIFACTS

    detected = find_artifacts(_colours(image, "Detecting"), mpp=pixel_size(image))
    if progress is not None:
        progress(1, 1)
    settings = {
        "name": f"{image.name} artifacts",
        **_placed(image),
        "features": {"index": list(range(len(ARTIFACTS) + 1)), "class": ["sound", *ARTIFACTS]},
        "metadata": {RECORD: detected.found.summary(), "notices": list(detected.notices)},
    }
    return [(detected.found.label_image(), settings, "labels")]


def _colours(image: Any, task: str) -> npt.NDArray[Any]:
    pixels = pixels_of(image)
    if not image.rgb or pixels.ndim != 3:
        raise UnsupportedImageError(
            f"{task} takes one RGB image, and the layer {image.name!r} is "
            f"{'a stack' if image.rgb else 'not RGB'}, {pixels.shape} {pixels.dtype}. For one "
            "channel and for stacks there is Denoise."
        )
    return pixels


def _made(image: Any, result: Any, what: str, coarse: float = 1.0) -> LayerData:
    """Return the layer of a result, which lies where the image lies.

    Parameters
    ----------
    coarse : float
        Pixels of the image per pixel of the result.
    """
    settings = {
        "name": f"{image.name} {what}",
        **_placed(image, coarse),
        "rgb": image.rgb,
        "metadata": {RECORD: result.record.to_json(), "notices": list(result.record.notices)},
    }
    if not image.rgb:
        settings["contrast_limits"] = tuple(image.contrast_limits)
    return result.pixels, settings, "image"


def _placed(image: Any, coarse: float = 1.0) -> dict[str, Any]:
    scale = np.array(image.scale, np.float64)
    shift = np.zeros_like(scale)
    # A layer is placed by the centre of its first pixel, which moves when pixels get smaller.
    shift[-2:] = (coarse - 1) / 2 * scale[-2:]
    scale[-2:] *= coarse
    found = {name: getattr(image, name) for name in _PLACE if hasattr(image, name)}
    return {"scale": scale, "translate": np.array(image.translate) + shift, **found}
