"""How much noise the sampler of Histo-Diffusion's preset `fast` should add, on training tiles.

Fills a section of docs/results/histo-diffusion.md. What is chosen by it is given to ``bundle.py``.
Tiles of the training, so that the choice sees nothing of those that are reported elsewhere. Run
from the repository root::

    python benchmarks/upscale_extra_noise.py --model runs/control/model \
        --weights encoder=runs/encoder/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import torch

from blocks import Block
from histomend.evaluate.tables import Table, write_section
from histomend.models.upscaler import load_upscaler
from kept import Store
from upscale_judges import add_weight_options, column_keys, judges_of
from upscale_pairs import SIZE, coarse_pairs
from upscale_rows import STORE, interpolated, own_row

TRAINING = Path("../shared/data/he_clean_train")
MEASURED = ("psnr", "nuclei", "encoder")


def main() -> None:
    """Enlarge with every amount of noise, and write the table."""
    chosen = _options()
    torch.set_num_threads(1)
    model = load_upscaler(chosen.model, "cpu")
    settings = {f"extra noise {level:g}": level for level in chosen.levels}
    rows = [interpolated("bicubic"), own_row("stage 1 alone", model, generation=0.0)]
    for title, level in settings.items():
        config = replace(model.config, sampler=chosen.sampler, extra_noise=level)
        rows.append(own_row(title, replace(model, config=config)))
    kept = chosen.store / "figures.jsonl"
    judges, notes = judges_of(MEASURED, dict(chosen.weights), kept)
    keys = column_keys(MEASURED)
    header: tuple[str, ...] = ()
    lines: list[tuple[str, ...]] = []
    for scale in chosen.scales:
        block = Block(
            coarse_pairs(chosen.data, chosen.tiles, scale=scale), judges, Store(chosen.store)
        )
        for row in rows:
            block.add(row)
        table = block.table("", "", [], keys)
        header = table.header
        lines += [(f"×{scale}: {name}", *cells) for name, *cells in table.rows]
    table = Table(
        f"**Extra noise of `fast`**, {chosen.tiles} tiles of the training, made coarser as a "
        f"scanner with larger pixels would have taken them, to {SIZE}×{SIZE} px; sampler "
        f"{chosen.sampler}.",
        shlex.join(["python", "benchmarks/upscale_extra_noise.py", *sys.argv[1:]]),
        header,
        tuple(lines),
        tuple(notes),
    )
    write_section(chosen.out, "extra-noise", table.markdown())
    print(table.markdown(), f"\nwrote extra-noise to {chosen.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="upscaler (RUN/model of `histomend train control`)")
    add("--levels", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3], help="in [0, 1]")
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
