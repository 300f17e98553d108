"""What comes of a reproduction: tables beside the paper's, where we lose, pictures, settings."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.evaluate.column import Column
from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.standings import best
from histomend.evaluate.papers.setting import Setting
from histomend.evaluate.tables import Table

Pixels = npt.NDArray[np.uint8]
# Cases that are shown as pictures, of either end.
SHOWN = 2
INTERVALS = (
    "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides. Seconds: "
    "of processor time, one image at a time."
)
TESTS = (
    "Mean difference to “{reference}” with its 95 % interval; of ratios (→ 1) that of their "
    "distance |ln| to 1. r: matched-pairs rank-biserial correlation (1 or −1: so in every tile). "
    "p: Wilcoxon signed-rank over tiles, corrected over the rows of a column (Holm)."
)
NOTHING = (
    "**Scale `tiny`: figures say that the command runs, and nothing of any method.** Networks had "
    "{steps} steps of training, and {cases} images were restored."
)


@dataclass(frozen=True)
class Printed:
    """Figures as a paper prints them.

    Attributes
    ----------
    place : str
        Such as "Table 1".
    rows : mapping of a row's name to its cells by key of column
    columns : mapping of keys to headers, of columns that are none of our measures
    """

    place: str
    rows: Mapping[str, Mapping[str, str]]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes
    ----------
    title : str
    image : (H, W, 3) uint8
    over : (H, W, 3) uint8, optional
        What is laid over its left part, up to a slider.
    """

    title: str
    image: Pixels = field(repr=False)
    over: Pixels | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Reproduced:
    """A table or a figure, run again.

    Attributes
    ----------
    name : of `histomend.evaluate.papers.NAMES`
    title : str
    comparable : str
        Why the paper's figures and ours can be compared, or cannot.
    behind : tuple of str
        Where ours loses.
    tables : tuple of Table
    pictures : tuple of Picture
    facts : dict
        Settings and hashes, in values that JSON holds.
    """

    name: str
    title: str
    comparable: str
    behind: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Write all but pictures and facts."""
        loses = [f"**Where ours loses.** {' '.join(self.behind)}"] if self.behind else []
        tables = [table.markdown() for table in self.tables]
        return "\n\n".join([f"### {self.title}", *loses, self.comparable, *tables])

    def as_json(self) -> dict[str, Any]:
        """Return all but pictures for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "behind": list(self.behind),
            "comparable": self.comparable,
            "tables": [
                {"caption": t.caption, "header": t.header, "rows": t.rows, "notes": t.notes}
                for t in self.tables
            ],
            "facts": dict(self.facts),
        }


def command(name: str, setting: Setting) -> str:
    """Return the command line that makes a reproduction."""
    words = ["histomend", "reproduce", name, "--scale", setting.scale.name]
    words += ["--data", "made-up"] if setting.made_up else []
    if name.startswith("histo-diffusion"):
        named = setting.published.items()
        words += [word for row in named for word in ("--published", "=".join(row))]
    return shlex.join(words)


def caveats(setting: Setting) -> list[str]:
    """Return what has to be said of a scale before anything else."""
    if not setting.is_tiny:
        return []
    drawn = " The tissue is drawn." if setting.made_up else ""
    return [NOTHING.format(steps=setting.scale.steps, cases=setting.scale.cases) + drawn]


def beside(
    block: Block,
    printed: Printed,
    caption: str,
    line: str,
    notes: Sequence[str] = (),
    keys: Collection[str] | None = None,
) -> Table:
    """Lay out a block's rows, and the paper's below them in the same columns.

    A column that only one side has is shown too, with dashes on the other.
    """
    columns = block.columns(keys)
    own = block.table(caption, line, notes, keys)
    known = [column.key for column in columns]
    extra = [key for key in printed.columns if key not in known]
    header = (*own.header[: len(known) + 1], *(printed.columns[k] for k in extra))
    header += own.header[len(known) + 1 :]
    costs = len(own.header) - len(known) - 1
    rows = [
        (*row[: len(known) + 1], *["–"] * len(extra), *row[len(known) + 1 :]) for row in own.rows
    ]
    for name, cells in printed.rows.items():
        told = [cells.get(key, "–") for key in (*known, *extra)]
        rows.append((f"paper, {printed.place}: {name}", *told, *["–"] * costs))
    return Table(caption, line, header, tuple(rows), tuple(notes))


def against_each(
    block: Block, reference: str, line: str, keys: Collection[str] | None = None
) -> Table | None:
    """Lay out every row against one, case by case; None where nothing can be tested."""
    found = block.comparisons(reference, keys)
    columns = [c for c in block.columns(keys) if c.key in found]
    names = [name for name in block.rows if name != reference]
    if not columns or not names:
        return None
    rows = tuple((name, *(_told(found[c.key].get(name), c) for c in columns)) for name in names)
    # All signs alike, which is the least that can be by chance, times the rows.
    least = min(1.0, 2 * 0.5 ** len(set(block.groups)) * len(names))
    notes = [TESTS.format(reference=reference)]
    if least > 0.05:
        notes.append(f"With so few tiles for so many rows no p can be under {least:.2f}.")
    return Table(
        f"**Every row against “{reference}”**, on the same images.",
        line,
        ("", *(c.header for c in columns)),
        rows,
        tuple(notes),
    )


def _told(found: Any, column: Column) -> str:
    return "–" if found is None else str(found.text(column.digits))


def losses(
    block: Block, ours: Sequence[str], others: Sequence[str], keys: Collection[str] | None = None
) -> list[str]:
    """Say in which columns the best of our rows is behind the best of others."""
    said = []
    for column in block.columns(keys):
        found = {
            n: f[column.key]
            for n, f in block.found.items()
            if column.key in f and math.isfinite(f[column.key].value)
        }
        mine, rest = ([n for n in names if n in found] for names in (ours, others))
        if not mine or not rest:
            continue
        one, other = best(column, found, mine), best(column, found, rest)
        if column.ahead(found[other], found[one]):
            values = (f"{found[n].value:.{column.digits}f}" for n in (one, other))
            told = " to ".join(values)
            said.append(f"{column.name}: {one} is behind {other} ({told}).")
    return said


def standings(
    block: Block, ours: Sequence[str], others: Sequence[str], keys: Collection[str] | None = None
) -> list[str]:
    """Say where the best of our rows is first, and where it is best or behind."""
    return block.standings("Ours", ours, {"the others": others}, keys)


def pictures_of(block: Block, row: str, key: str) -> tuple[Picture, ...]:
    """Return the best and the worst cases of a row by a column, to be compared with the truth."""
    values = block.values[row].get(key)
    (column,) = block.columns([key]) or (None,)
    if values is None or column is None:
        return ()
    order = sorted(range(len(values)), key=lambda k: column.badness(float(values[k])))
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    found = []
    for k in shown:
        case = block.pairs[k]
        restored = case.compared(block.restored[row][k].pixels)
        told = f"{case.name}, {row}: {column.name} {values[k]:.{column.digits}f}"
        found.append(
            Picture(
                f"{told}. Left of the line restored, right of it true", case.reference, restored
            )
        )
    return tuple(found)


def model_hashes(block: Block) -> dict[str, Any]:
    """Return the hashes of the weights of all rows."""
    found = {}
    for name, row in block.rows.items():
        config = getattr(getattr(row, "model", None), "config", None)
        sha256 = getattr(config, "sha256", None) or getattr(config, "control_sha256", None)
        if sha256:
            found[name] = sha256
    return found
