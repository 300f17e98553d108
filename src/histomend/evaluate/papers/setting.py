"""At which scale a paper is run again, on which data, and where what was computed is kept."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import histomend
from histomend.errors import DeviceError, InputError
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.datasets import DATASETS, Data, about_slides
from histomend.evaluate.harness.judges import Judge
from histomend.evaluate.harness.opening import open_judges
from histomend.evaluate.harness.store import Lines, Store, digest, files_digest
from histomend.evaluate.papers.made_up import make_data
from histomend.train import TrainingOptions, train

MADE_UP = "made-up"
"""In place of a folder of data: tissue that is drawn, for the scale `tiny` alone."""
SRH = "srh"
_PART = {"he_clean_train": "train", "he_clean_val": "test"}
"""Of the papers' own tiles."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes
    ----------
    name : str
    cases : int
        Images that all rows are run on.
    size : int
        Their side in px.
    steps, batch, crop : int
        Of trainings.
    tiles : int or None
        For training; all unless given.
    calls : int or None
        Diffusion steps of presets that walk all of the way; the papers' unless given.
    seeds : int
        Of a classifier.
    """

    name: str
    cases: int
    size: int
    steps: int
    batch: int
    crop: int
    tiles: int | None = None
    calls: int | None = None
    seeds: int = 1


SCALES = {
    "tiny": Scale("tiny", 2, 64, 2, 2, 64, tiles=8, calls=3),
    "small": Scale("small", 8, 128, 60, 8, 128, seeds=2),
    "paper": Scale("paper", 462, 256, 100_000, 16, 256, seeds=5),
}
"""By name. What the papers' own hardware and data took is `paper`."""


