"""Files: which output, mask and companions belong to each; checked first, written last."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import PIL.Image
import tifffile

from histomend.errors import MaskError, OutputError, SettingError, display_name
from histomend.image import (
    FileSet,
    check_target,
    make_folder,
    write_atomically,
    write_image,
)
from histomend.image.reading import file_sha256
from histomend.image.writing import check_format
from histomend.jobs.companions import RECORD, check_apart, is_one_of, left_over, name_beside
from histomend.jobs.inputs import IMAGE_SUFFIXES, MAPS, is_folder, list_images
from histomend.masks import write_mask
from histomend.slides.ome_zarr import SUFFIX as ZARR_SUFFIX
from histomend.slides.sink import check_holds, write_output

if TYPE_CHECKING:
    from histomend.jobs.job import Job, Trace
    from histomend.jobs.run import Result
    from histomend.tiles.plan import Window

_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".geojson")
_LOSSY_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Output:
    """One image that is made, and what lies beside it.

    Attributes
    ----------
    image : where it goes.
    source : the file that it is made of, if it is one.
    mask : the file that says where, if one does.
    named : maps that go elsewhere than beside the image, by their names in `MAPS`.
    beside : what the names of the files beside it begin with, by default as `name_beside` says.
    """

    image: Path
    source: Path = field(default_factory=Path)
    mask: Path | None = None
    named: Mapping[str, Path] = field(default_factory=dict)
    beside: str = ""

    def __post_init__(self) -> None:
        """Find names for what lies beside the image, once: files may come and go."""
        if not self.beside:
            object.__setattr__(self, "beside", name_beside(self.image))

    @property
    def record(self) -> Path:
        """Where it is said what was done."""
        return self.image.with_name(f"{self.beside}.{RECORD}")

    def path_of(self, name: str) -> Path:
        """Return where a map goes."""
        beside = self.image.with_name(f"{self.beside}.{MAPS[name]}")
        return self.named.get(name, beside)

    def files(self, maps: Iterable[str]) -> list[Path]:
        """Return all files that are written, the image first."""
        return [self.image, self.record, *map(self.path_of, maps)]

    def check(self, maps: Iterable[str], *, force: bool, lossy: bool) -> None:
        """Fail if something could not be written, would replace an input, or a mask is not there.

        Parameters
        ----------
        maps : those that will be written.

        Raises
        ------
        SettingError, OutputError, MaskError
        """
        mask = self.mask
        if mask is not None and not mask.exists():
            raise MaskError(
                f"{self.source}: its mask {mask} does not exist. Masks in a folder have the name "
                "of their image; or let Histomend find the artifacts: --detect."
            )
        for path in self.files(maps):
            check_target(path, force=force, new_folder=True)
        for path in (self.image, *(self.named[name] for name in self.named if name == "control")):
            check_format(path, lossy=lossy)
        others = {} if mask is None else {mask: "the mask"}
        check_apart([self.source], self.files(maps), others=others)

    def check_job(self, job: Job) -> None:
        """Fail if the files could not hold what a job will make.

        Raises
        ------
        SettingError
        """
        size = job.output
        shape = (size.planes, size.height, size.width, size.channels)
        check_holds(self.image, job.source.about, shape, size.dtype)
        if "control" in self.named:
            check_holds(self.named["control"], job.source.about, shape, size.dtype)

    def left_over(
        self, maps: Iterable[str], read: Iterable[Path] = ()
    ) -> tuple[list[Path], list[Path]]:
        """Return the maps beside the image that were of the earlier result, and those of others.

        Parameters
        ----------
        maps : those that will be written.
        read : files that are read, which stay whatever they are.
        """
        stays = [self.source, *([] if self.mask is None else [self.mask]), *read, *self.files(maps)]
        beside = {name: self.image.with_name(f"{self.beside}.{end}") for name, end in MAPS.items()}
        there = {name: path for name, path in beside.items() if os.path.lexists(path)}
        return left_over(
            self.record,
            {name: path for name, path in there.items() if not is_one_of(path, stays)},
        )

    def write(
        self,
        result: Result,
        *,
        force: bool = False,
        lossy: bool = False,
        read: Iterable[Path] = (),
    ) -> dict[str, str]:
        """Write everything: all of it appears together, or all that was there stays.

        Maps of the result that is replaced, of which this one has none, go with it.

        Parameters
        ----------
        read : files that are read, which stay whatever they are.

        Returns
        -------
        dict
            Which file was written where, by what it is.

        Raises
        ------
        SettingError, OutputError
        """
        record = result.record
        if self.image.suffix.lower() in _LOSSY_SUFFIXES:
            record = replace(record, output=replace(record.output, lossy=True))
        written = {"output": self.image, "record": self.record}
        written |= {name: self.path_of(name) for name in result.maps()}
        note = f"Histomend: {record.note}. What was done is in {display_name(self.record.name)}."
        with FileSet(force=force) as files:
            place = files.place(self.record)
            maps = {name: files.place(written[name]) for name in result.maps()}
            for name, path in maps.items():
                _write_map(name, path, result, lossy=lossy)
            hashes = {name: file_sha256(path) for name, path in maps.items()}
            replace(record, maps=hashes).write(place)
            for path in self.left_over(maps, read)[0]:
                files.remove(path)
            write_output(files.place(self.image), result.image, note=note, lossy=lossy)
        return {name: str(path) for name, path in written.items()}


def _write_map(name: str, path: Path, result: Result, *, lossy: bool) -> None:
    if name == "mask" and result.mask is not None:
        write_mask(path, result.mask)
    elif name == "uncertainty" and result.uncertainty is not None:
        write_uncertainty(path, result.uncertainty)
    elif name == "t_map" and result.t_map is not None:
        write_t_map(path, result.t_map)
    elif name == "control" and result.control is not None:
        note = "Histomend: the decoded control of an image that was enlarged"
        about = {"mpp": result.image.mpp, "icc": result.image.icc, "note": note}
        write_image(path, result.control, lossy=lossy, **about)  # type: ignore[arg-type]


def pair_outputs(
    inputs: Sequence[Path],
    out: Path,
    suffix: str | None = None,
    taken: Sequence[str] = IMAGE_SUFFIXES,
) -> dict[Path, Path]:
    """Give each input file its output file.

    `out` is a file for one input file, and a folder otherwise or if it is one already. In a
    folder outputs keep the stem of their input, and end in `suffix`, or without one in .tif for
    TIFF input and .png for the rest. Of folders files that end in `taken` are inputs.

    Raises
    ------
    InputError
        See `list_images`.
    SettingError
        If several inputs would go into one file.
    """
    sources = list_images(inputs, taken)
    a_slide = out.suffix.lower() == ZARR_SUFFIX  # a folder, but not one for outputs
    folder = not a_slide and out.is_dir()
    if len(inputs) == 1 and not is_folder(inputs[0]) and out.suffix and not folder:
        return {sources[0]: out}
    if (a_slide or out.suffix.lower() in (*IMAGE_SUFFIXES, ".geojson")) and not folder:
        raise SettingError(
            f"-o {out} is one file, and there are several inputs. Name a folder instead."
        )
    pairs: dict[Path, Path] = {}
    for source in sources:
        ending = suffix or (".tif" if source.suffix.lower() in (".tif", ".tiff") else ".png")
        output = out / (source.stem + ending)
        clash = next((other for other, place in pairs.items() if place == output), None)
        if clash is not None:
            raise SettingError(
                f"{clash} and {source} would both be written to {output}. "
                "Rename one of them, or write them into two folders."
            )
        pairs[source] = output
    return pairs


def plan_outputs(
    inputs: Sequence[Path],
    out: Path,
    *,
    masks: Path | None = None,
    t_map: Path | None = None,
    control: Path | None = None,
    taken: Sequence[str] = IMAGE_SUFFIXES,
) -> list[Output]:
    """Return what is to be made, with masks and outputs.

    Parameters
    ----------
    inputs : files and folders.
    out : see `pair_outputs`.
    masks : the mask of the one input file, or a folder with masks of the same file names
        (suffixes may differ).
    t_map, control : a file for one input file, otherwise a folder; by default the maps of t lie
        beside the outputs.
    taken : suffixes of the inputs in folders.

    Raises
    ------
    InputError, SettingError
        See `pair_outputs`.
    MaskError
        If one mask file is given for several images.
    """
    pairs = pair_outputs(inputs, out, taken=taken)
    if masks is not None and not masks.is_dir() and len(pairs) > 1:
        raise MaskError(
            f"--mask {masks} is one file, and there are {len(pairs)} images. "
            "Name a folder that holds a mask of the same file name for each."
        )
    if t_map is not None and t_map.suffix and not t_map.is_dir():
        if t_map.suffix.lower() not in (".tif", ".tiff"):
            raise SettingError(
                f"--t-map {t_map}: the map holds numbers with fractions. Name a .tif."
            )
        _only_one("--t-map", t_map, len(pairs))
    if control is not None and control.suffix and not control.is_dir():
        _only_one("--control-out", control, len(pairs))

    def named(output: Path) -> dict[str, Path]:
        places = {"t_map": t_map, "control": control}
        endings = {"t_map": MAPS["t_map"], "control": f"control{output.suffix}"}
        return {
            name: place
            if place.suffix and not place.is_dir()
            else place / f"{output.stem}.{endings[name]}"
            for name, place in places.items()
            if place is not None
        }

    images = list(pairs.values())
    return [
        Output(
            output,
            source,
            None if masks is None else _mask_of(source, masks),
            named(output),
            name_beside(output, images),
        )
        for source, output in pairs.items()
    ]


def _only_one(option: str, path: Path, images: int) -> None:
    if images > 1:
        raise SettingError(
            f"{option} {path} is one file, and there are {images} images. Name a folder."
        )


def _mask_of(source: Path, masks: Path) -> Path:
    if not masks.is_dir():
        return masks
    names = [source.name, *(source.stem + suffix for suffix in _MASK_SUFFIXES)]
    # The first one where none exists: then the message of the reader names what was expected.
    return next((masks / name for name in names if (masks / name).exists()), masks / names[0])


def write_uncertainty(path: Path, deviation: np.ndarray, *, force: bool = False) -> None:
    """Write an uncertainty map as a 16-bit grey PNG.

    Parameters
    ----------
    path : the file.
    deviation : (H, W) float, standard deviation over the samples as a share of the full range of
        values. 0 is written as 0, and 0.5 (about as far as samples can deviate) as 65535.
    force : replace an existing file.

    Raises
    ------
    OutputError
    """
    check_target(path, force=force)
    grey = np.round(np.clip(deviation / 0.5, 0, 1) * 65535).astype(np.uint16)
    write_atomically(path, lambda file: PIL.Image.fromarray(grey).save(file, "PNG"))


def write_t_map(path: Path, field: np.ndarray, *, force: bool = False) -> None:
    """Write t as a TIFF of 32-bit floats: 0 is clean, and larger is more degraded.

    Parameters
    ----------
    field : (H, W) or (Z, H, W) float32

    Raises
    ------
    OutputError
    """
    check_target(path, force=force)

    def encode(file: BinaryIO) -> None:
        tifffile.imwrite(
            file,
            field,
            photometric="minisblack",
            compression="zlib",
            description="Histomend: t, the step of diffusion at which each place was taken to be",
            metadata=None,
        )

    write_atomically(path, encode)


def trace_to(folder: Path) -> Trace:
    """Return a `trace` for `histomend.restore` that writes each state into a folder.

    The states of each window lie in a folder of their own, named by the window's corner, in
    their order: the paper's Fig. 4.

    Raises
    ------
    OutputError
        If the folder could not be made or holds anything; later, if a state cannot be written.
    """
    check_target(folder / "states", force=True, new_folder=True)
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(
            f"{folder}: the folder for the states is not empty. Name another one: --trace DIR."
        )
    written: Counter[Path] = Counter()

    def write(window: Window, t: int, pixels: np.ndarray) -> None:
        states = folder / f"x{window.field[0]}-y{window.field[1]}"
        make_folder(states)
        write_image(states / f"{written[states]:04d}-t{t}.png", pixels)
        written[states] += 1

    return write
