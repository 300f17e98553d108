"""What is written beside an image of which the whole field was restored.

There is no mask, so no original pixels are kept and nothing can be undone: the source is what
remains. The record says what was done, so that it can be done again and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from histomend.ledger.records import NOTE
from histomend.ledger.written import WrittenRecord

RECORD_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class DenoiseRecord(WrittenRecord):
    """How the whole field of an image or a stack was restored.

    Parameters
    ----------
    histomend : str
        Version.
    created : str
        UTC, ISO 8601.
    source : dict
        name, pixels_sha256, shape, dtype.
    output_pixels_sha256 : str
    intensity : dict
        low and high: the file values that the model saw as -1 and 1.
    model : dict or None
        Name, sha256, card; None for methods without a model.
    method : str
    settings : dict
    seed : int
    nfe : dict
        total, and mean and most per tile.
    t : dict or None
        min, median, mean and max of the t-map, and the share of pixels that were left as they
        are; None for methods that know no t.
    tiles : int
    notices : tuple of str
    note : str
    schema_version : int
    """

    histomend: str
    created: str
    source: dict[str, Any]
    output_pixels_sha256: str
    intensity: dict[str, float]
    model: dict[str, Any] | None
    method: str
    settings: dict[str, Any]
    seed: int
    nfe: dict[str, float]
    t: dict[str, float] | None
    tiles: int
    notices: tuple[str, ...]
    note: str = NOTE
    schema_version: int = RECORD_SCHEMA_VERSION
