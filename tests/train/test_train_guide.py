from __future__ import annotations

import inspect
import re
from pathlib import Path

from histomend.cli.training import artifusion
from histomend.train.artifusion import train

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "train.md"
# Of other commands in the guide.
OTHERS = {"--model", "--mask", "--multi_gpu", "--num_processes"}


def test_every_option_in_the_guide_exists() -> None:
    named = set(re.findall(r"--[a-z][a-z_-]*", GUIDE.read_text(encoding="utf-8"))) - OTHERS
    options = {"--" + name.replace("_", "-") for name in inspect.signature(artifusion).parameters}
    assert named - options - {"--no-context"} == set()


def test_the_command_line_hands_on_only_what_training_takes() -> None:
    assert set(inspect.signature(artifusion).parameters) <= set(inspect.signature(train).parameters)
