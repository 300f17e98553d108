"""The registry of measures as a list, for `histomend evaluate --list` and for the docs.

`python -m histomend.evaluate.listing FILE` writes it into the section "measures" of a guide.
"""

from __future__ import annotations

import sys
from pathlib import Path

from histomend.evaluate.columns import MEASURES
from histomend.evaluate.own_pairs import USUAL
from histomend.evaluate.tables import write_section

HEADER = ("name", "column", "of", "range", "library", "needs")
SECTION = "measures"
_OF = {"images": "pairs", "masks": "pairs, with masks", "sets": "sets"}


def listed() -> list[tuple[str, ...]]:
    """Return a row for each column: what it is called, its range, whose it is, what it needs.

    The arrow of a column says which direction is better. A star marks what is measured unless
    measures are named.
    """
    return [
        (
            f"{name} *" if name in USUAL else name,
            column.header,
            "images without a truth" if measure.alone else _OF[measure.of],
            column.within,
            measure.library,
            measure.needs,
        )
        for name, measure in MEASURES.items()
        for column in measure.columns
    ]


def markdown() -> str:
    """Return the list as a table."""
    rows = [HEADER, ("---",) * len(HEADER), *listed()]
    return "\n".join(f"| {' | '.join(row)} |".replace("  |", " |") for row in rows)


if __name__ == "__main__":
    write_section(Path(sys.argv[1]), SECTION, markdown())
