"""Compare RSCD with its baselines and ablations on degraded fields whose truth is known.

Fills the tables of docs/results/rscd.md: simulated degradations of H&E (``he``) and real pairs of
fluorescence microscopy (``real``). What was restored once is kept under runs/. Run from the
repository root::

    python benchmarks/rscd_table.py --model runs/rscd-he/model --fluo runs/rscd-fluo/model \
        --encoder runs/encoder/model \
        --ablation "linear schedule=runs/rscd-linear/model:paper" \
        --ablation "unaugmented calibrator=runs/rscd-unaugmented/model:paper" \
        --row "Noise2Noise=noise2noise:runs/n2n/model" \
        --row "CycleGAN=cyclegan:runs/cyclegan/model" \
        --row "conditional diffusion=conditional:runs/conditional/model"

Quick look (some minutes)::

    python benchmarks/rscd_table.py --model runs/rscd-he/model --rows degraded fast median \
        --few 0 --prior 0
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import (
    DEPTHS_UM,
    Case,
    fitted_scale,
    optical_cases,
    real_cases,
)
from histomend.evaluate.harness.datasets import about_slides
from histomend.evaluate.harness.judges import Judge
from histomend.evaluate.harness.rows import FunctionRow, MethodRow
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import write_section
from histomend.methods import method_named
from histomend.methods.loading import model_for
from histomend.methods.rscd import calibrated_sampling
from histomend.models import Model, load_model
from places import CLEAN, REAL
from rscd_block import told
from rscd_columns import Weights
from rscd_rows import STORE, Kind, row_of

Row = MethodRow | FunctionRow
PRESETS = ("fast", "paper", "author_code")
ABLATIONS = ("no_recalibration", "fixed_10", "fixed_50", "noise_estimate")
PRIOR = "deep-image-prior"
BASELINES = ("median", PRIOR, "ccdf", "rrd")
# Simulated fields alone: what is left of the damage once its noise is gone.
IDEAL = "noise alone gone"
ROWS = ("degraded", IDEAL, *BASELINES, *PRESETS, *ABLATIONS)
# Rows that cost little, and are run on all fields; so are methods of one network call.
QUICK_ROWS = {"degraded", IDEAL, "median", "fast"}
QUICK_METHODS = {"noise2noise", "cyclegan"}
SAID = {
    "he": "{size}×{size} crops of clean H&E of {slides}, degraded as tissue "
    f"{DEPTHS_UM[0]:g} to {DEPTHS_UM[1]:g} µm thick and a detector would (scattering, blur, "
    "absorption, Poisson and read noise, uneven over the field).",
    "real": "{size}×{size} crops of real noisy microscopy (W2S, FMD and GigaDB; fluorescence, one "
    "channel). The clean image's own range is stretched to 8 bits, and slope and offset of each "
    "restored crop are fitted to it (least squares) before it is compared.",
}


@dataclass(frozen=True)
class Set:
    """A test set, and the rows that can restore it."""

    name: str
    pairs: Sequence[Case]
    rows: Sequence[Row]


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    judges, notes = Weights.of(chosen).judges()
    store = Store(chosen.store)
    for name in chosen.sets:
        folder = chosen.model if name == "he" else chosen.fluo
        if folder is None:
            print(f"left out {name}: no model for it is named")
            continue
        count = max(chosen.all, chosen.few, chosen.prior)
        if name == "he":
            pairs = optical_cases(chosen.data, count, chosen.size)
        else:
            pairs = real_cases(chosen.real, count, chosen.size)
        rows = _rows(chosen, load_model(folder, "cpu"), pairs)
        _fill(Set(name, pairs, rows), chosen, judges, notes, store)


def _fill(
    tested: Set, chosen: argparse.Namespace, judges: list[Judge], notes: list[str], store: Store
) -> None:
    """Run and write the tables of one set: quick rows on many fields, all rows on few."""
    quick = [r for r in tested.rows if r.name in QUICK_ROWS or _method(r) in QUICK_METHODS]
    usual = [r for r in tested.rows if _method(r) != PRIOR]
    prior = [r for r in tested.rows if r.name in {*QUICK_ROWS, "paper"} or _method(r) == PRIOR]
    command = shlex.join(["python", "benchmarks/rscd_table.py", *sys.argv[1:]])
    for part, rows, count in (
        ("many", quick, chosen.all),
        ("few", usual, chosen.few),
        ("prior", prior, chosen.prior),
    ):
        if not count or (part == "prior" and PRIOR not in chosen.rows):
            continue
        block = Block(tested.pairs[:count], judges, store)
        for row in rows:
            block.add(row)
        groups = len({pair.group for pair in block.pairs})
        slides = about_slides(chosen.data, block.groups) if tested.name == "he" else ""
        said = SAID[tested.name].format(size=chosen.size, slides=slides)
        caption = (
            f"**{_TITLES[part]}**, {len(block.pairs)} {said} "
            f"Reference of the distances between sets: the clean versions of the same crops."
        )
        gone: tuple[str, ...] = ()
        if block.named("ideal"):
            gone = (
                f"“{IDEAL}” is not a method: the same damage simulated without its noise. Blur, "
                "haze and absorption are left, which RSCD does not know; so this is about what "
                "its PSNR and SSIM can reach.",
            )
        last = (
            f"Intervals: 95 %, drawing the {groups} tiles or fields of view with replacement. "
            "“First” is said only where they do not overlap. Seconds: of processor time, on one "
            "thread, one image at a time."
        )
        scales = [_scales(block.pairs)] if tested.name == "real" else []
        table = block.table(caption, command, [*told(block), *gone, *scales, *notes, last])
        write_section(chosen.out, f"{tested.name}-{part}", table.markdown())
        print(f"wrote {tested.name}-{part} to {chosen.out}", flush=True)


_TITLES = {
    "many": "Quick rows on many fields",
    "few": "All rows on few fields",
    "prior": "Deep Image Prior, which takes minutes per field, on very few",
}


def _rows(chosen: argparse.Namespace, model: Model, pairs: Sequence[Case]) -> list[Row]:
    """Return the rows for one test set, in the order of the paper's tables."""
    known = {
        "degraded": row_of("degraded", "degraded"),
        IDEAL: row_of(IDEAL, "ideal"),
        "median": row_of("median", "baseline", "median"),
        PRIOR: row_of(PRIOR, "baseline", PRIOR),
        **{method: row_of(method, "baseline", method, model) for method in ("ccdf", "rrd")},
        **{preset: _preset(preset, "rscd", model, preset) for preset in PRESETS},
        **{preset: _preset(preset, "ablation", model, preset) for preset in ABLATIONS},
    }
    rows = [row for name, row in known.items() if name in chosen.rows]
    for title, method, folder in chosen.row:
        rows.append(
            row_of(
                title, "baseline", method, model_for(method_named("denoise", method), folder, "cpu")
            )
        )
    for title, folder, preset in chosen.ablation:
        rows.append(
            _preset(
                title, "ablation", model_for(method_named("denoise", "rscd"), folder, "cpu"), preset
            )
        )
    # A further row belongs to the test set that its model can see.
    channels = model.config.channels
    rows = [row for row in rows if _channels(row) in (None, channels)]
    if any(pair.without_noise is None for pair in pairs):
        rows = [row for row in rows if row.kind != "ideal"]
    order: tuple[Kind, ...] = ("degraded", "ideal", "baseline", "rscd", "ablation")
    return sorted(rows, key=lambda row: order.index(row.kind))


