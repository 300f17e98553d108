"""The Python of README and guides runs, page by page, on small inputs; so do README's commands."""

import ast
import inspect
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import histomend
from histomend.cli.app import app
from histomend.image import write_image
from histomend.masks import write_mask

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if BLOCK.search(page.read_text(encoding="utf-8"))
]
# Blocks that need weights which nobody may ship, a cluster, or hours: their names are checked.
NOT_RUN = {"weights-inception", "UNI_NAME", "BOX/model", "class Lesson", "nuclei_segmenter",
           "minutes=240", "RayEngine(", "reproduce(", "FunctionRow("}  # fmt: skip


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, tissue: np.ndarray) -> Path:
    """Return a folder with the files that the pages name, small."""
    folder = tmp_path_factory.mktemp("desk")
    pixels = tissue[:192, :192].copy()
    pixels[100:130, 60:90] = 15
    mask = np.zeros(pixels.shape[:2], bool)
    mask[98:132, 58:92] = True
    for name in ("tissue.png", "scans/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_image(folder / name, pixels, mpp=0.5)
    write_mask(folder / "mask.png", mask)
    tifffile.imwrite(folder / "noisy.tif", np.ascontiguousarray(tissue[:96, :96, 0]))
    part = np.s_[80:192, 20:180]
    about = "Aperio Image Library v11.2.1\r\n160x112|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        folder / "slide.svs", pixels[part], tile=(64, 64), photometric="rgb", compression="jpeg",
        description=about, metadata=None,
    )  # fmt: skip
    write_mask(folder / "artifacts.geojson", mask[part])
    (folder / "tiles").mkdir()
    write_image(folder / "tiles" / "a.png", tissue, mpp=0.5)
    (folder / "tiles" / "manifest.csv").write_text("file,slide,mpp\na.png,a,0.5\n")
    write_image(folder / "scan.png", np.ascontiguousarray(tissue[:64, :64]), mpp=1.0)
    histomend.restore(folder / "tissue.png", mask, seed=0).save(folder / "restored.png")
    return folder


def given(page: str, folder: Path) -> dict[str, Any]:
    """Return the names that a page takes as given."""
    if page == "docs/guides/napari.md":
        text = (folder / "restored.ledger.json").read_text(encoding="utf-8")
        layer = SimpleNamespace(metadata={"histomend": text})
        return {"viewer": SimpleNamespace(layers={"tissue restored": layer})}
    if page == "docs/guides/measures.md":
        return {"my_restorer": lambda pixels, mask, seed: np.where(mask[..., None], 200, pixels)}
    return {}


def unknown_names(block: str) -> list[str]:
    """Return what a block imports or passes that does not exist."""
    tree, imported, said = ast.parse(block), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("histomend"):
            module = import_module(str(node.module))
            for alias in node.names:
                imported[alias.name] = getattr(module, alias.name, None)
                if imported[alias.name] is None:
                    said.append(f"{node.module} has no {alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name == "histomend" and not hasattr(histomend, node.attr):
                said.append(f"{name} has no {node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            target = imported.get(node.func.id)
            if callable(target):
                placed = [None] * len(node.args)
                words = {str(keyword.arg): None for keyword in node.keywords}
                try:
                    inspect.signature(target).bind(*placed, **words)
                except TypeError as error:
                    said.append(f"{node.func.id}: {error}")
    return said


def test_the_check_of_names_notices_what_is_not_there() -> None:
    assert unknown_names("from histomend.evaluate.distances import fid, fod") == [
        "histomend.evaluate.distances has no fod"
    ]
    (said,) = unknown_names("from histomend import undo\nundo(1, 2, strictly=True)")
    assert "strictly" in said


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(
    page: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page == "docs/guides/slides.md":
        pytest.importorskip("openslide")
    folder = Path(shutil.copytree(desk, tmp_path / "desk"))
    monkeypatch.chdir(folder)
    parts = blocks(page)
    if any("result.save(" in block for block in parts):
        for path in folder.glob("restored.*"):
            path.unlink()
    names = given(page, folder)
    for block in parts:
        if any(sign in block for sign in NOT_RUN):
            assert unknown_names(block) == []
        else:
            exec(compile(block, page, "exec"), names)  # noqa: S102


def test_the_lesson_of_the_guide_is_that_of_the_code() -> None:
    from histomend.train.lesson import Lesson

    (block,) = [part for part in blocks("docs/guides/train.md") if "class Lesson" in part]
    shown = re.findall(r"def (\w+)\(self, ?(.*?)\) ->", block)
    assert len(shown) == 3
    for name, words in shown:
        wanted = [word.partition(":")[0].strip() for word in words.split(",")]
        assert list(inspect.signature(getattr(Lesson, name)).parameters)[1:] == wanted


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command in the blocks of a page that are no Python."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines() if not language else ():
            if line.startswith("histomend "):
                yield shlex.split(line, comments=True)[1:]


def test_the_commands_of_the_readme_do_what_they_say(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as somebody does who copies them; what serves a page is left out."""
    folder = Path(shutil.copytree(desk, tmp_path / "desk"))
    monkeypatch.chdir(folder)
    for path in folder.glob("restored.*"):
        path.unlink()
    ran = []
    for words in commands("README.md"):
        if words[0] == "view" or "slide.svs" in words:
            continue
        if "--detect" in words:  # the detector knows H&E, and this is another stain
            words += ["--max-share", "1"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output)
        ran.append(words[0])
    assert ran == ["restore", "restore", "auto", "verify", "undo", "denoise", "upscale"]
    back = histomend.read_image(folder / "original.png").pixels
    assert (back == histomend.read_image(folder / "tissue.png").pixels).all()
    assert histomend.read_image(folder / "large.png").pixels.shape == (256, 256, 3)


def test_the_notebook_runs_and_holds_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell by cell, without Jupyter; what a cell shows is drawn as a notebook draws it."""
    notebook = json.loads((ROOT / "docs/guides/histomend.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)  # noqa: S102
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))  # noqa: S307
    drawn = [value for value in shown if hasattr(value, "_repr_png_")]
    assert [value.record.task for value in drawn] == ["restore", "denoise", "upscale"]
    assert all(value._repr_png_().startswith(b"\x89PNG") for value in drawn)
    assert shown[-1] == ["restored.ledger.json", "restored.png"]
