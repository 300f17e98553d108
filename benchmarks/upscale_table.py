"""Compare upscalers on clean H&E that was made coarser: Histo-Diffusion's Tables 2, 3 and 5.

Fills sections of docs/results/histo-diffusion.md. What was enlarged or measured once is kept under
runs/. Run from the repository root::

    python benchmarks/upscale_table.py --model runs/control/model \
        --row "RRDB-GAN (ours)=rrdb-gan:runs/rrdb-gan/model" \
        --row "SwinIR-GAN (ours)=swinir-gan:runs/swinir-gan/model" \
        --weights iqa_box=runs/iqa-box/model --weights iqa_gaussian=runs/iqa-gaussian/model \
        --weights encoder=runs/encoder/model

Published files are rows too: ``--row "BSRGAN=published:BSRGAN.pth"``. Quick look (a minute)::

    python benchmarks/upscale_table.py --rows bicubic lanczos --all 4 --few 0 --scales 4
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from histomend.evaluate.column import Column
from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import DEGRADATIONS, coarse_cases
from histomend.evaluate.harness.datasets import about_slides
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.harness.standings import met
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import Interval, write_section
from places import CLEAN
from upscale_judges import (
    DEVIATION,
    GAINED,
    GENERAL,
    LOST,
    NUMBER,
    PARTS,
    SIMILARITIES,
    TISSUE,
    add_weight_options,
    column_keys,
    judges_of,
    scan_judge,
)
from upscale_rows import SIZE, STORE, add_row_options, fitting, rows_of, section

# The paper's scale, at which all tiles are enlarged.
PAPER = 4
# Rows of many network calls, or of an ablation: at the paper's scale alone, and on few tiles.
SLOW = ("paper", "fast, wavelet")
# The goals: how far PSNR may be under bicubic, in dB; nuclei lost, and gained, in percent.
UNDER_DB, CHANGED = 1.5, 5.0
BEST = ("l1_texture", "l1_intensity", *SIMILARITIES)
REFERENCE = "bicubic"
LAST = (
    "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides. “First” is "
    "said only where they do not overlap. Network calls: of the diffusion alone. Seconds: of "
    "processor time, on one thread, one image at a time."
)
OFF = (
    "Deviation: scanned again with the pixels of the coarse scan, by how many levels of 255 the "
    "enlarged image is off it, on average."
)
COUNTS = (
    "Nuclei are outlined in the truth and in the enlarged image in the same way; lost and gained "
    "ones overlap none of the other image. Outlines that a little blur moves count too: see the "
    "row bicubic, which invents nothing."
)


@dataclass(frozen=True)
class Part:
    """Tables of the same rows on the same tiles."""

    name: str
    scale: int
    count: int | None
    rows: Sequence[MethodRow]


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    rows = rows_of(chosen)
    kept = chosen.store / "figures.jsonl"
    places = dict(chosen.weights)
    measured = {names: judges_of(names, places, kept) for names in (GENERAL, TISSUE)}
    judges = [judge for found, _ in measured.values() for judge in found]
    notes = {names: missing for names, (_, missing) in measured.items()}
    store = Store(chosen.store)
    for part in _parts(chosen, rows):
        pairs = coarse_cases(
            chosen.data, part.count, scale=part.scale, degradation=chosen.degradation,
            size=chosen.size,
        )  # fmt: skip
        able, refused = fitting(part.rows, pairs[0])
        block = Block(pairs, [*judges, scan_judge(part.scale, kept)], store)
        for row in able:
            block.add(row)
        _write(chosen, part, block, notes, refused)


def _parts(chosen: argparse.Namespace, rows: Sequence[MethodRow]) -> list[Part]:
    """Return the tables that are asked for: quick rows on all tiles, all rows on few."""
    quick = [row for row in rows if row.name not in SLOW]
    found = []
    if PAPER in chosen.scales:
        found += [Part("all", PAPER, chosen.all, quick), Part("few", PAPER, chosen.few, rows)]
    others = [scale for scale in chosen.scales if scale != PAPER]
    found += [Part("few", scale, chosen.few, quick) for scale in others]
    return [part for part in found if part.count != 0 and part.rows]


def _write(
    chosen: argparse.Namespace,
    part: Part,
    block: Block,
    notes: dict[tuple[str, ...], list[str]],
    refused: Sequence[str],
) -> None:
    command = shlex.join(["python", "benchmarks/upscale_table.py", *sys.argv[1:]])
    small = chosen.size // part.scale
    what = (
        f"×{part.scale} from {small}×{small} to {chosen.size}×{chosen.size} px, {len(block.pairs)} "
        f"tiles of {about_slides(chosen.data, block.groups)}, "
        f"{DEGRADATIONS[chosen.degradation][1]}."
    )
    for title, name, keys, told in (
        (
            "General measures (the paper's Table 2)",
            "general",
            [*column_keys(GENERAL), DEVIATION.key],
            [OFF, *notes[GENERAL]],
        ),
        (
            "Measures of tissue (the paper's Tables 3 and 5)",
            "tissue",
            column_keys(TISSUE),
            [*goals(block), COUNTS, *notes[TISSUE]],
        ),
        ("Parts of L1-intensity and L1-texture", "parts", [c.key for c in PARTS], []),
    ):
        said = [] if name == "parts" else standings(block, keys)
        table = block.table(f"**{title}**, {what}", command, [*said, *told, *refused, LAST], keys)
        place = section(f"x{part.scale}-{part.name}-{name}", chosen.degradation)
        write_section(chosen.out, place, table.markdown())
        print(f"wrote {place} to {chosen.out}", flush=True)


def standings(block: Block, keys: Sequence[str]) -> list[str]:
    """Say where Histo-Diffusion is first, against other methods and against its own stage 1."""
    against = {"other methods": block.named("other"), "its stage 1": block.named("stage 1")}
    return block.standings("Histo-Diffusion", block.named("ours"), against, keys)


def goals(block: Block) -> list[str]:
    """Say which goals are reached; those of rows of ours one by one."""
    ours = block.named("ours")
    rest = block.named("other", "stage 1")
    if not ours or not rest:
        return []
    said = []
    for column in block.columns(BEST):
        found = {name: block.found[name][column.key] for name in (*ours, *rest)}
        mine, best = (_best(column, found, names) for names in (ours, rest))
        ahead = column.ahead(found[mine], found[best])
        said.append(
            f"best {column.name} of all rows: {met(ahead)} ({mine} "
            f"{found[mine].value:.{column.digits}f}, {best} "
            f"{found[best].value:.{column.digits}f})"
        )
    for name in ours:
        if REFERENCE in rest:
            off = block.psnr_difference(name, REFERENCE)
            said.append(
                f"PSNR of {name} at most {UNDER_DB} dB under {REFERENCE}: "
                f"{met(off.value >= -UNDER_DB)} ({off.text()} dB)"
            )
        if LOST in block.found[name]:
            changed = max(block.found[name][key].value for key in (LOST, GAINED))
            beside = [f"{name} {_nuclei(block, name)}"]
            beside += [f"{REFERENCE} {_nuclei(block, REFERENCE)}"] if REFERENCE in rest else []
            said.append(
                f"nuclei lost and gained by {name} under {CHANGED:g} % each: "
                f"{met(changed < CHANGED)} ({'; '.join(beside)})"
            )
    return [f"Goals: {'; '.join(said)}."]


def _nuclei(block: Block, name: str) -> str:
    lost, gained, number = (block.found[name][key].value for key in (LOST, GAINED, NUMBER))
    return f"{lost:.1f} and {gained:.1f} %, their number {number - 100:+.1f} %"


def _best(column: Column, found: dict[str, Interval], names: Sequence[str]) -> str:
    pick = min if column.better == "lower" else max
    return pick(names, key=lambda name: found[name].value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_row_options(parser)
    add_weight_options(parser)
    add = parser.add_argument
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--size", type=int, default=SIZE, help="side of a tile in px")
    add("--degradation", choices=tuple(DEGRADATIONS), default="scanner")
    add("--scales", type=int, nargs="+", default=[4, 2, 8])
    add("--all", type=int, help=f"tiles for the quick rows at ×{PAPER}; by default all, 0: none")
    add(
        "--few",
        type=int,
        default=24,
        help="tiles for all rows, and, but for paper, at other scales",
    )
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=Path("docs/results/histo-diffusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
