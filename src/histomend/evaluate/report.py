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
from histomend.evaluate.column import Column
from histomend.evaluate.own_measures import Pair
from histomend.evaluate.own_pairs import Evaluation, finite
from histomend.image.pixels import Pixels
from histomend.image.stack_input import stack_of
from histomend.jobs.preview import coloured

# Pairs that are shown as pictures, of either end, and the longest side of a picture in px.
SHOWN, SIDE = 4, 640


def rows_as_csv(found: Evaluation) -> str:
    """Return a line for each pair, with a column for each measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = found.of_pairs
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
    each = found.of_pairs
    first = found.columns[each[0]] if each else None
    order = list(range(len(found.pairs))) if first is None else _worst_first(found, first)
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    summary = "".join(
        f"<tr><th scope=row>{html.escape(found.columns[key].header)}</th>"
        f"<td>{figure.text(found.columns[key].digits)}</td><td>{figure.count}</td>"
        f"<td class=about>{html.escape(found.about(key))}</td></tr>"
        for key, figure in found.summary.items()
    )
    table = {
        "columns": [found.columns[key].header for key in each],
        "digits": [found.columns[key].digits for key in each],
        "rows": [
            [pair.name, *(finite(figures.get(key, float("nan"))) for key in each)]
            for pair, figures in zip(found.pairs, found.figures, strict=True)
        ],
    }
    text = resources.files("histomend.evaluate").joinpath("report.html").read_text(encoding="utf-8")
    return Template(text).substitute(
        count=len(found.pairs),
        version=histomend.__version__,
        notes="".join(f"<p class=note>{html.escape(note)}</p>" for note in found.notes),
        summary=summary,
        first="" if first is None else html.escape(first.name),
        pictures="".join(_figure(found.pairs[k], found.figures[k], first) for k in shown),
        # No text of a file name may end the script.
        data=json.dumps(table).replace("<", "\\u003c"),
    )


def _worst_first(found: Evaluation, column: Column) -> list[int]:
    def badness(number: int) -> float:
        value = found.figures[number].get(column.key, float("nan"))
        return -math.inf if math.isnan(value) else column.badness(value)

    return sorted(range(len(found.pairs)), key=badness, reverse=True)


def _figure(pair: Pair, figures: Mapping[str, float], first: Column | None) -> str:
    name = html.escape(pair.name)
    told = ""
    if first is not None:
        value = figures.get(first.key, float("nan"))
        shown = "∞" if math.isinf(value) else f"{value:.{first.digits}f}"
        told = f": {html.escape(first.name)} {shown}"
    # Both over the range of the truth: a restored image that is too dim has to look dim.
    planes = [_middle(path) for path in (pair.restored, pair.truth)]
    restored, truth = (_address(coloured(plane, planes[1])) for plane in planes)
    return (
        f'<figure><div class=pair><img src="{truth}" alt="true: {name}">'
        f'<img class=over src="{restored}" alt="restored: {name}">'
        f'<input type=range min=0 max=100 value=50 aria-label="restored, up to here: {name}"></div>'
        f"<figcaption>{name}{told}. "
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