@dataclass(frozen=True)
class Setting:
    """What all reproductions share.

    Parameters
    ----------
    scale : Scale
    data : Data
    cache : Path
        Where restored images, figures and trained models are kept.
    device : str
    places : mapping of str to str
        Weights of measures, by their names in `histomend.evaluate.columns.MEASURES`.
    published : mapping of str to str
        By the titles of further rows of Histo-Diffusion's tables, weight files that
        `histomend upscale --method published` takes.
    tiles : str
        At the scale of the paper the data set that stands for the tiles to train and to test on.
    tell : function of a line of text
        Told what is being done.
    """

    scale: Scale
    data: Data
    cache: Path
    device: str = "cpu"
    places: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    tiles: str = ""
    tell: Callable[[str], None] = _log.info

    @property
    def made_up(self) -> bool:
        """Whether the tissue is drawn."""
        return self.data.folder is not None and str(self.data.folder) == MADE_UP

    @property
    def is_tiny(self) -> bool:
        """Whether figures mean nothing, and only the way to them is shown."""
        return self.scale.name == "tiny"

    @property
    def store(self) -> Store:
        """Restored images."""
        return Store(self.cache / "restored")

    def check(self, name: str, wanted: Sequence[str]) -> None:
        """Refuse what cannot be run here.

        Raises
        ------
        InputError
            At the scale of the paper, without its data; or drawn tissue at another scale.
        DeviceError
            At the scale of the paper, without a GPU.
        """
        if self.made_up and not self.is_tiny:
            raise InputError(
                f"--data {MADE_UP} is tissue that is drawn, and figures of it say nothing: take "
                "it with --scale tiny alone."
            )
        if self.scale.name != "paper":
            return
        if SRH in wanted:
            raise InputError(
                f"{name} cannot be run at the scale of the paper by anyone but its authors: it "
                f"needs {DATASETS[SRH].about}. {DATASETS[SRH].how} --scale small runs on H&E."
            )
        missing = [dataset for dataset in wanted if not self.data.has(dataset)]
        if missing:
            told = " ".join(
                f"{name}: {DATASETS[name].about}. {DATASETS[name].how}" for name in missing
            )
            raise InputError(
                f"{name} at the scale of the paper needs its data in the folder that --data or "
                f"HISTOMEND_DATA names, and there is no {', '.join(missing)}. {told} "
                "--scale small runs on what is here."
            )
        if not torch.cuda.is_available():
            raise DeviceError(
                f"{name} at the scale of the paper trains for days on a GPU with 16 GB or more, "
                "and there is none here. --scale small runs on a CPU."
            )

    def dataset(self, name: str) -> Path:
        """Return the folder of a data set.

        Raises
        ------
        InputError
            It is not there.
        """
        if self.made_up:
            return make_data(self.cache / MADE_UP) / name
        if self.scale.name == "paper" and self.tiles and name in _PART:
            return self.data.of(self.tiles) / _PART[name]
        return self.data.of(name)

    def training_tiles(self, name: str = "he_clean_train") -> Path:
        """Return the folder of tiles to train on: all, or at the scale `tiny` a few of them."""
        folder = self.dataset(name)
        if self.scale.tiles is None:
            return folder
        return first_tiles(folder, self.cache / "tiles" / name, self.scale.tiles)

    def slides_of(self, cases: Sequence[Case], *, trains: bool = True) -> str:
        """Say of which slides cases are, and whether the trainings here saw them."""
        seen = self.dataset("he_clean_train") if trains else None
        return about_slides(self.dataset("he_clean_val"), [case.group for case in cases], seen)

    def trained(self, name: str, kind: type[TrainingOptions], **options: Any) -> Path:
        """Train a model, or return the one that was trained so before.

        A training that was stopped goes on. Steps, batch and crop are those of the scale unless
        given.

        Parameters
        ----------
        name : str
            Of the folder, for people.
        kind : class of options of `histomend.train`
        options : its fields

        Returns
        -------
        Path
            The folder of the model.
        """
        scale = self.scale
        chosen = {"steps": scale.steps, "batch": scale.batch, "crop": scale.crop, **options}
        data = chosen.pop("data", None) or self.training_tiles()
        known = {key: _identified(value) for key, value in chosen.items()}
        key = digest(histomend.__version__, kind.__name__, known, str(data.resolve()))[:10]
        out = self.cache / "trained" / f"{name}-{key}"
        done = out / "done.json"
        if not done.exists():
            self.tell(f"training {name}, {chosen['steps']} steps")
            run = kind(
                data,
                out,
                cache=self.cache / "packed",
                resume=(out / "last").exists(),
                device=self.device,
                validate_minutes=1e6,
                **chosen,
            )
            train(run)
            done.write_text(json.dumps(known, indent=1, default=str) + "\n", encoding="utf-8")
        return out / "model"

    def judges(self, names: Sequence[str], mpp: float = 0.5) -> tuple[list[Judge], list[str]]:
        """Return the measures that are at hand, and why others are not."""
        lines = Lines(self.cache / "figures.jsonl")
        return open_judges(names, lines, self.places, mpp=mpp)

    def facts(self) -> dict[str, Any]:
        """Return what a reader needs to run it again."""
        data = MADE_UP if self.made_up else "HISTOMEND_DATA"
        return {
            "histomend": histomend.__version__,
            "torch": torch.__version__,
            "data": data,
            "device": self.device,
            "threads": torch.get_num_threads(),
            "scale": asdict(self.scale),
        }


def _identified(value: Any) -> Any:
    """Return a value of an option that JSON holds: of a folder of weights their hash."""
    if isinstance(value, Path):
        return files_digest(value)
    return value


def first_tiles(folder: Path, place: Path, count: int) -> Path:
    """Copy a few tiles of a folder, of as many slides as can be, with their manifest.

    Raises
    ------
    InputError
        The folder has no manifest.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"There is no {manifest}: tiles to train on need one (file, slide, mpp).")
    if (place / "manifest.csv").is_file():
        return place
    with manifest.open(newline="", encoding="utf-8") as lines:
        listed = list(csv.DictReader(lines))
    slides: dict[str, list[dict[str, str]]] = {}
    for row in listed:
        slides.setdefault(row["slide"], []).append(row)
    turns = [rows[turn] for turn in range(count) for rows in slides.values() if turn < len(rows)]
    place.mkdir(parents=True, exist_ok=True)
    for row in turns[:count]:
        target = place / row["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / row["file"], target)
    with (place / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file", "slide", "mpp"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(turns[:count])
    return place
