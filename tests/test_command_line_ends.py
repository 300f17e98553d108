"""How the program ends where the machine, a name or a terminal is in the way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.cli.failures import named
from histomend.errors import OutputError, display_name
from histomend.image import write_image

SOURCE = str(Path(__file__).parents[1] / "src")


def program(*words: str | bytes, **about: Any) -> subprocess.CompletedProcess[bytes]:
    more = about.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "histomend", *words],
        check=False,
        stderr=about.pop("stderr", subprocess.PIPE),
        env=os.environ | {"PYTHONPATH": SOURCE} | more,
        **about,
    )


@pytest.mark.parametrize("words", [("presets",), ("models",), ("models", "rscd-he", "--json")])
def test_a_terminal_of_ascii_is_no_reason_to_fail(words: tuple[str, ...]) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    done = program(*words, stdout=subprocess.PIPE, env=plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")
    if "--json" in words:
        assert json.loads(done.stdout)["method"] == "rscd"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_the_output_is_named() -> None:
    with Path("/dev/full").open("wb") as full:
        done = program("presets", "--json", stdout=full)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize("words", [("detect", "none.png", "-o", "o.png"), ("detect", "--none")])
def test_an_error_that_cannot_be_told_still_ends_with_its_code(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert program(*words, stderr=full).returncode == 2


def test_an_interruption_while_the_program_is_loaded() -> None:
    slow = (
        "import sys, os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Slow(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "sys.argv = ['histomend', 'presets']\n"
        "from histomend.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow], capture_output=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == b""


def test_an_interruption_that_an_import_swallows_ends_the_program() -> None:
    """Extensions that are initialised pass over what is raised there."""
    deaf = (
        "import sys, os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Deaf(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'histomend.methods.catalogue':\n"
        "            try: os.kill(os.getpid(), signal.SIGINT)\n"
        "            except KeyboardInterrupt: pass\n"
        "sys.meta_path.insert(0, Deaf())\n"
        "sys.argv = ['histomend', 'presets']\n"
        "from histomend.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", deaf], capture_output=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_names_that_are_not_utf8_are_worked_on(tmp_path: Path) -> None:
    name = os.fsdecode(b"gef\xe4\xdf \x1b[2J.png")
    write_image(tmp_path / name, np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8))
    words = ("denoise", ".", "-o", "out", "--method", "median")
    done = program(*words, stdout=subprocess.PIPE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert b"gef\xef\xbf\xbd\xef\xbf\xbd \\x1b[2J" in done.stdout
    verified = program("verify", os.fsencode(f"out/{name}"), "--json", cwd=tmp_path, stdout=-1)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["restored"] == f"out/{name}"


def test_what_the_system_refuses_is_never_a_fault_of_ours() -> None:
    for code in (errno.EACCES, errno.ENAMETOOLONG, errno.ENOSPC, errno.EIO):
        known = named(OSError(code, os.strerror(code), "a.png"))
        assert known is not None
        assert str(known).startswith(f"a.png: {os.strerror(code)}. ")
    assert "has ended" in str(named(BrokenPipeError(errno.EPIPE, "Broken pipe")))  # ... | head
    assert "--region" in str(named(MemoryError()))
    assert named(ValueError("ours")) is None
    refused = OutputError("a.png: no")
    assert named(refused) is refused


def test_names_are_shown_without_control_characters() -> None:
    assert display_name("µm 组织 [1].png") == "µm 组织 [1].png"
    assert display_name("a\udce4\x1b[2J\r.png") == "a\ufffd\\x1b[2J\\r.png"
    assert display_name("two\nlines") == "two\nlines"
