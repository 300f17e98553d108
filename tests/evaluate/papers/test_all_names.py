"""Every name runs from beginning to end on drawn tissue, with networks that take no time."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from histomend.evaluate.harness.datasets import Data
from histomend.evaluate.papers import NAMES, reproduce
from histomend.evaluate.papers.page import page
from histomend.evaluate.papers.setting import MADE_UP, Scale, Setting
from histomend.train import TRAININGS

SCALE = Scale("tiny", 1, 64, 1, 2, 64, tiles=4, calls=2)
# Those whose paper prints figures that stand in the same table.
PRINTED = {name for name in NAMES if "table" in name} | {"rscd-fig7"}


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """Return a setting that all names share, so that each network is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        for options in TRAININGS:
            module = import_module(f"histomend.train.{options.verb.module}")
            if hasattr(module, "HELD_OUT"):
                patch.setattr(module, "HELD_OUT", 2 if options.verb.name != "iqa" else 1)
        patch.setattr("histomend.train.paired.HELD_OUT", 2)
        patch.setattr("histomend.train.control.STEPS", 1)
        patch.setattr("histomend.evaluate.papers.costs.SIZE", 64)
        folder = tmp_path_factory.mktemp("reproduced")
        yield Setting(SCALE, Data(Path(MADE_UP)), folder / "cache")


# Those that train most are left to `make reproduce`, which CI runs for all names.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {f"histo-diffusion-table{k}" for k in (4, 6)}))
def test_a_name_runs_and_says_what_it_made(name: str, setting: Setting) -> None:
    found = reproduce(name, setting)
    assert found.name == name
    assert found.tables
    for table in found.tables:
        assert table.rows
        assert table.command == f"histomend reproduce {name} --scale tiny --data made-up"
        assert all(len(row) == len(table.header) for row in table.rows)
    own = [row[0] for row in found.tables[0].rows if not row[0].startswith("paper")]
    theirs = [row[0] for row in found.tables[0].rows if row[0].startswith("paper")]
    assert own
    assert bool(theirs) == (name in PRINTED)
    assert found.title in page(found)
    assert len(found.comparable) > 80
