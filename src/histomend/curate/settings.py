"""What tiles are wanted."""

from __future__ import annotations

from dataclasses import dataclass

from histomend.errors import SettingError
from histomend.image import MIN_SIDE, check_mpp

LARGEST_SIDE = 4096


@dataclass(frozen=True)
class TileSettings:
    """What tiles are wanted, and which ones are good enough.

    The default limits were set on tiles picked by hand and on crops with real artifacts;
    `benchmarks/curation.py` prints what they keep and reject there.

    Attributes
    ----------
    mpp : micrometres per pixel of the tiles.
    size : side of a tile, px; 64 to 4096.
    tissue : least share of a tile that is coloured tissue, above 0, at most 1.
    artifacts : largest share of a tile that the detector of artifacts may mark, in [0, 1).
    sharpness : least sharpness of a tile relative to the slide's own sharp tissue, in [0, 1);
        0 keeps blurred tiles.
    per_slide : most tiles of one slide; None for all.
    validation_share : share of the slides held out as split "val", in [0, 1).
    seed : decides which slides are held out, and which tiles are taken where there are more.
    source_mpp : micrometres per pixel of files that do not say; None refuses them.

    Raises
    ------
    SettingError, PixelSizeError
        If something is out of range.
    """

    mpp: float
    size: int
    tissue: float = 0.5
    artifacts: float = 0.01
    sharpness: float = 0.65
    per_slide: int | None = None
    validation_share: float = 0.2
    seed: int = 0
    source_mpp: float | None = None

    def __post_init__(self) -> None:
        check_mpp(self.mpp, "--mpp")
        if self.source_mpp is not None:
            check_mpp(self.source_mpp, "--source-mpp")
        if not MIN_SIDE <= self.size <= LARGEST_SIDE:
            raise SettingError(
                f"--size is {self.size}, but tiles have {MIN_SIDE} to {LARGEST_SIDE} px a side: "
                "no training takes smaller ones, and larger ones seldom are free of artifacts."
            )
        if not 0 < self.tissue <= 1:
            raise SettingError(f"--tissue is {self.tissue}, but must be above 0 and at most 1.")
        for name in ("artifacts", "sharpness", "validation_share"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                option = name.replace("_", "-")
                raise SettingError(f"--{option} is {value}, but must be at least 0 and below 1.")
        if self.per_slide is not None and self.per_slide < 1:
            raise SettingError(f"--per-slide is {self.per_slide}, but must be at least 1.")
