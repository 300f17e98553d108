"""Measured light as it is denoised: planes of one to three channels, and where they came from.

Files hold the same numbers in many orders: channels first or last, one page or many, a z-stack of
either. Here they are always (Z, H, W, C), and `Axes` remembers the way back. Channels that are
restored one by one are planes of one channel each, and there may be any number of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image.pixels import (
    Image,
    Intensity,
    Pixels,
    Region,
    check_region,
    check_size,
    is_grey,
)
from histomend.image.rasters import depth_notices
from histomend.image.signals import MOST_CHANNELS, signal_range

# Axes that say nothing about themselves, in tifffile's letters.
UNKNOWN_AXES = frozenset("IQ")
# From this share of values at the upper end on, users are told.
SATURATED_SHARE = 0.01
GREY_NOTICE = (
    "red, green and blue are equal everywhere: the image is grey, and counts as one channel unless "
    "a model of three is named"
)


@dataclass(frozen=True)
class Axes:
    """The order in which a file holds its values.

    Parameters
    ----------
    letters : str
        One letter per axis: Y and X; C or S for channels; whatever else counts planes.
    shape : tuple of int
        As long as `letters`.
    grey : bool
        The channels of the file are equal, and here is one of them.
    apart : bool
        Each channel is a plane of its own: those of one image follow each other.
    """

    letters: str
    shape: tuple[int, ...]
    grey: bool = False
    apart: bool = False

    @property
    def channels(self) -> int:
        """Channels of the file."""
        channel = self._channel()
        return 1 if channel is None else self.shape[channel]

    def to_canonical(self, values: Pixels) -> Pixels:
        """Return values of `shape` as (Z, H, W, C)."""
        moved = np.transpose(values, self._order())
        height, width = (self.shape[self.letters.index(letter)] for letter in "YX")
        arranged = moved.reshape(-1, height, width, self.channels)
        if self.apart:
            return np.moveaxis(arranged, 3, 1).reshape(-1, height, width, 1)
        return arranged[..., :1] if self.grey else arranged

    def to_original(self, values: Pixels) -> Pixels:
        """Return values (Z, H, W, C) in the order of the file."""
        order = self._order()
        if self.grey:
            values = np.repeat(values, MOST_CHANNELS, axis=3)
        if self.apart:
            values = self.joined(values)
        moved = values.reshape([self.shape[k] for k in order])
        return np.ascontiguousarray(np.transpose(moved, np.argsort(order)))

    def joined(self, values: Pixels) -> Pixels:
        """Return planes of one channel each, (Z * C, H, W, 1), as (Z, H, W, C)."""
        return np.moveaxis(values.reshape(-1, self.channels, *values.shape[1:3]), 1, 3)

    def _channel(self) -> int | None:
        """Return the number of the channels' axis."""
        found = [k for k, letter in enumerate(self.letters) if letter in "CS"]
        # Of a file of one channel whose samples are an axis as well, the one that is longer.
        return max(found, key=lambda k: self.shape[k]) if found else None

    def _order(self) -> list[int]:
        channel = self._channel()
        last = [self.letters.index("Y"), self.letters.index("X")]
        last += [] if channel is None else [channel]
        return [k for k in range(len(self.letters)) if k not in last] + last


