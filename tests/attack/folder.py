"""A folder of sound and of hostile files, for command lines to name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from mutations import mutated
from seeds import _light, _rgb, _tiff, seeds

from histomend.image import write_image
from histomend.image.stack_files import read_stack
from histomend.masks import write_mask
from histomend.models import WEIGHTS

LATIN = os.fsdecode(b"gef\xe4\xdf.png")
CONTROL = "a\x1b[2J\n.png"
LONGEST = "n" * 251 + ".png"

SOUND = ("a.png", "b.tif", "deep.tif", "clear.png", "stack.tif", "in/x.png", "in/x.tif",
         LATIN, CONTROL, LONGEST, "sp ace [1].png", "-dash.png", "...png")  # fmt: skip
MASKS = ("m.png", "m.geojson", "empty.png", "full.png", "small.png", "a.png", "bad.json")
HOSTILE = ("none.png", "empty.png.0", "text.png", "cut.png", "cut.tif", "fifo.png", "fifo.tif",
           "zero.png", "loop.png", "dangling.png", "folder.png", "shut/a.png", "shut", "huge.png",
           "n" * 300 + ".png", "a.png/b.png", "", ".", "neg.tif", "flat.tif")  # fmt: skip


def build(root: Path, draw: object) -> None:
    """Make the folder; `draw` is a random.Random, for what is damaged."""
    (root / "in").mkdir(parents=True)
    rgb = _rgb()
    for name in SOUND:
        if name not in ("deep.tif", "stack.tif", "clear.png"):
            write_image(root / name, rgb)
    write_image(root / "deep.tif", _rgb(np.uint16))
    write_image(root / "clear.png", rgb, alpha=np.full(rgb.shape[:2], 200, np.uint8))
    (root / "stack.tif").write_bytes(
        _tiff(_light(2, 2, *rgb.shape[:2]), imagej=True, metadata={"axes": "ZCYX"})
    )
    mask = np.zeros(rgb.shape[:2], bool)
    write_mask(root / "empty.png", mask)
    write_mask(root / "full.png", ~mask)
    mask[20:40, 30:60] = True
    write_mask(root / "m.png", mask)
    write_mask(root / "m.geojson", mask)
    write_mask(root / "small.png", mask[:50])
    (root / "bad.json").write_text('{"type": "Polygon", "coordinates": []}')
    (root / "empty.png.0").touch()
    (root / "text.png").write_text("no image")
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:900])
    (root / "cut.tif").write_bytes((root / "b.tif").read_bytes()[:900])
    files = dict(seeds())
    data = bytearray(files["float.tif"])
    data[data.find(b"\x00\x01", 8) + 2] = 6  # the width as a signed byte
    (root / "neg.tif").write_bytes(data)
    (root / "flat.tif").write_bytes(_tiff(np.zeros((64, 64), np.uint8)))
    huge = bytearray(files["grey.png"])
    huge[16:24] = (30_000).to_bytes(4, "big") * 2
    (root / "huge.png").write_bytes(huge)
    for number in range(40):
        name, sound = draw.choice(list(files.items()))  # type: ignore[attr-defined]
        (root / f"mutant{number}-{name}").write_bytes(mutated(name, sound, draw))  # type: ignore[arg-type]
    os.mkfifo(root / "fifo.png")
    os.mkfifo(root / "fifo.tif")
    os.mkfifo(root / "fifo.json")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "zero.json").symlink_to("/dev/zero")
    (root / "loop.png").symlink_to("loop.png")
    (root / "dangling.png").symlink_to("gone")
    (root / "folder.png").mkdir()
    (root / "shut").mkdir()
    write_image(root / "shut" / "a.png", rgb)
    _models(root)
    _data(root)
    assert read_stack(root / "stack.tif").values.shape[0] == 2


def _models(root: Path) -> None:
    """Copies of a bundled model, each broken in another way."""
    sound = WEIGHTS / "rscd-he"
    config = json.loads((sound / "config.json").read_text())
    changes = {
        "nested": "[" * 100_000,
        "list": "[]",
        "empty": "",
        "steps": json.dumps(config | {"steps": 10**30}),
        "channels": json.dumps(config | {"channels": 10**9}),
        "sha": json.dumps(config | {"sha256": 7}),
        "arch": json.dumps(config | {"arch": []}),
        "nan": json.dumps(config | {"mpp": float("nan")}),
        "fifo": None,
    }
    for name, text in changes.items():
        folder = root / "models" / name
        folder.mkdir(parents=True)
        if text is None:
            os.mkfifo(folder / "config.json")
        else:
            (folder / "config.json").write_text(text)
        os.link(_once(root, sound / "model.safetensors"), folder / "model.safetensors")
    folder = root / "models" / "weights"
    folder.mkdir()
    shutil.copy(sound / "config.json", folder)
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"{}      ")
    folder = root / "models" / "pipe"
    folder.mkdir()
    shutil.copy(sound / "config.json", folder)
    os.mkfifo(folder / "model.safetensors")


def _once(root: Path, path: Path) -> Path:
    copy = root / "models" / "shared.safetensors"
    if not copy.exists():
        shutil.copy(path, copy)
    return copy


def _data(root: Path) -> None:
    """Folders of tiles, and states to resume from."""
    rows = {
        "plain": None,
        "bom": "\ufefffile,split\nt0.png,train\nt1.png,val\n".encode(),
        "utf16": "file,split\nt0.png,train\n".encode("utf-16"),
        "latin": b"file,slide\nt0.png,\xe4\n",
        "wide": b"file,split\nt0.png," + b"x" * 140_000,
        "without": b"name\nt0.png\n",
        "gone": b"file\nnone.png\n",
        "out": b"file\n../a.png\n/etc/passwd\n",
    }
    for name, manifest in rows.items():
        folder = root / "data" / name
        folder.mkdir(parents=True)
        for number in range(3):
            write_image(folder / f"t{number}.png", _rgb()[:80, :80])
        if manifest is not None:
            (folder / "manifest.csv").write_bytes(manifest)
    for name in ("fifo", "link", "text"):
        folder = root / "data" / name
        folder.mkdir()
        write_image(folder / "t0.png", _rgb()[:80, :80])
        tile = folder / "t1.png"
        if name == "fifo":
            os.mkfifo(tile)
        elif name == "link":
            tile.symlink_to("gone")
        else:
            tile.write_text("no image")
    for name, texts in {
        "slides-none": {"wanted.json": '{"slides": null}'},
        "slides-list": {"wanted.json": "[]"},
        "slides-deep": {"wanted.json": "[" * 100_000},
        "slide-empty": {"b/slide.json": ""},
        "slide-object": {"b/slide.json": "{}"},
        "slide-null": {"b/slide.json": '{"rows": null, "tiles": 1}'},
    }.items():
        for place, text in texts.items():
            path = root / "begun" / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name, text in {"deep": "[" * 100_000, "list": "[]", "object": "{}", "cut": "{"}.items():
        path = root / "runs" / name / "last" / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
