"""What stage 1, the degradation of the training, its length and the steps do to Histo-Diffusion.

Fills sections of docs/results/histo-diffusion.md, the paper's Tables 4 and 6 (a section of its own
where models of several trainings are compared), on the first tiles of ``upscale_table.py``, whose
kept images are used. Run from the repository root::

    python benchmarks/upscale_ablations.py --model runs/control/model \
        --without-stage-1 runs/control-plain/model \
        --trained "CodeFormer, 20k=runs/control-codeformer-20k/model" \
        --trained "Real-ESRGAN, 20k=runs/control-esrgan-20k/model" \
        --weights iqa_box=runs/iqa-box/model --weights encoder=runs/encoder/model

A model that was trained without stage 1 has one there that changes nothing, as it is before any
training: ``histomend train swinir --steps 1 --lr 0``.
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
from histomend.evaluate.harness.cases import DEGRADATIONS, coarse_cases
from histomend.evaluate.harness.judges import Judge
from histomend.evaluate.harness.rows import MethodRow
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import Table, write_section
from histomend.methods import METHODS
from histomend.models.upscaler import load_upscaler
from places import CLEAN
from upscale_judges import GENERAL, TISSUE, add_weight_options, column_keys, judges_of
from upscale_rows import SIZE, STORE, interpolated, own_row, section, without_stage_1

SCALE = 4
LAST = "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides."


@dataclass(frozen=True)
class Setting:
    """What all rows share."""

    chosen: argparse.Namespace
    judges: Sequence[Judge]
    notes: Sequence[str]
    store: Store

    def block(self, degradation: str, rows: Sequence[MethodRow]) -> Block:
        """Enlarge and measure tiles that were degraded in one way."""
        chosen = self.chosen
        pairs = coarse_cases(
            chosen.data, chosen.tiles, scale=SCALE, degradation=degradation, size=chosen.size
        )
        block = Block(pairs, self.judges, self.store)
        for row in rows:
            block.add(row)
        return block

    def write(self, place: str, table: Table) -> None:
        """Write a section."""
        write_section(self.chosen.out, place, table.markdown())
        print(f"wrote {place} to {self.chosen.out}", flush=True)


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    names = (*GENERAL, *TISSUE)
    judges, notes = judges_of(names, dict(chosen.weights), chosen.store / "figures.jsonl")
    setting = Setting(chosen, judges, notes, Store(chosen.store))
    if "stage-1" in chosen.tables:
        _stage_1(setting)
    if "degradations" in chosen.tables:
        _degradations(setting)


def _stage_1(setting: Setting) -> None:
    """Write the paper's Table 4."""
    chosen = setting.chosen
    model = load_upscaler(chosen.model, "cpu")
    rows = [without_stage_1("without stage 1, the same branch", model)]
    if chosen.without_stage_1 is not None:
        other = load_upscaler(chosen.without_stage_1, "cpu")
        rows.append(own_row("without stage 1, trained so", other))
    with_it = own_row("with stage 1", model)
    block = setting.block(chosen.degradation, [*rows, with_it])
    against = {"without it": [row.name for row in rows]}
    keys = column_keys((*GENERAL, *TISSUE))
    table = block.table(
        f"**With and without stage 1** (the paper's Table 4), ×{SCALE} to {chosen.size}×"
        f"{chosen.size} px, {len(block.pairs)} tiles, {DEGRADATIONS[chosen.degradation][1]}; "
        "preset `fast`. Without it the diffusion is steered by the interpolated image, which also "
        "gives the colours. The same branch learned with stage 1, and sees other images than it "
        "did in its training.",
        _command(),
        [*block.standings("Stage 1", [with_it.name], against, keys), *setting.notes, LAST],
        keys,
    )
    setting.write(section("stage-1", chosen.degradation), table)


def _degradations(setting: Setting) -> None:
    """Write the paper's Table 6."""
    chosen = setting.chosen
    models = {title: load_upscaler(folder, "cpu") for title, folder in chosen.trained}
    models = models or {"ours": load_upscaler(chosen.model, "cpu")}
    rows = [
        own_row(f"{title}, {told}", model, **how)
        for title, model in models.items()
        for told, how in (
            *((f"`{preset}`", {"preset": preset}) for preset in chosen.presets),
            *((f"{steps} steps", {"steps": steps}) for steps in chosen.steps),
        )
    ]
    keys = column_keys((*GENERAL, *TISSUE))
    header: tuple[str, ...] = ()
    lines: list[tuple[str, ...]] = []
    tiles = 0
    for degradation in chosen.degradations:
        block = setting.block(degradation, [interpolated("bicubic"), *rows])
        table = block.table("", "", [], keys)
        header, tiles = table.header, len(block.pairs)
        lines += [(f"{degradation}: {name}", *cells) for name, *cells in table.rows]
    told = "; ".join(f"{name}: {DEGRADATIONS[name][1]}" for name in chosen.degradations)
    table = Table(
        f"**Degradations, training and steps** (the paper's Table 6), ×{SCALE} to {chosen.size}×"
        f"{chosen.size} px, {tiles} tiles. Before the colon: how the tiles were made "
        f"coarser ({told}). After it: the model, named after its training, and how it was sampled.",
        _command(),
        header,
        tuple(lines),
        (*setting.notes, LAST),
    )
    setting.write("trained" if chosen.trained else "degradations", table)


def _command() -> str:
    return shlex.join(["python", "benchmarks/upscale_ablations.py", *sys.argv[1:]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="upscaler (RUN/model of `histomend train control`)")
    tables = ("stage-1", "degradations")
    add("--tables", nargs="+", choices=tables, default=list(tables))
    add("--without-stage-1", help="upscaler whose branch was trained without stage 1")
    add(
        "--trained",
        action="append",
        default=[],
        type=_titled,
        metavar="NAME=FOLDER",
        help="upscaler of a training to compare (repeatable); by default --model alone",
    )
    presets = list(METHODS["histo-diffusion"].presets)
    add("--presets", nargs="+", choices=presets, default=presets, help="of Table 6")
    add("--steps", type=int, nargs="+", default=[], help="of `fast`, for further rows of Table 6")
    add("--degradation", choices=tuple(DEGRADATIONS), default="scanner", help="of Table 4")
    add(
        "--degradations",
        nargs="+",
        choices=tuple(DEGRADATIONS),
        default=list(DEGRADATIONS),
        metavar="NAME",
        help=f"of Table 6, of {', '.join(DEGRADATIONS)}; by default all",
    )
    add_weight_options(parser)
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--size", type=int, default=SIZE, help="side of a tile in px")
    add("--tiles", type=int, default=24)
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=Path("docs/results/histo-diffusion.md"))
    return parser.parse_args()


def _titled(text: str) -> tuple[str, str]:
    title, equals, folder = text.partition("=")
    if not (title and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=FOLDER")
    return title, folder


if __name__ == "__main__":
    main()