@dataclass(frozen=True)
class Stack:
    """An image or a z-stack in memory, with what is known of its file.

    Parameters
    ----------
    values : (Z, H, W, C) uint8, uint16 or float in [0, 1]
        C is 1, 2 (CH2, CH3) or 3 (red, green, blue); Z is 1 for a single image. Where channels
        are apart, C is 1 and Z counts them too.
    axes : Axes
        The order in the file.
    intensity : Intensity
        One for the whole stack, so that its planes stay comparable.
    mpp : float or None
        Micrometres per pixel.
    source : Path or None
    notices : tuple of str
        What the user should be told.
    sha256 : str or None
        Of the bytes of the file; None for arrays.
    icc : bytes or None
        The colour profile of the source, written back as it was.
    alpha : (H, W) of the dtype of `values`, or None
        Transparency of a picture, written back as it was.
    orientation : int
        How the file asks viewers to turn it (TIFF and EXIF tag 274); 1 is not at all.
    white_is_zero : bool
        The file stores light upside down; `values` have been turned the right way.
    region : (x, y, w, h) or None
        The part of the source that this is, in its pixels; None for all of it.
    lossy : bool
        The source is itself lossily compressed.
    """

    values: Pixels
    axes: Axes
    intensity: Intensity
    mpp: float | None = None
    source: Path | None = None
    notices: tuple[str, ...] = ()
    sha256: str | None = None
    icc: bytes | None = None
    alpha: Pixels | None = None
    orientation: int = 1
    white_is_zero: bool = False
    region: Region | None = None
    lossy: bool = False

    @property
    def channels(self) -> int:
        """Channels of a plane."""
        return int(self.values.shape[3])

    def by_channel(self) -> list[Stack]:
        """Return the planes of each channel that is restored by itself; all, if there is one."""
        if not self.axes.apart:
            return [self]
        count = self.axes.channels
        return [replace(self, values=self.values[k::count]) for k in range(count)]

    def together(self) -> Stack:
        """Return the same with all channels of an image in one plane."""
        if not self.axes.apart:
            return self
        axes = replace(self.axes, apart=False)
        return replace(self, values=self.axes.joined(self.values), axes=axes)

    def cut(self, region: Region) -> Stack:
        """Return a part of all planes, (x, y, w, h).

        Raises
        ------
        RegionError, ImageSizeError
        """
        where = "the array" if self.source is None else str(self.source)
        height, width = self.values.shape[1:3]
        x, y, w, h = check_region(region, width, height, where)
        rows, columns = slice(y, y + h), slice(x, x + w)
        sides = {"Y": h, "X": w}
        shape = tuple(
            sides.get(letter, side)
            for letter, side in zip(self.axes.letters, self.axes.shape, strict=True)
        )
        return replace(
            self,
            values=np.ascontiguousarray(self.values[:, rows, columns]),
            axes=replace(self.axes, shape=shape),
            alpha=None if self.alpha is None else self.alpha[rows, columns],
            region=(x, y, w, h),
        )


def original_order(image: Image | Stack) -> Pixels:
    """Return the pixels of an image or a stack as its file or array holds them."""
    return image.axes.to_original(image.values) if isinstance(image, Stack) else image.pixels


def as_stack(
    values: Pixels,
    *,
    channels: int | None = None,
    axes: str | None = None,
    found: str | None = None,
    mpp: float | None = None,
    source: Path | None = None,
    flat: bool = False,
    per_channel: bool | None = False,
) -> Stack:
    """Check values, find their channels, and arrange them as (Z, H, W, C).

    Parameters
    ----------
    values : array of 2 to 5 axes
    channels : int, optional
        How many channels there have to be, as a model is for so many.
    axes : str, optional
        What the user says the axes are: one letter each, such as ZCYX or YXC.
    found : str, optional
        What the file says they are; I and Q are axes of which it says nothing. By default
        nothing is known of any.
    mpp : float or None
    source : Path, optional
        The file, for messages.
    flat : bool
        Take an image of one value throughout, too.
    per_channel : bool, optional
        Let every channel be a plane of its own. None: where channels are no colours of one picture,
        and `channels` does not ask for as many.

    Raises
    ------
    UnsupportedImageError
        A wrong number of channels, an order that cannot be known, or nothing but one value.
    ValueRangeError
        NaN, infinity, negative values, or values of an unknown range.
    ImageSizeError
    """
    where = "the array" if source is None else str(source)
    notices: tuple[str, ...] = ()
    if axes is not None:
        letters = _given(axes.upper(), values.shape, where)
    else:
        letters, notices = _resolved(found or "", values.shape, channels, where)
    order = Axes(letters, values.shape)
    arranged = order.to_canonical(values)
    alike = arranged.shape[3] == MOST_CHANNELS and is_grey(arranged)
    if not alike and _goes_apart(order, channels, per_channel, found or ""):
        order = replace(order, apart=True)
        arranged = order.to_canonical(values)
        notices += (f"its {order.channels} channels are restored one by one, as light of its own",)
    if alike:
        notices += (GREY_NOTICE,)
        if channels != MOST_CHANNELS:
            order = replace(order, grey=True)
            arranged = arranged[..., :1]
    arranged = np.ascontiguousarray(arranged, dtype=arranged.dtype.newbyteorder("="))
    planes, height, width, there = arranged.shape
    for rows in (height, planes * height):
        check_size(width, rows, where)
    if channels is not None and there != channels:
        raise UnsupportedImageError(
            f"{where}: there are {there} channels, and the model is for {channels}. Choose a model "
            "for as many channels with --model, have each channel restored by itself "
            "(--per-channel), or name the axes (--axes ZCYX, say) if they were taken wrongly."
        )
    intensity = signal_range(arranged, where)
    notices += _contents(arranged, intensity, where, flat=flat)
    if arranged.shape[3] == MOST_CHANNELS:
        # What is no picture is shown to models in a range of its own.
        notices += depth_notices(arranged)
    return Stack(arranged, order, intensity, mpp, source, notices)


