"""Which steps, extra noise and gain Histo-Diffusion's preset `fast` should have.

Fills a section of docs/results/histo-diffusion.md. What is chosen by it is given to ``bundle.py``.
Tiles of the training, so that the choice sees nothing of those that are reported elsewhere. Run
from the repository root::

    python benchmarks/upscale_fast.py --model runs/control/model \
        --weights encoder=runs/encoder/model
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import torch

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import coarse_cases
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import Table, write_section
from histomend.models.upscaler import load_upscaler
from upscale_judges import add_weight_options, column_keys, judges_of
from upscale_rows import SIZE, STORE, interpolated, own_row

TRAINING = Path("../shared/data/he_clean_train")
MEASURED = ("psnr", "nuclei", "encoder")


def main() -> None:
    """Enlarge with every setting, and write the table."""
    chosen = _options()
    torch.set_num_threads(1)
    model = load_upscaler(chosen.model, "cpu")
    rows = [interpolated("bicubic"), own_row("stage 1 alone", model, generation=0.0)]
    for steps, level, gain in itertools.product(chosen.steps, chosen.levels, chosen.gains):
        config = replace(
            model.config,
            sampler=chosen.sampler,
            fast_steps=steps,
            extra_noise=level,
            gain=gain,
        )
        name = f"{steps} steps, noise {level:g}, gain {gain:g}"
        rows.append(own_row(name, replace(model, config=config)))
    kept = chosen.store / "figures.jsonl"
    judges, notes = judges_of(MEASURED, dict(chosen.weights), kept)
    keys = column_keys(MEASURED)
    header: tuple[str, ...] = ()
    lines: list[tuple[str, ...]] = []
    for scale in chosen.scales:
        block = Block(
            coarse_cases(chosen.data, chosen.tiles, scale=scale), judges, Store(chosen.store)
        )
        for row in rows:
            block.add(row)
        table = block.table("", "", [], keys)
        header = table.header
        lines += [(f"×{scale}: {name}", *cells) for name, *cells in table.rows]
    table = Table(
        f"**Steps, extra noise and gain of `fast`**, {chosen.tiles} tiles of the training, made "
        f"coarser as a scanner with larger pixels would have taken them, to {SIZE}×{SIZE} px; "
        f"sampler {chosen.sampler}.",
        shlex.join(["python", "benchmarks/upscale_fast.py", *sys.argv[1:]]),
        header,
        tuple(lines),
        tuple(notes),
    )
    write_section(chosen.out, "fast", table.markdown())
    print(table.markdown(), f"\nwrote fast to {chosen.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="upscaler (RUN/model of `histomend train control`)")
    add("--steps", type=int, nargs="+", default=[2, 4, 8])
    add("--levels", type=float, nargs="+", default=[0.0, 0.1, 0.2], help="of extra noise")
    add("--gains", type=float, nargs="+", default=[1.0, 2.5])
    add("--sampler", default="dpmpp_2m_sde")
    add("--scales", type=int, nargs="+", default=[2, 4, 8])
    add("--tiles", type=int, default=6)
    add_weight_options(parser)
    add("--data", type=Path, default=TRAINING, help="clean tiles of the training")
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=Path("docs/results/histo-diffusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
