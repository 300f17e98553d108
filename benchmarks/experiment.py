"""What the experiments on damaged crops share: options, the command line, PSNR inside the mask.

Used by other scripts; nothing to run here.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from histomend.evaluate.crops import Crop
from histomend.evaluate.restoration import Record
from histomend.evaluate.tables import Interval

SYSTEMS = {"ArtiFusion": "artifusion-he", "LatentArtiFusion": "latent-artifusion-he"}
INTERVAL = "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides."


def options(description: str | None, *, records: str, limit: int) -> argparse.ArgumentParser:
    """Return a parser with what every experiment lets one choose."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data/he_clean_val"), help="clean tiles")
    add("--artifusion", default=SYSTEMS["ArtiFusion"], help="bundled name or folder")
    add("--latent", default=SYSTEMS["LatentArtiFusion"], help="bundled name or folder")
    add("--limit", type=int, default=limit, help="number of crops")
    add("--device", default="auto")
    add("--threads", type=int, default=1, help="PyTorch's threads")
    add("--records", type=Path, default=Path(records), help="what is measured already")
    add("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    return parser


def systems(chosen: argparse.Namespace) -> dict[str, str]:
    """Return the models of both systems under their names."""
    return dict(zip(SYSTEMS, (chosen.artifusion, chosen.latent), strict=True))


def command() -> str:
    """Return the command line of the running script."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def tell(line: str) -> None:
    """Print at once, so that a long run shows where it is."""
    print(line, flush=True)


def text(found: Interval, digits: int, unit: float = 1.0) -> str:
    """Write a figure in other units, with its interval."""
    scaled = Interval(found.value * unit, found.low * unit, found.high * unit, found.count)
    return scaled.text(digits)


def with_psnr_inside(records: Sequence[Record], fields: Sequence[Crop]) -> list[Record]:
    """Add PSNR inside the mask, which follows from L2, as the measure ``psnr_inside``."""
    masked = {field.name: int(field.mask.sum()) for field in fields}

    def inside(record: Record) -> float:
        # L2 is the root of the sum over three channels.
        error = record.measures["l2"] ** 2 / (3 * masked[record.crop])
        return 10 * math.log10(255**2 / error) if error else math.inf

    return [
        replace(record, measures={**record.measures, "psnr_inside": inside(record)})
        for record in records
    ]
