"""Every command in README and guides is one that the program takes: its verbs and options exist."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from histomend.cli.app import app
from histomend.masks import load_mask

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PROGRAM: Any = typer.main.get_command(app)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of code blocks that are no Python, joined where they go on."""
    fenced = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
    for found in fenced.finditer(text):
        if found[1] in ("python", "json", "toml", "yaml", "groovy", "ijm"):
            continue
        number = text.count("\n", 0, found.start()) + 2
        for line in re.sub(r"\\\n\s*", " ", found[2]).split("\n"):
            yield number, line.strip()
            number += 1


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each command of the program, with its line."""
    inline = [
        (text.count("\n", 0, found.start()) + 1, found[1])
        for found in re.finditer(r"`(histomend [^`\n]+)`", text)
    ]
    for number, line in [*blocks(text), *inline]:
        for part in re.split(r";|&&|\|(?!\w)", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            for start in ("histomend", ".venv/bin/histomend"):
                if start in words:
                    yield number, words[words.index(start) + 1 :]
                    break


def problems(words: list[str]) -> list[str]:
    """Return what the program does not know of a command."""
    command, said = PROGRAM, []
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            # In sentences: "histomend models" of a verb, or a word that stands for some.
            return [] if not name.isascii() or name in ("...", "VERB") else [f"no verb {name!r}"]
        command = command.commands[name]
    known = {"--help", "-h", "--install-completion", "--show-completion", "--debug"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    flags = {
        option
        for parameter in command.params
        if getattr(parameter, "is_flag", False)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    waiting = None
    for word in rest:
        if waiting:
            waiting = None
            continue
        name = word.partition("=")[0]
        if re.match(r"^--?[a-zA-Z]", word):
            if name not in known:
                said.append(f"no option {name} of {command.name}")
            elif name not in flags and "=" not in word:
                waiting = name
    return said


def test_there_are_commands_to_check() -> None:
    found = [words for page in PAGES for _, words in commands(page.read_text(encoding="utf-8"))]
    assert len(found) > 80


def test_the_check_notices_what_is_not_there() -> None:
    assert problems(["restore", "a.png", "--masks", "m.png"]) == ["no option --masks of restore"]
    assert problems(["mend", "a.png"]) == ["no verb 'mend'"]
    assert problems(["restore", "a.png", "--mask", "--odd-name.png", "-o", "b.png"]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documentation_are_taken(page: Path) -> None:
    found = {line: problems(words) for line, words in commands(page.read_text(encoding="utf-8"))}
    assert {line: said for line, said in found.items() if said} == {}


def script(page: str, language: str) -> str:
    """Return the one script of a guide."""
    text = (ROOT / "docs/guides" / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    return str(found)


@pytest.mark.parametrize(
    ("page", "language", "call"),
    [
        ("qupath.md", "groovy", r"run\(\[histomend, (.*?)\]\)"),
        ("fiji.md", "ijm", r"exec\(histomend, (.*)\);"),
    ],
)
def test_scripts_for_other_programs_call_what_there_is(page: str, language: str, call: str) -> None:
    """Their words, as these languages have them between quotes."""
    calls = re.findall(call, script(page, language))
    assert len(calls) > 1
    for listed in calls:
        words = [word.strip().strip('"') for word in listed.split(",")]
        assert words[0] in ("detect", "restore", "denoise")
        assert problems(words) == []


@pytest.mark.skipif(shutil.which("groovyc") is None, reason="there is no Groovy")
def test_the_script_for_qupath_compiles(tmp_path: Path) -> None:
    stub = tmp_path / "qupath/lib/images/servers/ImageServerProvider.groovy"
    stub.parent.mkdir(parents=True)
    stub.write_text("package qupath.lib.images.servers\nclass ImageServerProvider {}\n")
    (tmp_path / "script.groovy").write_text(script("qupath.md", "groovy"), encoding="utf-8")
    java = Path(shutil.which("java") or "").resolve().parents[1]
    ran = subprocess.run(
        ["groovyc", "-d", "out", "script.groovy", str(stub)],  # noqa: S607
        cwd=tmp_path, env={**os.environ, "JAVA_HOME": str(java)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_annotations_are_read_as_the_script_has_qupath_export_them(tmp_path: Path) -> None:
    """A FEATURE_COLLECTION as QuPath 0.5 writes it: two annotations, one with a hole."""
    text = """{"type":"FeatureCollection","features":[
    {"type":"Feature","id":"7d2c0f0e-5a56-4d43-8f1a-3f6b6a0f9d11","geometry":{"type":"Polygon",
     "coordinates":[[[10,10],[30.5,10],[30.5,30],[10,30],[10,10]],[[15,15],[15,20],[20,20],[20,15],[15,15]]]},
     "properties":{"objectType":"annotation","name":"fold","classification":{"name":"Artifact","color":[200,0,0]}}},
    {"type":"Feature","id":"0b1f8f4e-1111-4c1b-9d55-0d8f3b6f2c22","geometry":{"type":"MultiPolygon",
     "coordinates":[[[[50,5],[60,5],[60,10],[50,10],[50,5]]],[[[70,5],[72,5],[72,7],[70,7],[70,5]]]]},
     "properties":{"objectType":"annotation","isLocked":true}}]}"""
    path = tmp_path / "slide-restored.mask.geojson"
    path.write_text(text, encoding="utf-8")
    mask = load_mask(path, (40, 80)).mask
    assert mask.sum() == 20 * 20 - 5 * 5 + 10 * 5 + 2 * 2
    assert mask[12, 12]
    assert not mask[17, 17]
    assert load_mask(path, (40, 80), classes=["Artifact"]).mask.sum() == 20 * 20 - 5 * 5


def test_every_page_is_on_the_site() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"- {page}\n" not in listed] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files and to headings of this project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if heading and path.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert heading in slugs, target
