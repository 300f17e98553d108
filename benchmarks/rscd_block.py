"""What a table of rows says of RSCD.

Used by ``rscd_table.py``; nothing to run here.
"""

from __future__ import annotations

import numpy as np

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.standings import met

# The goals of RSCD: how near its PSNR is to the best, and that of `fast` to `paper`, in dB.
NEAR_DB, FAST_DB = 0.5, 0.3


def told(block: Block) -> list[str]:
    """Say where RSCD is first, against what is not ours and its ablations, and of its goals."""
    against = {
        "baselines and degraded fields": block.named("baseline", "degraded"),
        "ablations": block.named("ablation"),
    }
    return [*block.standings("RSCD", block.named("rscd"), against), *goals(block)]


def goals(block: Block) -> list[str]:
    """Lay PSNR on the same fields side by side, where the goals are about it."""
    said = []
    ours = block.named("rscd")
    others = block.named("baseline", "degraded")
    if ours and others:
        means = {name: float(np.mean(psnr)) for name, psnr in block.psnr.items()}
        mine, best = (max(names, key=means.__getitem__) for names in (ours, others))
        off = block.psnr_difference(mine, best)
        said.append(
            f"PSNR of {mine} − {best}, the best of the others, on the same fields: "
            f"{off.text()} dB (goal: {-NEAR_DB} or more: {met(off.value >= -NEAR_DB)})."
        )
    if {"fast", "paper"} <= block.rows.keys():
        off = block.psnr_difference("fast", "paper")
        said.append(
            f"PSNR of fast − paper on the same fields: {off.text()} dB (goal: within "
            f"{FAST_DB}: {met(abs(off.value) <= FAST_DB)})."
        )
    return said
