"""A reproduction as one page that needs nothing else, and as a section of Markdown."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path
from string import Template

from PIL import Image

import histomend
from histomend.evaluate.papers.reproduction import Picture, Pixels, Reproduced
from histomend.evaluate.tables import Table, write_section
from histomend.image import make_folder, write_text

# The longest side of a picture that is looked at by itself, and of a sheet, in px.
SIDE, SHEET = 512, 2400
MARKDOWN = "reproduced.md"


def write_reproduced(folder: Path, found: Reproduced) -> Path:
    """Write the page, and the section of the Markdown that holds all reproductions.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
    """
    make_folder(folder)
    write_section(folder / MARKDOWN, found.name, found.markdown())
    path = folder / f"{found.name}.html"
    write_text(path, page(found), force=True)
    return path


def page(found: Reproduced) -> str:
    """Return a page that opens from the disk, without a network."""
    text = resources.files("histomend.evaluate.papers").joinpath("page.html")
    return Template(text.read_text(encoding="utf-8")).substitute(
        title=html.escape(found.title),
        version=histomend.__version__,
        behind="".join(f"<li>{html.escape(line)}</li>" for line in found.behind),
        loses="" if found.behind else "hidden",
        comparable=_marked(found.comparable),
        tables="".join(_table(table, number) for number, table in enumerate(found.tables)),
        pictures="".join(map(_figure, found.pictures)),
        seen="" if found.pictures else "hidden",
        facts=html.escape(json.dumps(dict(found.facts), indent=1, ensure_ascii=False, default=str)),
    )


def _marked(text: str) -> str:
    """Return text as HTML, with what stands between two stars in bold and code as code."""
    shown = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", shown)


def _table(table: Table, number: int) -> str:
    head = "".join(
        f"<th scope=col><button>{html.escape(h) or 'row'}</button></th>" for h in table.header
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<{tag}>{html.escape(cell)}</{tag.split()[0]}>"
            for tag, cell in zip(["th scope=row", *["td"] * (len(row) - 1)], row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p class=note>{_marked(note)}</p>" for note in table.notes)
    made = f"<p class=note>Made by <code>{html.escape(table.command)}</code></p>"
    return (
        f"<p>{_marked(table.caption)}</p><div class=scroll tabindex=0 role=region "
        f'aria-label="table {number + 1}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}{made}"
    )


def _figure(picture: Picture) -> str:
    name = html.escape(picture.title, quote=True)
    if picture.over is None:
        image = _address(picture.image, SHEET)
        shown = f'<img src="{image}" alt="{name}"><figcaption>{name}</figcaption>'
        return f"<figure class=sheet>{shown}</figure>"
    under, over = (_address(pixels, SIDE) for pixels in (picture.image, picture.over))
    return (
        f'<figure><div class=pair><img src="{under}" alt="true: {name}">'
        f'<img class=over src="{over}" alt="restored: {name}">'
        f'<input type=range min=0 max=100 value=50 aria-label="restored, up to here: {name}"></div>'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _address(pixels: Pixels, side: int) -> str:
    """Return a picture, made smaller if need be, as a data address."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
