"""The record of a whole slide, and the proof that the slide is what its record says.

The original pixels are in an appended slide itself, so that the record holds masks only.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

import histomend
from histomend.errors import LedgerError
from histomend.exemplar.provenance import Provenance
from histomend.image.pixels import Image, Region
from histomend.ledger.build import totals
from histomend.ledger.proof import Check, Verification
from histomend.ledger.records import NOTES, Change, OutputRecord, Record, SourceRecord
from histomend.ledger.schema import plain
from histomend.slides.slide_sink import APPENDED, DICOM, Written
from histomend.slides.tile_folders import slide_sha256
from histomend.slides.undo import verify as verify_bytes

Mask = npt.NDArray[np.bool_]
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass
class SlideAccount:
    """What became of the parts of a slide, added up.

    Parameters
    ----------
    source : Image
        What is known of the slide.
    size : (width, height)
    """

    source: Image
    size: tuple[int, int]
    changes: list[Change] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    pieces: list[dict[str, Any]] = field(default_factory=list)
    shares: dict[str, int] = field(default_factory=dict)
    notices: dict[str, list[str]] = field(default_factory=dict)
    nfe: int = 0

    def add(self, report: dict[str, Any]) -> None:
        """Add what `part_report` gave of a part."""
        for change in report["regions"]:
            self.changes.append(Change(**{**change, "bbox": tuple(change["bbox"])}))
        self.windows += report["windows"]
        self.nfe += report["nfe"]
        for text in report["notices"]:
            self.notices.setdefault(_NUMBER.sub("#", text), []).append(text)
        if report["provenance"] is not None:
            self.pieces += report["provenance"]["parts"]
            for name, count in report["provenance"]["pixels"].items():
                self.shares[name] = self.shares.get(name, 0) + count

    def record(
        self,
        written: Written,
        *,
        lossy: bool,
        method: str,
        model: dict[str, Any] | None,
        options: dict[str, Any],
        settings: dict[str, Any],
        seed: int,
        notices: Sequence[str],
    ) -> Record:
        """Return the record of the slide; parameters as of `build_record`."""
        source, (width, height) = self.source, self.size
        dtype = source.pixels.dtype.name
        figures = totals(self.changes, width * height, source.mpp)
        figures |= {"tiles": written.tiles, "never_scanned_tiles": len(written.never_scanned)}
        provenance = {"pixels": self.shares, "parts": self.pieces} if self.pieces else None
        return Record(
            task="restore",
            histomend=histomend.__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            source=SourceRecord(
                name=source.source.name if source.source else None,
                sha256=source.sha256,
                pixels_sha256=None,
                alpha_sha256=None,
                width=width,
                height=height,
                dtype=dtype,
                mpp=source.mpp,
                lossy=source.lossy,
                region=None,
            ),
            output=OutputRecord(
                None, width, height, dtype, source.mpp, lossy, written.kind, written.sha256
            ),
            method=method,
            model=None if model is None else plain(model, "model"),
            options=plain(options, "options"),
            settings=plain(settings, "settings"),
            seed=int(seed),
            nfe=self.nfe,
            units=len(self.windows),
            windows=tuple(self.windows),
            regions=tuple(self.changes),
            figures=plain(figures, "figures"),
            notices=(*notices, *self._told()),
            note=NOTES["restore"],
            provenance=None if provenance is None else plain(provenance, "provenance"),
        )

    def _told(self) -> list[str]:
        """Return each notice once, those that differ by their numbers counted."""
        return [
            texts[0]
            if len(set(texts)) == 1
            else f"{texts[0]} (So, with other numbers, in {len(texts)} parts of the slide.)"
            for texts in self.notices.values()
        ]


def part_report(record: Record, region: Region) -> dict[str, Any]:
    """Return what the record of a part says, in coordinates of the slide, as JSON values.

    Parameters
    ----------
    record : Record
        Of the part as an image.
    region : (x, y, w, h)
        Of that image in the slide.
    """
    left, top = region[:2]

    def moved(box: Any) -> list[int]:
        return [int(box[0]) + left, int(box[1]) + top, int(box[2]), int(box[3])]

    windows = [
        {**window, "field": moved(window["field"]), "core": moved(window["core"])}
        for window in record.windows
    ]
    provenance = None
    if record.provenance is not None:
        shape = record.source.height, record.source.width
        parts = [
            replace(
                part,
                box=(part.box[0] + left, part.box[1] + top, part.box[2], part.box[3]),
                pieces=tuple(piece.seen_from(-top, -left) for piece in part.pieces),
            )
            for part in Provenance.read(record.provenance, shape).parts
        ]
        provenance = Provenance(tuple(parts)).record()
    found: dict[str, Any] = plain(
        {
            "regions": [
                {
                    "bbox": moved(change.bbox),
                    "area_px": change.area_px,
                    "area_um2": change.area_um2,
                    "mean_change": change.mean_change,
                    "uncertainty": change.uncertainty,
                    "original": "",
                    "mask": change.mask,
                }
                for change in record.regions
            ],
            "windows": windows,
            "nfe": record.nfe,
            "notices": list(record.notices),
            "provenance": provenance,
        },
        "part",
    )
    return found


def verify_slide(
    restored: Path, record: Record | None = None, source: Path | None = None
) -> Verification:
    """Prove that a slide is what its record says, without decoding tiles that nobody touched.

    Parameters
    ----------
    restored : Path
    record : Record or None
        None proves of a slide that holds its source what can be proven from it alone.
    source : Path or None
        What it was made from, if it is at hand.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
        The slide is damaged so that it cannot be examined.
    """
    if record is not None and record.output.container not in (APPENDED, DICOM):
        return _verify_file(restored, record, source)
    proof = verify_bytes(restored, source)
    problems = "; ".join(proof.problems)
    outside = problems or (
        f"{proof.tiles} tiles are the source's byte for byte, but for {len(proof.changes)}, whose "
        "pixels outside of the mask, grown to whole cells of its compression, are the source's"
    )
    checks = [Check("outside the mask", proof.ok, outside)]
    if record is not None:
        same = record.source.sha256 == proof.sha256
        checks.insert(
            0,
            Check(
                "source",
                same,
                "holds the slide of the record, byte for byte"
                if same
                else "the record is of another slide",
            ),
        )
        written = proof.appended_sha256 == record.output.file_sha256
        what = "what was appended" if record.output.container == APPENDED else "the file"
        message = f"{what} is what was written" if written else "was changed afterwards"
        checks.insert(1, Check("output", written, message))
        if same and proof.ok:
            checks.append(_check_mask(record, proof.changes))
    return Verification(all(check.ok for check in checks), tuple(checks))


def _verify_file(restored: Path, record: Record, source: Path | None) -> Verification:
    same = slide_sha256(restored) == record.output.file_sha256
    message = "the slide is the one that was written" if same else "was changed afterwards"
    checks = [Check("output", same, message)]
    if source is not None:
        given = slide_sha256(source) == record.source.sha256
        message = "is the slide that was restored" if given else "is another slide"
        checks.append(Check("source", given, f"the given source {message}"))
    return Verification(all(check.ok for check in checks), tuple(checks))


def _check_mask(record: Record, changes: Sequence[Any]) -> Check:
    """Check that what was touched at level 0 is what the record says was masked."""
    boxes = np.array([change.bbox for change in record.regions], np.int64).reshape(-1, 4)
    for change in changes:
        if change.factor != 1:
            continue
        x, y, w, h = change.region
        allowed = np.zeros((h, w), np.bool_)
        met = (
            (boxes[:, 0] < x + w)
            & (boxes[:, 0] + boxes[:, 2] > x)
            & (boxes[:, 1] < y + h)
            & (boxes[:, 1] + boxes[:, 3] > y)
        )
        for number in np.flatnonzero(met).tolist():
            _mark(allowed, (x, y), record.regions[number])
        cells = change.touched()
        wide, high = change.cell
        padded = np.pad(allowed, ((0, -h % high), (0, -w % wide)))
        masked = padded.reshape(padded.shape[0] // high, high, -1, wide).any((1, 3))
        if (cells & ~masked).any():
            return Check(
                "mask", False, f"the tile at x={x}, y={y} was changed where the record has no mask"
            )
    return Check("mask", True, f"only what the record masks was touched: {len(boxes)} regions")


def _mark(allowed: Mask, origin: tuple[int, int], change: Change) -> None:
    x, y, w, h = change.bbox
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(change.mask)), formats=["PNG"]) as picture:
            if picture.size != (w, h):
                raise ValueError("another size than its box")
            part = np.asarray(picture).astype(np.bool_)
    except (ValueError, OSError, SyntaxError) as error:
        raise LedgerError(f"the ledger is damaged: the mask at x={x}, y={y} ({error})") from error
    height, width = allowed.shape
    x0, y0 = max(x, origin[0]), max(y, origin[1])
    x1, y1 = min(x + w, origin[0] + width), min(y + h, origin[1] + height)
    here = allowed[y0 - origin[1] : y1 - origin[1], x0 - origin[0] : x1 - origin[0]]
    here |= part[y0 - y : y1 - y, x0 - x : x1 - x]
