"""How large an image becomes: by a factor, or up to a pixel size."""

from __future__ import annotations

from histomend.errors import ImageSizeError, PixelSizeError, SettingError
from histomend.image import MAX_PIXELS, MIN_SIDE, check_mpp
from histomend.image.resampling import target_size
from histomend.slides.source import Source


def scale_of(source: Source, scale: float | None, target_mpp: float | None) -> float:
    """Return the factor by which an image is enlarged.

    Raises
    ------
    SettingError
        Neither or both are given.
    PixelSizeError
        `target_mpp` is impossible, or the pixel size of the source is not known.
    """
    if (scale is None) == (target_mpp is None):
        both = "not both" if scale is not None else "for instance --scale 4"
        raise SettingError(
            f"Say how much larger the image is to become: --scale S or --target-mpp X, {both}."
        )
    if scale is not None:
        return float(scale)
    wanted = check_mpp(target_mpp, "--target-mpp")  # type: ignore[arg-type]
    if source.mpp is None:
        raise PixelSizeError(
            f"{source.where}: the file does not say its pixel size, so that it is not known by "
            f"how much {wanted:g} um per pixel is larger. Say it: --mpp X; or use --scale."
        )
    return source.mpp / wanted


def size_of(source: Source, scale: float) -> tuple[int, int]:
    """Return height and width of an image that was enlarged.

    Raises
    ------
    SettingError
        The scale is under 1 or over 8.
    ImageSizeError
        It would have less than 64 px a side, or more than 450 megapixels.
    """
    height, width = target_size(source.height, source.width, scale)
    if min(height, width) < MIN_SIDE:
        raise ImageSizeError(
            f"{source.where}: {source.width} x {source.height} px enlarged {scale:g} times are "
            f"{width} x {height} px; at least {MIN_SIDE} px a side are needed. Use a larger scale, "
            "or more of the image."
        )
    if height * width > MAX_PIXELS:
        raise ImageSizeError(
            f"{source.where}: enlarged {scale:g} times it would have "
            f"{height * width / 1e6:,.0f} megapixels; the limit is {MAX_PIXELS // 10**6}. Use a "
            "smaller scale, or a part of it: --region x,y,w,h."
        )
    return height, width
