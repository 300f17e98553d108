"""Ways to enlarge an image, which are rows of tables and columns of sheets.

Used by the other ``upscale_*.py``; nothing to run here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from histomend.errors import SettingError
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.rows import MethodRow
from histomend.methods import method_named
from histomend.methods.loading import model_for
from histomend.models.upscaler import Upscaler, load_upscaler

STORE = Path("runs/upscale-figures")
SIZE = 512
Kind = Literal["other", "stage 1", "ours"]
# By name, the settings of `histomend.upscale` that make our rows.
OWN: dict[str, dict[str, Any]] = {
    "stage 1 alone": {"generation": 0.0},
    "fast": {"preset": "fast"},
    "fast, wavelet": {"preset": "fast", "colour": "wavelet"},
    "paper": {"preset": "paper"},
}
INTERPOLATED = ("bicubic", "lanczos")
ROWS = (*INTERPOLATED, *OWN)


OURS = "histo-diffusion"


def interpolated(name: str) -> MethodRow:
    """Return a row of interpolation, which needs no model."""
    return MethodRow(name, "other", "upscale", name)


def named_row(title: str, method: str, weights: str) -> MethodRow:
    """Return a row of any method with the weights in a file or a folder."""
    model = model_for(method_named("upscale", method), weights, "cpu")
    return MethodRow(title, "ours" if method == OURS else "other", "upscale", method, model)


def own_row(title: str, model: Upscaler, **settings: Any) -> MethodRow:
    """Return a row of an upscaler of ours."""
    kind: Kind = "stage 1" if settings.get("generation") == 0 else "ours"
    return MethodRow(title, kind, "upscale", OURS, model, settings)


def without_stage_1(title: str, model: Upscaler) -> MethodRow:
    """Return a row in which the diffusion is steered by the interpolated image itself."""
    steered = replace(model, restoration=lambda x: x)
    return MethodRow(title, "ours", "upscale", OURS, steered, variant="without stage 1")


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the rows."""
    add = parser.add_argument
    add("--model", help="upscaler (RUN/model of `histomend train control`); without it no own rows")
    add(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help=f"of {', '.join(ROWS)}; by default all",
    )
    add(
        "--row",
        action="append",
        default=[],
        type=_named,
        metavar="NAME=METHOD:PATH",
        help="a further row, of a published file or a model (repeatable)",
    )


def rows_of(chosen: argparse.Namespace) -> list[MethodRow]:
    """Return the rows that the options name: interpolation, further ones, ours."""
    rows = [interpolated(name) for name in INTERPOLATED if name in chosen.rows]
    rows += [named_row(*named) for named in chosen.row]
    if chosen.model is not None:
        model = load_upscaler(chosen.model, "cpu")
        rows += [own_row(name, model, **how) for name, how in OWN.items() if name in chosen.rows]
    return rows


def fitting(rows: Sequence[MethodRow], pair: Case) -> tuple[list[MethodRow], list[str]]:
    """Return the rows that can enlarge by a pair's scale, and why the others cannot."""
    able, said = [], []
    for row in rows:
        try:
            row.job(pair)
            able.append(row)
        except SettingError as error:
            said.append(f"{row.name} has no row at ×{pair.scale}: {error}")
    return able, said


def _named(text: str) -> tuple[str, str, str]:
    title, equals, rest = text.partition("=")
    method, colon, place = rest.partition(":")
    if not (title and equals and method and colon and place):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=METHOD:PATH")
    return title, method, place


def section(name: str, degradation: str) -> str:
    """Return the name of a section: one of its own for what is not the scanner's."""
    return name if degradation == "scanner" else f"{name}-{degradation}"
