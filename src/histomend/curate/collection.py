"""A folder of tiles of many slides: who is held out, what is done already, the manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from histomend.curate.cutting import Advance, cut_slide
from histomend.curate.settings import TileSettings
from histomend.errors import InputError, OutputError, SettingError, display_name
from histomend.image import make_folder, write_text
from histomend.image.places import kept_if_filled
from histomend.image.reading import SLIDE_FILES, file_sha256
from histomend.image.regular_files import MOST_MANIFEST, check_regular_file, read_text
from histomend.jobs.inputs import IMAGE_SUFFIXES, folder_name, list_images

COLUMNS = (
    "file", "slide", "x", "y", "mpp", "source", "source_sha256", "tissue", "artifacts",
    "sharpness", "split",
)  # fmt: skip
_WANTED, _DONE, _MANIFEST, _SUMMARY = "wanted.json", "slide.json", "manifest.csv", "summary.json"

Report = dict[str, Any]
_REPORTED = {"slide", "source", "source_sha256", "split", "tiles", "rows"}
_TOLD_OF_TILES = {"file", "x", "y", "mpp", "tissue", "artifacts", "sharpness"}


@dataclass(frozen=True)
class Collection:
    """The tiles of several slides in one folder.

    Attributes
    ----------
    folder : where `manifest.csv` and `summary.json` go, and a folder of tiles per slide.
    slides : the file of each slide, by its name.
    splits : "train" or "val" for each name.
    settings : what tiles are wanted.
    begun : what was made for it: folders, and the list of what is wanted.
    """

    folder: Path
    slides: dict[str, Path]
    splits: dict[str, str]
    settings: TileSettings
    begun: tuple[Path, ...] = ()

    @classmethod
    def begin(
        cls, inputs: Sequence[Path], folder: Path, settings: TileSettings, *, resume: bool
    ) -> Collection:
        """Make the folder, or find the one that is to be resumed.

        Parameters
        ----------
        inputs : slides, images, and folders of them.
        folder : new, empty, left without a tile by an earlier call, or with `resume` one that
            was begun with the same slides and settings.
        settings : what is wanted.
        resume : go on where an earlier call stopped.

        Raises
        ------
        InputError
            If something is not there, or a folder holds no slide.
        SettingError
            If two slides have the same name, or slides or settings differ from those of the
            folder that is to be resumed.
        OutputError
            If the folder holds something else, or cannot be made.
        """
        slides = _named(list_images(inputs, (*IMAGE_SUFFIXES, *SLIDE_FILES)))
        splits = split_slides(list(slides), settings.validation_share, settings.seed)
        begun: list[Path] = []
        wanted = json.loads(json.dumps({"settings": asdict(settings), "slides": splits}))
        record = folder / _WANTED
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file. Name a folder for the tiles: -o DIR.")
        if folder.is_dir() and not _without_tiles(folder):
            if not resume:
                raise OutputError(
                    f"{folder}: the folder is not empty, and nothing in it is replaced. Name "
                    "another one, or go on with what was begun in it: --resume."
                )
            _check_same(record, wanted)
        else:
            begun = [*make_folder(folder), record]
            write_text(record, json.dumps(wanted, indent=2) + "\n", force=True)
        return cls(folder, slides, splits, settings, tuple(begun))

    def forget(self) -> None:
        """Remove what `begin` made, unless something lies in it."""
        if _without_tiles(self.folder):
            for path in reversed(self.begun):
                with suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()

    def done(self, name: str) -> Report | None:
        """Return the report of a slide that an earlier call finished, or None."""
        path = self.folder / name / _DONE
        if not path.exists():
            return None
        try:
            report = json.loads(read_text(path, MOST_MANIFEST, OutputError, "a report"))
            fine = report.keys() >= _REPORTED and all(
                row.keys() >= _TOLD_OF_TILES for row in report["rows"]
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            fine = False
        if not fine:
            raise OutputError(
                f"{path}: is damaged. Delete the folder {path.parent}, so that its tiles are cut "
                "again."
            )
        return cast(Report, report)

    def cut(self, name: str, others: Sequence[Report], advance: Advance | None = None) -> Report:
        """Cut the tiles of a slide, and return its report, which is written last.

        Parameters
        ----------
        name : of the slide.
        others : reports of the slides so far: the same file under two names could be in both
            splits, and is refused.
        advance : as for `cut_slide`.

        Raises
        ------
        InputError, OutputError
            As `cut_slide`, and if the slide is one of the others.
        """
        path = self.slides[name]
        sha256 = _hash(path)
        same = next((one["source"] for one in others if one["source_sha256"] == sha256), None)
        if same is not None:
            raise InputError(
                f"{path}: is the same file as {same}, byte for byte; its tiles would count twice. "
                "Leave one of them out."
            )
        folder = self.folder / name
        with kept_if_filled(folder):
            found = cut_slide(path, name, folder, self.settings, advance, sha256=sha256)
        report = {
            "slide": name,
            "source": display_name(path.name),
            "source_sha256": sha256,
            "split": self.splits[name],
            "tiles": len(found.tiles),
            "rejected": found.rejected,
            "not_looked_at": found.unseen,
            "places": found.places,
            "mpp": found.mpp,
            "source_mpp": found.source_mpp,
            "usual": asdict(found.usual),
            "rows": found.tiles,
        }
        write_text(folder / _DONE, json.dumps(report, indent=2) + "\n", force=True)
        return report

    def finish(self, reports: Sequence[Report], failed: dict[str, str]) -> Report:
        """Write `manifest.csv` and `summary.json`, and return the summary.

        Parameters
        ----------
        reports : of the slides that were cut.
        failed : what was wrong with the others, by name.

        Raises
        ------
        InputError
            If there is no tile at all.
        """
        summary = {
            "slides": [{k: v for k, v in one.items() if k != "rows"} for one in reports],
            "failed": failed,
        }
        write_text(self.folder / _SUMMARY, json.dumps(summary, indent=2) + "\n", force=True)
        if not any(one["tiles"] for one in reports):
            raise InputError(
                f"{self.folder}: not one tile was cut. What was rejected and why is in "
                f"{_SUMMARY}; loosen --tissue, --artifacts or --sharpness, or give other slides."
            )
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        for one in reports:
            # A tile may be held out by itself, where there is one slide only.
            shared = {k: one[k] for k in ("slide", "source", "source_sha256", "split")}
            for row in one["rows"]:
                table.writerow({**shared, **row, "file": f"{one['slide']}/{row['file']}"})
        write_text(self.folder / _MANIFEST, text.getvalue(), force=True)
        return summary


def split_slides(names: Sequence[str], share: float, seed: int) -> dict[str, str]:
    """Hold out a share of the slides: "val", the others "train".

    Each slide is in one of them as a whole. With a share above 0 at least one of two or more
    slides is held out, and one is always left to train on. The order of the names does not
    matter.

    Parameters
    ----------
    names : of the slides.
    share : in [0, 1).
    seed : which ones.
    """
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    count = min(len(names) - 1, max(1, round(share * len(names)))) if share > 0 else 0
    held_out = set(drawn[:count])
    return {name: "val" if name in held_out else "train" for name in names}


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    slides: dict[str, Path] = {}
    for path in paths:
        # Tiles of two files must not share a folder, also where case makes no difference.
        # What is not UTF-8 is shown as such: manifests and states are text.
        name = display_name(folder_name(path)).removesuffix(".ome")
        clash = next((other for other in slides if other.lower() == name.lower()), None)
        if clash is not None:
            raise SettingError(
                f"{slides[clash]} and {path} have the same name, by which slides are told apart. "
                "Rename one of them, or give each only once."
            )
        slides[name] = path
    return slides


def _without_tiles(folder: Path) -> bool:
    """Tell whether a folder is empty, or was begun and got no tile, as by a slide too coarse."""
    held = [path for path in folder.iterdir() if not path.is_dir() or any(path.iterdir())]
    names = {path.name for path in held}
    return not names or (_WANTED in names and names <= {_WANTED, _SUMMARY})


def _check_same(record: Path, wanted: Report) -> None:
    try:
        begun = json.loads(read_text(record, MOST_MANIFEST, OutputError, "a list"))
        then, slides = dict(begun["settings"]), dict(begun["slides"])
    except (OutputError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise OutputError(
            f"{record.parent}: holds files, but no tiles that were begun by this verb ({_WANTED} "
            "is missing or damaged), so there is nothing to resume. Name another folder."
        ) from error
    if begun == wanted:
        return
    now = wanted["settings"]
    if slides.keys() != wanted["slides"].keys():
        what = "other slides"
    else:
        what = ", ".join(
            f"{key} {then.get(key)} (now {now[key]})" for key in now if then.get(key) != now[key]
        )
    raise SettingError(
        f"{record.parent}: was begun with {what}. Tiles of both would be mixed: give what it was "
        "begun with, or name another folder."
    )


def _hash(path: Path) -> str:
    check_regular_file(path, InputError, "a slide")
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Check the permissions, or leave it out."
        ) from error
