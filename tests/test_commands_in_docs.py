"""Every command in README and guides is one that the program takes: its verbs and options exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from histomend.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PROGRAM: Any = typer.main.get_command(app)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of code blocks that are no Python, joined where they go on."""
    fenced = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
    for found in fenced.finditer(text):
        if found[1] in ("python", "json", "toml", "yaml", "groovy"):
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


def test_the_script_for_qupath_calls_what_there_is() -> None:
    """Its words, as Groovy has them between quotes, and what it exports."""
    text = (ROOT / "docs/guides/qupath.md").read_text(encoding="utf-8")
    listed = re.search(r"def words = \[(.*?)\]\n", text)
    assert listed
    words = [word.strip().strip('"') for word in listed[1].split(",")]
    assert words[0] == "histomend"
    assert problems(words[1:]) == []


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
