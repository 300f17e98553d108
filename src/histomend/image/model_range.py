"""In which range a model sees a stack: that of its type, a stretched one, or a stabilised one."""

from __future__ import annotations

import numpy as np

from histomend.errors import SettingError
from histomend.image.camera_noise import estimate_noise
from histomend.image.pixels import Intensity
from histomend.image.signals import fitted_range
from histomend.image.stabilise import CameraNoise, StabilisedRange, stabilised_range
from histomend.image.stacks import Stack

ModelRange = Intensity | StabilisedRange
# A user's camera whose noise is so many times as strong, or as weak, as what is seen is told of, or
# refused.
UNLIKE, ABSURD = 2.0, 30.0


def plain_range(stack: Stack) -> tuple[Intensity, tuple[str, ...]]:
    """Return the range of a stack's type, or less of it (`fitted_range`), and what to say of it."""
    intensity = fitted_range(stack.values, stack.intensity)
    if intensity == stack.intensity:
        return intensity, ()
    return intensity, (
        f"The signal fills less than a third of the range: it is shown to the model from 0 to "
        f"{intensity.high:g} instead of {stack.intensity.high:g}, and written back as it was.",
    )


def camera_range(
    stack: Stack, most_sigma: float, camera: CameraNoise | None = None
) -> tuple[ModelRange, tuple[str, ...]]:
    """Return the range in which a model of stabilised values sees a stack of one channel.

    Parameters
    ----------
    stack : Stack
        All its planes count as exposures of one camera at one setting.
    most_sigma : float
        See `stabilised_range`.
    camera : CameraNoise, optional
        What is known of the camera; by default it is estimated from the stack.

    Returns
    -------
    StabilisedRange or Intensity
        The latter where there is no noise to be seen.
    notices : tuple of str

    Raises
    ------
    SettingError
        The camera that was named cannot have taken the stack.
    """
    # A plane of one value was not exposed, and says nothing of the camera.
    planes = [plane[..., 0] for plane in stack.values if plane.min() < plane.max()]
    if not planes:
        return plain_range(stack)
    if camera is not None and camera.offset >= max(float(plane.max()) for plane in planes):
        raise SettingError(
            f"The offset {camera.offset:g} is what the camera gives in the dark, and no value of "
            "the image is above it. Check --offset, which is in values of the file."
        )
    found = estimate_noise(planes)
    notices: list[str] = []
    if found is not None and not found.is_white:
        notices.append(
            "The noise of neighbouring pixels is alike, as after filtering, binning, enlarging or "
            "JPEG compression. It is taken for less than it is, and part of it may stay: denoise "
            "the camera's own image if there is one."
        )
    if camera is not None and found is not None:
        level = np.array([float(np.median(planes[0]))])
        ratio = float(np.sqrt(camera.variance(level) / found.noise.variance(level))[0])
        unlike = (
            f"The camera that was named would have {ratio:.2g} times the noise that is seen "
            "in the image. Check gain, offset and read noise, which are in values of the "
            "file, or leave them away."
        )
        if not 1 / ABSURD < ratio < ABSURD:
            raise SettingError(unlike)
        if not 1 / UNLIKE < ratio < UNLIKE:
            notices.append(unlike)
    noise = camera or (None if found is None else found.noise)
    if noise is None:
        return plain_range(stack)
    return stabilised_range(planes, noise, most_sigma), tuple(notices)