def _method(row: Row) -> str:
    return row.method if isinstance(row, MethodRow) else ""


def _channels(row: Row) -> int | None:
    model = row.model if isinstance(row, MethodRow) else None
    return None if model is None else int(model.config.channels)


def _preset(title: str, kind: Kind, model: Model, preset: str) -> Row:
    calibrated_sampling(preset, model.config)  # a misspelt name should not cost minutes
    return row_of(title, kind, "rscd", model, {"preset": preset})


def _scales(pairs: Sequence[Case]) -> str:
    """Say how the scales of noisy and clean images differ, and what the own encoder knows."""
    slopes = [fitted_scale(pair.given, pair.truth)[0] for pair in pairs]
    return (
        "The scales of noisy and clean images differ from image to image: the slope fitted to the "
        f"noisy crops is {min(slopes):.2f} to {max(slopes):.2f}. Our own encoder knows H&E alone: "
        "here its distances say less."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--sets", nargs="+", choices=tuple(SAID), default=list(SAID))
    add("--model", type=Path, help="RSCD for RGB, a folder")
    add("--fluo", type=Path, help="RSCD for one channel, a folder")
    add(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"of {', '.join(ROWS)}; by default all",
    )
    add(
        "--row",
        action="append",
        default=[],
        metavar="NAME=METHOD:FOLDER",
        help="a further baseline with its model (repeatable)",
    )
    add(
        "--ablation",
        action="append",
        default=[],
        metavar="NAME=FOLDER:PRESET",
        help="RSCD with another model (repeatable)",
    )
    Weights.add_options(parser)
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--real", type=Path, default=REAL, help="real pairs")
    add("--size", type=int, default=256, help="side of a crop in px")
    add("--all", type=int, default=96, help="crops for the quick rows")
    add("--few", type=int, default=8, help="crops for all rows")
    add("--prior", type=int, default=2, help="crops for Deep Image Prior")
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    chosen = parser.parse_args()
    for key, form in (("row", r"NAME=METHOD:FOLDER"), ("ablation", r"NAME=FOLDER:PRESET")):
        split = []
        for text in getattr(chosen, key):
            title, equals, rest = text.partition("=")
            one, colon, other = rest.partition(":") if key == "row" else rest.rpartition(":")
            if not (equals and colon and one and other):
                parser.error(f"--{key} {text!r}: give {form}")
            split.append((title, one, other))
        setattr(chosen, key, split)
    return chosen


if __name__ == "__main__":
    main()
