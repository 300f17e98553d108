"""What was done to an image, as data and as JSON: one account for every task."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from histomend.errors import LedgerError
from histomend.image import settle, write_text
from histomend.image.regular_files import MOST_RECORD, read_text
from histomend.ledger.schema import check_box, checksum, fill_record, plain, take

SCHEMA_VERSION = 2
NOTES = {
    "restore": "restored, not for diagnosis",
    "denoise": "restored, not for diagnosis",
    "upscale": "enlarged, not for diagnosis: details are plausible ones, not measured ones",
}
NOTE = "changed by a model, not for diagnosis"
"""Of tasks that are not listed."""


@dataclass(frozen=True)
class SourceRecord:
    """The image or stack that something was done to.

    Parameters
    ----------
    name : str or None
        File name without folders; None for arrays.
    sha256 : str or None
        Of the file's bytes.
    pixels_sha256 : str or None
        Of shape, type and values, see `histomend.image.pixels_sha256`; None of a whole slide.
    alpha_sha256 : str or None
        The same of the transparency, if there is any.
    width, height : int
        In pixels.
    dtype : str
    mpp : float or None
        Micrometres per pixel.
    lossy : bool
        The source itself was lossily compressed before it came to us.
    region : (x, y, w, h) or None
        The part of the file that was worked on; None for all of it. Everything else in the record
        counts from the corner of this region.
    axes : str or None
        The order of the axes of what was read as a stack, such as ZCYX; None for a picture.
    """

    name: str | None
    sha256: str | None
    pixels_sha256: str | None
    alpha_sha256: str | None
    width: int
    height: int
    dtype: str
    mpp: float | None
    lossy: bool
    region: tuple[int, int, int, int] | None
    axes: str | None = None


@dataclass(frozen=True)
class OutputRecord:
    """What came of it.

    Parameters
    ----------
    pixels_sha256 : str or None
        None of a whole slide.
    width, height : int
        In pixels.
    dtype : str
    mpp : float or None
    lossy : bool
        Whether the file was compressed with loss, so that its pixels are no longer those.
    container : str or None
        How a whole slide was written: "appended", "compact", "pyramid", "dicom" or
        "ome-zarr"; None of a picture.
    file_sha256 : str or None
        Of the bytes of a slide, or of all files of a folder; of an appended one of those behind its
        source's.
    """

    pixels_sha256: str | None
    width: int
    height: int
    dtype: str
    mpp: float | None
    lossy: bool = False
    container: str | None = None
    file_sha256: str | None = None


@dataclass(frozen=True)
class Change:
    """One region that was changed.

    Parameters
    ----------
    bbox : (x, y, w, h)
        In pixels.
    area_px : int
        Masked pixels.
    area_um2 : float or None
        The same in square micrometres; None if the pixel size is not known.
    mean_change : float
        Mean absolute difference over masked pixels and channels, in file units (0..255 or
        0..65535).
    uncertainty : float or None
        Mean of the uncertainty map over masked pixels, in the map's units.
    original : str
        The source pixels under the mask, zeros elsewhere: a PNG of the box, in base64. Empty of a
        slide, which holds them itself.
    mask : str
        The mask within the box: a one-bit PNG, in base64.
    """

    bbox: tuple[int, int, int, int]
    area_px: int
    area_um2: float | None
    mean_change: float
    uncertainty: float | None
    original: str
    mask: str


@dataclass(frozen=True)
class Record:
    """What was done to an image: to what, by what, how, and what came of it.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"
    histomend : str
        Version.
    created : str
        UTC, ISO 8601.
    source : SourceRecord
    output : OutputRecord
    method : str
    model : dict or None
        Name, sha256, card; None for methods without a model.
    options : dict
        The options of `histomend.restore` and its like that give the same again, with `method`,
        the model and `seed`.
    settings : dict
        What came of the options, and on which device, with how many threads.
    seed : int
    nfe : int
        Network calls in all.
    units : int
        Windows, tiles or fields that were worked on.
    windows : tuple of dict
        Those of a restoration.
    regions : tuple of Change
        The regions that a restoration changed, with the original pixels; empty where the whole
        image was worked on.
    figures : dict
        Of a restoration regions, area_px, area_um2, share (of the image), mean_change,
        uncertainty; of denoising what t was; of upscaling scale and deviation.
    notices : tuple of str
    note : str
    schema_version : int
    provenance : dict or None
        Where each restored pixel came from, see `histomend.exemplar.provenance`; None if a model
        drew all of them.
    maps : dict or None
        SHA-256 of the files that were written beside the output, by what they are: mask,
        uncertainty, t_map, control. None in records written earlier.
    """

    task: str
    histomend: str
    created: str
    source: SourceRecord
    output: OutputRecord
    method: str
    model: dict[str, Any] | None
    options: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    nfe: int
    units: int
    windows: tuple[dict[str, Any], ...]
    regions: tuple[Change, ...]
    figures: dict[str, Any]
    notices: tuple[str, ...]
    note: str
    schema_version: int = SCHEMA_VERSION
    provenance: dict[str, Any] | None = None
    maps: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Give the record as JSON text, with a checksum over all of it.

        Raises
        ------
        LedgerError
            If a setting or a model entry cannot be stored as JSON.
        """
        data = plain(asdict(self))
        data["checksum"] = checksum(data)
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read a record from JSON text, and check that nothing in it was changed.

        Raises
        ------
        LedgerError
            Truncated, edited, of another schema, or not a ledger.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LedgerError(
                f"the ledger is truncated or damaged: it is not JSON ({error})"
            ) from error
        if not isinstance(data, dict) or "schema_version" not in data:
            raise LedgerError("this JSON is no Histomend ledger: it has no schema_version")
        version = data["schema_version"]
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise LedgerError(
                f"the ledger has schema version {version!r}, and this Histomend reads "
                f"{SCHEMA_VERSION}. Use the version that wrote it: {data.get('histomend')!r}"
            )
        stated = data.pop("checksum", None)
        if stated != checksum(data):
            raise LedgerError(
                "the ledger was changed after it was written: its checksum does not match. "
                "Use an unchanged copy."
            )
        source = fill_record(SourceRecord, take(data, "source", (dict,)), "source")
        if source.region is not None:
            check_box(source.region, "source.region")
        regions = tuple(
            _change(item, source, f"regions[{i}]")
            for i, item in enumerate(take(data, "regions", (list,)))
        )
        output = fill_record(OutputRecord, take(data, "output", (dict,)), "output")
        filled = {"source": source, "output": output, "regions": regions}
        record = fill_record(cls, {**data, **filled}, "ledger")
        if not all(isinstance(notice, str) for notice in record.notices):
            raise LedgerError("the ledger is damaged: a notice is no text")
        return record

    def write(self, path: Path | str, force: bool = False) -> None:
        """Write the record; the file appears complete or not at all.

        Raises
        ------
        OutputError
            The file exists (and not `force`), or cannot be written.
        """
        write_text(path, self.to_json(), force=force)

    @classmethod
    def read(cls, path: Path | str) -> Record:
        """Read the file of a record.

        Raises
        ------
        LedgerError
            Missing, unreadable, truncated, edited, of another schema, or not a ledger.
        """
        path = Path(path)
        settle(path.parent)
        for found, reason in ((not os.path.lexists(path), "No such file or directory"),
                              (path.is_dir(), "Is a directory")):  # fmt: skip
            if found:
                raise LedgerError(f"{path}: the ledger cannot be opened ({reason})")
        try:
            text = read_text(path, MOST_RECORD, LedgerError, "a ledger")
        except UnicodeDecodeError as error:
            raise LedgerError(f"{path}: is no ledger but a binary file") from error
        try:
            return cls.from_json(text)
        except LedgerError as error:
            raise LedgerError(f"{path}: {error}") from error


def _change(item: Any, source: SourceRecord, where: str) -> Change:
    if not isinstance(item, dict):
        raise LedgerError(f"the ledger is damaged: {where} is {type(item).__name__}")
    change = fill_record(Change, item, where)
    x, y, w, h = check_box(change.bbox, f"{where}.bbox")
    if min(x, y) < 0 or min(w, h) < 1 or x + w > source.width or y + h > source.height:
        raise LedgerError(f"the ledger is damaged: {where}.bbox lies outside the image")
    return change
