"""What is written beside an image that was enlarged: how, by what, and from which source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from histomend.ledger.written import WrittenRecord

UPSCALE_SCHEMA_VERSION = 1
UPSCALE_NOTE = "enlarged, not for diagnosis: details are plausible ones, not measured ones"


@dataclass(frozen=True)
class UpscaleRecord(WrittenRecord):
    """How an image was enlarged.

    Parameters
    ----------
    histomend : str
        Version.
    created : str
        UTC, ISO 8601.
    source : dict
        name, sha256 of the file, pixels_sha256, width, height, dtype, mpp, region.
    output : dict
        pixels_sha256, width, height, mpp.
    scale : float
    method : str
    model : dict or None
        Name, hashes, card; None for methods without a model.
    settings : dict
    seed : int
    nfe : int
        Calls of the diffusion's network for the whole field, one a step.
    deviation : float
        By how much the result contradicts the source: the mean absolute difference, in levels of
        8 bits, of the result averaged over each pixel of the source.
    notices : tuple of str
    note : str
    schema_version : int
    """

    histomend: str
    created: str
    source: dict[str, Any]
    output: dict[str, Any]
    scale: float
    method: str
    model: dict[str, Any] | None
    settings: dict[str, Any]
    seed: int
    nfe: int
    deviation: float
    notices: tuple[str, ...]
    note: str = UPSCALE_NOTE
    schema_version: int = UPSCALE_SCHEMA_VERSION
