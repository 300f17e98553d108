"""Rows that restored the same cases, which is what may be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.evaluate import metrics
from histomend.evaluate.column import Column
from histomend.evaluate.harness.judges import Fields, Judge
from histomend.evaluate.harness.significance import Comparison, compare, corrected
from histomend.evaluate.harness.standings import standing
from histomend.evaluate.harness.store import Restored, Restores, Store
from histomend.evaluate.tables import Interval, Table, bootstrap


class Block:
    """Rows, what they made of the cases, and its figures."""

    def __init__(self, pairs: Sequence[Any], judges: Sequence[Judge], store: Store) -> None:
        self.pairs = pairs
        self.judges = judges
        self.store = store
        self.groups = [pair.group for pair in pairs]
        self.rows: dict[str, Restores[Any]] = {}
        self.restored: dict[str, list[Restored]] = {}
        self.found: dict[str, dict[str, Interval]] = {}
        self.values: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
        self.psnr: dict[str, list[float]] = {}

    def add(self, row: Restores[Any]) -> None:
        """Restore and measure."""
        made = self.store.restored(row, self.pairs)
        fields = Fields.of(self.pairs, [r.pixels for r in made])
        self.rows[row.name], self.restored[row.name] = row, made
        self.found[row.name] = {
            key: figure for judge in self.judges for key, figure in judge.measure(fields).items()
        }
        self.values[row.name] = {
            key: of_each
            for judge in self.judges
            if judge.each is not None
            for key, of_each in judge.each(fields).items()
        }
        both = zip(fields.truth, fields.restored, strict=True)
        self.psnr[row.name] = [metrics.psnr(*pair) for pair in both]

    def columns(self, keys: Collection[str] | None = None) -> list[Column]:
        """Return those that any row has a figure in, of these keys; by default all."""
        there = {key for found in self.found.values() for key in found}
        there = there if keys is None else there & set(keys)
        return [c for judge in self.judges for c in judge.columns if c.key in there]

    def named(self, *kinds: str) -> list[str]:
        """Return the names of the rows of these kinds."""
        return [name for name, row in self.rows.items() if row.kind in kinds]

    def table(
        self,
        caption: str,
        command: str,
        notes: Sequence[str],
        keys: Collection[str] | None = None,
    ) -> Table:
        """Lay out the rows, and what they cost.

        Parameters
        ----------
        keys : of the columns that are shown; by default all
        """
        columns = self.columns(keys)
        rows = []
        for name, found in self.found.items():
            cells = [found[c.key].text(c.digits) if c.key in found else "–" for c in columns]
            rows.append((name, *cells, *self._cost(name)))
        header = ("", *(c.header for c in columns), "network calls", "s per image")
        return Table(caption, command, header, tuple(rows), tuple(notes))

    def _cost(self, name: str) -> list[str]:
        made = self.restored[name]
        nfe, seconds = (float(np.mean([getattr(r, k) for r in made])) for k in ("nfe", "seconds"))
        return [f"{nfe:.1f}", f"{seconds:.2f}"] if seconds else ["–", "–"]

    def standings(
        self,
        who: str,
        ours: Sequence[str],
        against: Mapping[str, Sequence[str]],
        keys: Collection[str] | None = None,
    ) -> list[str]:
        """Say where the best of our rows is first.

        Parameters
        ----------
        who : what our rows are called
        ours : their names
        against : the names of others, by what these are called
        keys : of the columns that are looked at; by default all
        """
        said = []
        for called, others in against.items():
            parts = [
                standing(
                    column,
                    {n: f[column.key] for n, f in self.found.items() if column.key in f},
                    ours,
                    others,
                )
                for column in self.columns(keys)
            ]
            if any(parts):
                said.append(f"{who} against {called}: {'; '.join(filter(None, parts))}.")
        return said

    def psnr_difference(self, one: str, other: str) -> Interval:
        """Return the mean difference in PSNR of two rows, field by field."""
        return bootstrap(np.subtract(self.psnr[one], self.psnr[other]), groups=self.groups)

    def comparisons(
        self, reference: str, keys: Collection[str] | None = None
    ) -> dict[str, dict[str, Comparison]]:
        """Test every row against one, case by case, corrected over the rows (Holm 1979).

        Returns
        -------
        dict of column's key to dict of row's name to Comparison
            Of the columns whose figures are of single cases.
        """
        told: dict[str, dict[str, Comparison]] = {}
        for column in self.columns(keys):
            mine = self.values[reference].get(column.key)
            if mine is None or mine.ndim > 1:
                continue
            found = {
                name: compare(
                    _tested(column, self.values[name][column.key]),
                    _tested(column, mine),
                    self.groups,
                )
                for name in self.values
                if name != reference and column.key in self.values[name]
            }
            told[column.key] = corrected(found)
        return told


def _tested(column: Column, found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return what is tested: figures, or of ratios to the truth how far they are from 1."""
    return np.asarray(np.abs(np.log(found)) if column.better == "one" else found)
