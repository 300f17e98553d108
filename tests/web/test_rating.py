"""The page on which raters answer, and the verb that opens it."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as PilImage
from typer.testing import CliRunner

from histomend.cli.app import app as program
from histomend.evaluate.study import Study, pairs_of
from histomend.image import write_image
from histomend.web.guard import Guard
from histomend.web.rating import RATE_FILES, rate_app

TOKEN = "a-token-of-the-tests"  # noqa: S105


@pytest.fixture
def folders(tmp_path: Path, tissue: np.ndarray) -> list[Path]:
    found = []
    for name, change in (("real", 0), ("made", 3)):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = tissue[100 * number : 100 * number + 96, :96] ^ change
            write_image(tmp_path / name / f"{number}.png", pixels)
        found.append(tmp_path / name)
    return found


@pytest.fixture
def study(folders: list[Path], tmp_path: Path) -> Study:
    return Study(tmp_path / "study.json", *pairs_of(folders), catches=1)


def pixels_of(answer: bytes) -> np.ndarray:
    return np.asarray(PilImage.open(io.BytesIO(answer)))


def test_a_rater_sees_the_pairs_and_nothing_else(study: Study) -> None:
    base = f"http://127.0.0.1/{TOKEN}/"
    with TestClient(Guard(rate_app(study), TOKEN), base_url=base) as client:
        for name in RATE_FILES:
            assert client.get(f"static/{name}").status_code == 200
        assert client.get("static/app.js").status_code == 404
        assert client.get("pictures/0/0/0").status_code == 404, "nobody has entered"
        state = client.post("api/raters", json={"name": "ann"}).json()
        assert (state["trial"], state["of"]) == (0, 5)
        for number, trial in enumerate(study.trials(0)):
            pair = study.pairs[trial.pair]
            for place, which in enumerate(trial.shown):
                answer = client.get(f"pictures/0/{number}/{place}")
                stored = np.asarray(PilImage.open((pair.first, pair.second)[which]))
                same = (pixels_of(answer.content) == stored).all()
                assert same == (trial.blurred != place)
                told = str(answer.headers) + answer.request.url.path
                assert "real" not in told
                assert "made" not in told
            body = {"rater": 0, "trial": number, "answer": "left", "seconds": 1.5}
            assert client.post("api/answers", json=body).json()["trial"] == number + 1
        assert client.post("api/answers", json=body).status_code == 422
        assert client.get("pictures/0/5/0").status_code == 404
        assert client.get("pictures/0/0/2").status_code == 404
        assert client.post("api/raters", json={"name": " "}).status_code == 422
    assert len(Study.read(study.path).answers) == 5


def test_what_came_of_a_study_is_told_and_tabled(study: Study, tmp_path: Path) -> None:
    for name in ("ann", "bea"):
        rater = study.enter(name)
        for number in range(5):
            study.add(rater, number, "left", 1)
    table = tmp_path / "answers.csv"
    words = ["rate", "--report", str(study.path), "--csv", str(table)]
    ran = CliRunner().invoke(program, words)
    assert ran.exit_code == 0, ran.output
    assert "Fleiss' kappa: -1.00" in ran.output, "one side each: they never agree"
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert {row["rater"] for row in rows} == {"ann", "bea"}
    ran = CliRunner().invoke(program, ["rate", "--report", str(study.path), "--json"])
    assert json.loads(ran.output)["pooled"]["answers"] == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "Name two folders"), (["--report", "s.json", "-o", "x.json"], "leave the pairs"),
     (["--report", "nothing.json"], "no study that can be read"), (["."], "Name two folders")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(words: list[str], said: str) -> None:
    ran = CliRunner().invoke(program, ["rate", *words])
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.split())


def test_a_study_goes_on_only_as_it_was_begun(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    monkeypatch.setattr("histomend.web.server.serve", lambda app, *_: served.append(app))
    words = ["rate", *map(str, folders), "-o", str(tmp_path / "s" / "study.json")]
    assert CliRunner().invoke(program, words).exit_code == 0
    assert CliRunner().invoke(program, words).exit_code == 0
    assert len(served) == 2
    ran = CliRunner().invoke(program, [*words, "--seed", "3"])
    assert ran.exit_code == 2
    assert "other pairs or settings" in " ".join(ran.output.split())
