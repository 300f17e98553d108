"""An evaluation as a table for other programs, and as one page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image as PilImage

import histomend
from histomend.evaluate.own_pairs import MEASURES, Evaluation, Pair, finite
from histomend.image.pixels import Pixels
from histomend.image.stack_input import stack_of
from histomend.jobs.preview import coloured

# Pairs that are shown as pictures, of either end, and the longest side of a picture in px.
SHOWN, SIDE = 4, 640
_ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}


def rows_as_csv(found: Evaluation) -> str:
    """Return a line for each pair, with a column for each measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = list(found.summary)
    writer.writerow(["name", "restored", "truth", "mask", *keys])
    for pair, figures in zip(found.pairs, found.figures, strict=True):
        values = [finite(figures[key]) if key in figures else None for key in keys]
        mask = "" if pair.mask is None else pair.mask
        writer.writerow([pair.name, pair.restored, pair.truth, mask, *values])
    return out.getvalue()


def page(found: Evaluation) -> str:
    """Return a page that opens from the disk, without a network: tables, and pictures to compare.

    It shows the pairs at both ends of the first measure.
    """
    first = next(iter(found.summary))
    order = _worst_first(found, first)
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    summary = "".join(
        f"<tr><th scope=row>{MEASURES[key].name} {_ARROWS[MEASURES[key].better]}</th>"
        f"<td>{figure.text(MEASURES[key].digits)}</td><td>{figure.count}</td>"
        f"<td class=about>{html.escape(MEASURES[key].about)}</td></tr>"
        for key, figure in found.summary.items()
    )
    table = {
        "columns": [
            f"{MEASURES[key].name} {_ARROWS[MEASURES[key].better]}" for key in found.summary
        ],
        "digits": [MEASURES[key].digits for key in found.summary],
        "rows": [
            [pair.name, *(finite(figures.get(key, float("nan"))) for key in found.summary)]
            for pair, figures in zip(found.pairs, found.figures, strict=True)
        ],
    }
    text = resources.files("histomend.evaluate").joinpath("report.html").read_text(encoding="utf-8")
    return Template(text).substitute(
        count=len(found.pairs),
        version=histomend.__version__,
        notes="".join(f"<p class=note>{html.escape(note)}</p>" for note in found.notes),
        summary=summary,
        first=MEASURES[first].name,
        pictures="".join(_figure(found.pairs[k], found.figures[k], first) for k in shown),
        # No text of a file name may end the script.
        data=json.dumps(table).replace("<", "\\u003c"),
    )


def _worst_first(found: Evaluation, key: str) -> list[int]:
    def badness(number: int) -> float:
        value = found.figures[number].get(key, float("nan"))
        if math.isnan(value):
            return -math.inf
        if MEASURES[key].better == "one":
            return abs(math.log(max(value, 1e-9)))
        return value if MEASURES[key].better == "lower" else -value

    return sorted(range(len(found.pairs)), key=badness, reverse=True)


def _figure(pair: Pair, figures: Mapping[str, float], first: str) -> str:
    name = html.escape(pair.name)
    value = figures.get(first, float("nan"))
    shown = "∞" if math.isinf(value) else f"{value:.{MEASURES[first].digits}f}"
    # Both over the range of the truth: a restored image that is too dim has to look dim.
    planes = [_middle(path) for path in (pair.restored, pair.truth)]
    restored, truth = (_address(coloured(plane, planes[1])) for plane in planes)
    return (
        f'<figure><div class=pair><img src="{truth}" alt="true: {name}">'
        f'<img class=over src="{restored}" alt="restored: {name}">'
        f'<input type=range min=0 max=100 value=50 aria-label="restored, up to here: {name}"></div>'
        f"<figcaption>{name}: {MEASURES[first].name} {shown}. "
        "Left of the line restored, right of it true.</figcaption></figure>"
    )


def _middle(path: Path) -> Pixels:
    stack = stack_of(path, per_channel=None)
    return np.asarray(stack.values[len(stack.values) // 2])


def _address(pixels: Pixels) -> str:
    """Return a picture, made smaller if need be, as a data address."""
    picture = PilImage.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "WEBP", lossless=True)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
