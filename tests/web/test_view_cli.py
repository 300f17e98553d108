"""The verb itself: what it opens, and what it says before anything is served."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.cli.view import require_web
from histomend.errors import MissingDependencyError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name what to look at"),
        (["--before", "a.png"], "go together"),
        (["nothing-there.png"], "no such file"),
    ],
)
def test_what_cannot_be_opened_is_said(words: list[str], said: str) -> None:
    ran = CliRunner().invoke(app, ["view", *words])
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.split())


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install .histomend\[web\]"):
        require_web()


def test_it_is_served_until_it_is_interrupted(folder: Path) -> None:
    """The address that is printed answers, another token does not, and Ctrl+C ends it."""
    images = [str(folder / name) for name in ("tissue.png", "restored.png")]
    command = [sys.executable, "-m", "histomend", "view", *images, "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"(http://127\.0\.0\.1:\d+/)(\S+)/", line)
            assert found, line
            with httpx.Client(timeout=30) as client:
                desk = client.get(f"{found[0]}api/desk").json()
                assert [item["name"] for item in desk["items"]] == ["tissue.png"]
                other = "A" * len(found[2])
                assert client.get(f"{found[1]}{other}/api/desk").status_code == 404
            process.send_signal(signal.SIGINT)
            process.wait(60)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert not (folder / "histomend").exists(), "nothing is written before a job is asked for"


def test_a_port_that_is_taken_is_said(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["view", str(folder / "tissue.png"), "--no-browser", "--port", port]
        ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 2
    assert "--port 0 takes any" in " ".join(ran.output.split())


def test_looking_does_not_wait_for_pytorch(folder: Path) -> None:
    """It takes seconds to import, and the first picture does not need it."""
    code = (
        "import sys; from pathlib import Path; "
        "from histomend.web.server import view_app; from histomend.web.work import Bench; "
        "from histomend.web.desk import Desk; desk = Desk([Path(sys.argv[1])]); "
        "view_app(Bench(desk, Path(sys.argv[2]))); desk.about(desk.item(0)); "
        "print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, str(folder / "restored.png"), str(folder / "out")]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
