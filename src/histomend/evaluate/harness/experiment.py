"""An experiment: these rows on these cases, measured by these judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.judges import Judge
from histomend.evaluate.harness.store import Restores, Store


@dataclass(frozen=True)
class Experiment:
    """What is run.

    Attributes
    ----------
    cases : sequence of Case
    rows : sequence of rows
    judges : sequence of Judge
    """

    cases: Sequence[Case]
    rows: Sequence[Restores[Any]]
    judges: Sequence[Judge]

    def run(self, store: Store, tick: Callable[[str], None] | None = None) -> Block:
        """Restore and measure, but for what the store holds.

        Parameters
        ----------
        tick : function of the row's name, optional
            Called before each.
        """
        block = Block(self.cases, self.judges, store)
        for row in self.rows:
            if tick is not None:
                tick(row.name)
            block.add(row)
        return block
