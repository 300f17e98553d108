"""What is declared once is the command line, Python's signature, the guide and run.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import pytest
from typer.testing import CliRunner

from histomend.cli import train as verbs
from histomend.cli.app import app
from histomend.errors import SettingError
from histomend.train import TRAININGS, ArtifusionOptions, CycleGanOptions, TrainingOptions, train
from histomend.train.option import declared
from histomend.train.shared_options import Verb
from histomend.train.tables import page

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "train.md"
# Of other commands in the guide.
OTHERS = {"--model", "--mask", "--method", "--multi_gpu", "--num_processes", "--scale"}
each_training = pytest.mark.parametrize("options", TRAININGS, ids=lambda o: o.verb.name)


def flags(options: type[TrainingOptions]) -> set[str]:
    off = {f"--no-{each.flag[2:]}" for each in declared(options) if each.default is True}
    return {each.flag for each in declared(options)} | off


@each_training
def test_hints_are_those_that_the_lowest_python_takes(options: type[TrainingOptions]) -> None:
    """Python 3.10 evaluates no bare ClassVar, which later ones do."""
    assert get_type_hints(options, localns={"KW_ONLY": type})["verb"] == ClassVar[Verb]


def test_every_option_in_the_guide_exists() -> None:
    named = set(re.findall(r"--[a-z][a-z_-]*", GUIDE.read_text(encoding="utf-8"))) - OTHERS
    assert named <= set().union(*map(flags, TRAININGS))


def test_every_command_in_the_guide_names_options_of_its_verb() -> None:
    text = GUIDE.read_text("utf-8").replace("\\\n", "")
    commands = re.findall(r"^.*histomend train (\S+) (.*)$", text, re.MULTILINE)
    by_name = {options.verb.name: options for options in TRAININGS}
    assert {name for name, _ in commands} == set(by_name)
    for name, words in commands:
        assert set(re.findall(r"--[a-z][a-z-]*", words)) <= flags(by_name[name])


def test_the_page_of_all_options_is_up_to_date() -> None:
    """Or: `python -m histomend.train.tables > docs/guides/train-options.md`."""
    assert GUIDE.with_name("train-options.md").read_text(encoding="utf-8") == page()


@each_training
def test_the_help_shows_every_option_and_an_example(options: type[TrainingOptions]) -> None:
    shown = CliRunner().invoke(app, ["train", options.verb.name, "-h"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert flags(options) <= set(re.findall(r"--[a-z][a-z-]*", shown.output))
    assert f"histomend train {options.verb.name} --data tiles" in " ".join(shown.output.split())
    words = re.findall(r"--[a-z][a-z-]*", options.verb.example)
    assert set(words) <= flags(options), "the example can be run"


def test_trainings_are_listed_in_panels() -> None:
    shown = CliRunner().invoke(app, ["train", "-h"], env={"COLUMNS": "80"}).output
    panels = [shown.index(f"─ {name} ─") for name in ("Systems", "Parts", "Baselines", "Judges")]
    assert panels == sorted(panels)
    assert panels[0] < shown.index(" rscd ") < panels[1] < shown.index(" swinir ") < panels[2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"schedule": "square"}, "--schedule is 'square', but must be one of cosine, linear, sca"),
        ({"unconditional": 1.5}, "--unconditional is 1.5, but must be between 0 and 1"),
        ({"mpp": 0}, "--mpp is 0, but must be above 0"),
        ({"batch": 0}, "--batch is 0, but must be 1 or more"),
        ({"crop": 31}, "--crop is 31, but must be 32 or more"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_costs_nothing_but_a_message(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        ArtifusionOptions(Path("nowhere"), Path("run"), **wrong)


def test_a_share_may_be_all_but_not_nothing() -> None:
    assert CycleGanOptions(Path("t"), Path("r"), share=1.0).share == 1.0
    with pytest.raises(SettingError, match=r"--share is 0\.0, but must be above 0 and at most 1"):
        CycleGanOptions(Path("t"), Path("r"), share=0.0)


def test_choices_of_the_command_line_are_those_of_python() -> None:
    few = ("train", "artifusion", "--data", "t", "-o", "r")
    wrong = CliRunner().invoke(app, [*few, "--prediction", "noise"])
    assert wrong.exit_code == 2
    assert "epsilon" in wrong.stderr


def test_run_json_tells_how_a_run_was_started_each_time(data: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"arch": "tiny", "batch": 2, "crop": 32, "device": "cpu"}
    train(ArtifusionOptions(data, tmp_path / "run", steps=1, **given))
    train(ArtifusionOptions(data, tmp_path / "run", steps=2, lr=1e-5, resume=True, **given))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["training"] == "artifusion"
    first, second = record["starts"]
    assert (first["at_step"], second["at_step"]) == (0, 1)
    assert (first["options"]["lr"], second["options"]["lr"]) == (1e-4, 1e-5)
    assert (first["device"], first["options"]["data"]) == ("cpu", str(data))
    again = {k: v for k, v in first["options"].items() if k not in ("data", "out")}
    assert ArtifusionOptions(data, tmp_path / "run", **again).steps == 1, "a start can be repeated"


def test_without_a_terminal_a_line_says_now_and_then_how_far_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "PATIENCE_S", 0)
    few = ("--arch", "tiny", "--batch", "2", "--crop", "32", "--steps", "2", "--device", "cpu")
    words = ["train", "artifusion", "--data", str(data), "-o", str(tmp_path / "run"), *few]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["1", "2"]
    assert lines[-1].endswith("100%")
    assert result.stdout == ""
    assert "packing 4 tiles" in result.stderr, "what the library logs is shown"