def _goes_apart(axes: Axes, channels: int | None, per_channel: bool | None, found: str) -> bool:
    """Tell whether channels are planes of their own."""
    if axes.channels == 1 or per_channel is not None:
        return axes.channels > 1 and bool(per_channel)
    if channels not in (None, 1):
        return False
    # Three of which no file says that they are channels, or which lie pixel by pixel, are colours.
    colours = axes.channels == MOST_CHANNELS and ("C" not in found or axes.letters.endswith("C"))
    return not colours


def _given(axes: str, shape: tuple[int, ...], where: str) -> str:
    counts = [axes.count(letter) for letter in ("Y", "X", "C", "S")]
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or counts[:2] != [1, 1]:
        raise UnsupportedImageError(
            f"{where}: the axes {axes!r} do not fit values of shape {shape}. Give one letter for "
            "each axis, among them Y and X, and C for channels: ZCYX, say."
        )
    return axes


def _resolved(
    found: str, shape: tuple[int, ...], channels: int | None, where: str
) -> tuple[str, tuple[str, ...]]:
    """Tell which axis is which, as far as file and shape allow."""
    if len(shape) < 2:
        raise UnsupportedImageError(f"{where}: values of shape {shape} are no image.")
    letters = list(found or "Q" * (len(shape) - 2) + "YX")
    few = range(1, MOST_CHANNELS + 1)
    guessed = all(letter in UNKNOWN_AXES | {"Y", "X"} for letter in letters)
    if guessed and len(shape) > 2 and shape[-1] in few and min(shape[-3:-1]) > MOST_CHANNELS:
        # No image is 3 px wide: the last axis counts channels.
        letters[-3:] = ["Y", "X", "C"]
    if not {"C", "S"} & set(letters):
        open_axes = [k for k, letter in enumerate(letters) if letter in UNKNOWN_AXES]
        likely = [k for k in open_axes if shape[k] == channels] if channels else []
        likely = likely or [k for k in open_axes if 2 <= shape[k] <= MOST_CHANNELS]
        if channels == 1:
            likely = []
        if len(likely) > 1:
            raise UnsupportedImageError(
                f"{where}: of the axes {shape} more than one may count channels. Say which: "
                "--axes ZCYX or --axes CZYX."
            )
        if likely:
            letters[likely[0]] = "C"
            if channels is None:
                return _plain(letters), (
                    f"the {shape[likely[0]]} pages of the file were taken for channels; if they "
                    "are planes of a stack, say --axes ZYX",
                )
    return _plain(letters), ()


def _plain(letters: list[str]) -> str:
    """Name axes that count planes, each by a letter of its own."""
    free = iter("ZTPRHAEVKM")
    taken = set(letters) - UNKNOWN_AXES
    named = []
    for letter in letters:
        if letter in UNKNOWN_AXES:
            letter = next(other for other in free if other not in taken)
        named.append(letter)
    return "".join(named)


def _contents(values: Pixels, intensity: Intensity, where: str, *, flat: bool) -> tuple[str, ...]:
    low, high = values.min(), values.max()
    if low == high and not flat:
        raise ValueRangeError(
            f"{where}: every value is {low}: there is nothing to restore. Check how the image was "
            "exported."
        )
    notices: tuple[str, ...] = ()
    even = int((values.min(axis=(1, 2)) == values.max(axis=(1, 2))).all(axis=1).sum())
    if even:
        notices += (f"{even} of {len(values)} planes hold nothing but one value",)
    # White is the glass of a colour image, and no fault.
    if values.shape[3] < MOST_CHANNELS and not flat:
        share = float(np.count_nonzero(values == high)) / math.prod(values.shape)
        # A camera's or a program's limit may lie below the type's: then values pile up there.
        below = high - (float(high) - float(low)) / 20
        near = float(np.count_nonzero(values >= below)) / math.prod(values.shape)
        if share >= SATURATED_SHARE and (high >= intensity.high or 2 * share > near):
            notices += (
                f"{100 * share:.0f} % of the values are saturated: what was brighter there is "
                "lost, and is not restored",
            )
    return notices
