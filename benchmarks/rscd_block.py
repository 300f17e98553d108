"""Rows that restored the same fields: their table, and what it says of RSCD.

Used by ``rscd_table.py``; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from histomend.evaluate import metrics
from histomend.evaluate.tables import Interval, Table, bootstrap
from rscd_columns import Column, Fields, Judge, standing
from rscd_fields import Pair
from rscd_rows import Restored, Row, Store

# The goals of RSCD: how near its PSNR is to the best, and that of `fast` to `paper`, in dB.
NEAR_DB, FAST_DB = 0.5, 0.3
COST = ("nfe", "seconds")


class Block:
    """Rows on the same fields, which is what may be compared."""

    def __init__(self, pairs: Sequence[Pair], judges: Sequence[Judge], store: Store) -> None:
        self.pairs = pairs
        self.judges = judges
        self.store = store
        self.groups = [pair.group for pair in pairs]
        self.rows: dict[str, Row] = {}
        self.restored: dict[str, list[Restored]] = {}
        self.found: dict[str, dict[str, Interval]] = {}
        self.psnr: dict[str, list[float]] = {}

    def add(self, row: Row) -> None:
        """Restore and measure."""
        made = self.store.restored(row, self.pairs)
        fields = Fields.of(self.pairs, [r.pixels for r in made])
        self.rows[row.name], self.restored[row.name] = row, made
        self.found[row.name] = {
            key: figure for judge in self.judges for key, figure in judge.measure(fields).items()
        }
        both = zip(fields.truth, fields.restored, strict=True)
        self.psnr[row.name] = [metrics.psnr(*pair) for pair in both]

    @property
    def columns(self) -> list[Column]:
        """Those that any row has a figure in."""
        there = {key for found in self.found.values() for key in found}
        return [c for judge in self.judges for c in judge.columns if c.key in there]

    def named(self, *kinds: str) -> list[str]:
        """Return the names of the rows of these kinds."""
        return [name for name, row in self.rows.items() if row.kind in kinds]

    def table(self, caption: str, command: str, notes: Sequence[str]) -> Table:
        """Lay out the rows, and say what may be said of the best."""
        columns = self.columns
        rows = []
        for name, found in self.found.items():
            cells = [found[c.key].text(c.digits) if c.key in found else "–" for c in columns]
            made = self.restored[name]
            nfe, seconds = (float(np.mean([getattr(r, k) for r in made])) for k in COST)
            left = not self.rows[name].method
            cells += ["–", "–"] if left else [f"{nfe:.1f}", f"{seconds:.2f}"]
            rows.append((name, *cells))
        header = ("", *(c.header for c in columns), "network calls", "s per image")
        told = [*self.standings(), *self.goals(), *notes]
        return Table(caption, command, header, tuple(rows), tuple(told))

    def standings(self) -> list[str]:
        """Say where RSCD is first: against what is not ours, and against its ablations."""
        said = []
        for against, kinds in (
            ("baselines and degraded fields", ("baseline", "degraded")),
            ("ablations", ("ablation",)),
        ):
            parts = [
                standing(
                    column,
                    {n: f[column.key] for n, f in self.found.items() if column.key in f},
                    self.named("rscd"),
                    self.named(*kinds),
                )
                for column in self.columns
            ]
            if any(parts):
                said.append(f"RSCD against {against}: {'; '.join(filter(None, parts))}.")
        return said

    def goals(self) -> list[str]:
        """Lay PSNR on the same fields side by side, where the goals are about it."""
        said = []
        ours = self.named("rscd")
        others = self.named("baseline", "degraded")
        if ours and others:
            means = {name: float(np.mean(psnr)) for name, psnr in self.psnr.items()}
            mine, best = (max(names, key=means.__getitem__) for names in (ours, others))
            off = self.psnr_difference(mine, best)
            said.append(
                f"PSNR of {mine} − {best}, the best of the others, on the same fields: "
                f"{off.text()} dB (goal: {-NEAR_DB} or more: {_met(off.value >= -NEAR_DB)})."
            )
        if {"fast", "paper"} <= self.rows.keys():
            off = self.psnr_difference("fast", "paper")
            said.append(
                f"PSNR of fast − paper on the same fields: {off.text()} dB (goal: within "
                f"{FAST_DB}: {_met(abs(off.value) <= FAST_DB)})."
            )
        return said

    def psnr_difference(self, one: str, other: str) -> Interval:
        """Return the mean difference in PSNR of two rows, field by field."""
        return bootstrap(np.subtract(self.psnr[one], self.psnr[other]), groups=self.groups)


def _met(met: bool) -> str:
    return "met" if met else "missed"
