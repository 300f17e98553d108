"""Build the demo's page: one HTML file with its pictures inside, asking nothing of the network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP_PX = 12
_CAPTION_PX = 34


Best = Literal["lowest", "highest", "closest to 1"]
_SIGNS: dict[Best, str] = {"lowest": "\u2193", "highest": "\u2191", "closest to 1": "\u2192 1"}


@dataclass(frozen=True)
class Measure:
    """One row of a figures table.

    Attributes
    ----------
    name, unit : the quantity and its unit ("" if it has none).
    values : column heading -> figure, the same columns in every row of a field.
    best : which figure of the row is set in bold.
    """

    name: str
    unit: str
    values: Mapping[str, float]
    best: Best

    def winner(self) -> float:
        """Return the best figure of the row, NaN if there is none."""
        known = [value for value in self.values.values() if not math.isnan(value)]
        orders: dict[Best, Callable[[float], float]] = {
            "lowest": lambda value: value,
            "highest": lambda value: -value,
            "closest to 1": lambda value: abs(math.log(value)) if value > 0 else math.inf,
        }
        return min(known, key=orders[self.best], default=math.nan)


@dataclass(frozen=True)
class Field:
    """One field of tissue, from the truth to what was restored.

    Attributes
    ----------
    name : stem of the files and of the page's anchors.
    title, about : what is seen, and where it comes from.
    truth, damaged, restored : (H, W, 3) uint8 RGB
    mask : (H, W) bool, True where pixels were restored.
    measures : the figures table.
    notes : sentences below the table.
    changes : (name, figure) pairs of the change ledger.
    """

    name: str
    title: str
    about: str
    truth: np.ndarray
    damaged: np.ndarray
    restored: np.ndarray
    mask: np.ndarray
    measures: Sequence[Measure]
    notes: Sequence[str]
    changes: Sequence[tuple[str, str]]


def build_page(fields: Sequence[Field], *, lead: str, footer: str) -> str:
    """Build the page as HTML text.

    Parameters
    ----------
    fields : sections of the page, in this order.
    lead : what was done, in a sentence or two.
    footer : how to make the page again.
    """
    page = files("histomend.demo").joinpath("page.html").read_text(encoding="utf-8")
    # The sections come last: what is put in is never looked at for further placeholders.
    for place, text in (("lead", escape(lead)), ("footer", escape(footer))):
        page = page.replace(f"@{place}@", text)
    return page.replace("@sections@", "\n".join(_section(field) for field in fields))


def draw_picture(field: Field) -> Image.Image:
    """Draw damaged, mask, restored and truth side by side, with captions.

    Returns
    -------
    Image.Image
        RGB, as high as the field and a caption line, and four times as wide.
    """
    panels = (
        ("Damaged", field.damaged),
        ("Mask: white is restored", show_mask(field.mask)),
        ("Restored", field.restored),
        ("Truth", field.truth),
    )
    height, width = field.mask.shape
    sheet = Image.new("RGB", (4 * width + 3 * _GAP_PX, height + _CAPTION_PX), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (caption, pixels) in enumerate(panels):
        x = i * (width + _GAP_PX)
        pen.text((x, 6), caption, fill="black", font=ImageFont.load_default(size=20))
        sheet.paste(Image.fromarray(pixels), (x, _CAPTION_PX))
    return sheet


def show_mask(mask: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool as a picture (H, W, 3) uint8, white where True."""
    return np.repeat(np.where(mask, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)


def _section(field: Field) -> str:
    name = escape(field.name)
    height, width = field.mask.shape
    pictures = {
        "damaged": ("Damaged", field.damaged),
        "mask": ("Mask: white is restored", show_mask(field.mask)),
        "restored": ("Restored", field.restored),
        "truth": ("Truth", field.truth),
    }
    strip = "\n".join(
        f'<figure><img id="{name}-{key}" src="{_data_uri(pixels)}" alt="{escape(caption)}" '
        f'width="{width}" height="{height}"><figcaption>{escape(caption)}</figcaption></figure>'
        for key, (caption, pixels) in pictures.items()
    )
    choices = "\n".join(
        f'<label><input type="radio" name="{name}-left" value="{name}-{key}" '
        f'data-tag="{caption}"{" checked" if key == "damaged" else ""}> {caption}</label>'
        for key, caption in (("damaged", "Damaged"), ("truth", "Truth"))
    )
    # The slider starts, and the closer look is taken, in the middle of what was restored.
    rows, columns = np.nonzero(field.mask) if field.mask.any() else ([height / 2], [width / 2])
    x, y = 100 * np.mean(columns) / width, 100 * np.mean(rows) / height
    placed = (
        f"--cut: {x:.1f}%; --zoom: 1; --at: {x:.1f}% {y:.1f}%; aspect-ratio: {width} / {height}"
    )
    return f"""<section id="{name}">
<h2>{escape(field.title)}</h2>
<p>{escape(field.about)}</p>
<div class="two">
<div>
<div class="view" style="{placed}">
<div class="layer"><img data-of="{name}-restored" alt="" draggable="false"></div>
<div class="layer first"><img data-of="{name}-damaged" alt="" draggable="false"></div>
<div class="layer"><svg viewBox="0 0 {width} {height}" role="img" aria-label="Outline of the mask">
<path d="{_outline(field.mask)}"></path></svg></div>
<span class="tag left">Damaged</span><span class="tag right">Restored</span>
<div class="bar"></div>
</div>
<div class="controls">
<input type="range" min="0" max="100" step="0.1" value="{x:.1f}"
aria-label="Slide between the pictures">
<div>{choices}
<label><input type="checkbox" name="outline" checked> Outline</label>
<label><input type="checkbox" name="zoom"> Closer</label></div>
</div>
</div>
<div>
<h3>Against the truth</h3>
{_table(field.measures)}
{"".join(f'<p class="note">{escape(note)}</p>' for note in field.notes)}
<h3>Change ledger</h3>
<dl>{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in field.changes)}</dl>
</div>
</div>
<div class="strip">
{strip}
</div>
</section>"""


def _table(measures: Sequence[Measure]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in measures[0].values)
    body = []
    for measure in measures:
        best = measure.winner()
        cells = "".join(
            f'<td class="best">{_figure(value)}</td>'
            if value == best
            else f"<td>{_figure(value)}</td>"
            for value in measure.values.values()
        )
        unit = f", {escape(measure.unit)}" if measure.unit else ""
        name = f"{escape(measure.name)}<small>{unit} {_SIGNS[measure.best]}</small>"
        body.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
        '<p class="note">\u2191 higher is better, \u2193 lower, \u2192 1 closer to 1; '
        "the best of each row is set in bold.</p>"
    )


def _figure(value: float) -> str:
    """Write a figure with about four digits."""
    if not math.isfinite(value):
        return "\u221e" if value > 0 else "\u2013"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.4f}"


def _outline(mask: np.ndarray) -> str:
    """Return the border of a mask (H, W) bool as the path data of an SVG in pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return "".join(
        "M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in contour[:, 0]) + "Z"
        for contour in contours
    )


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
