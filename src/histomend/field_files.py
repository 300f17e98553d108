"""Files of which the whole field is restored: what is written beside each, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import tifffile

from histomend.errors import SettingError
from histomend.files import make_folder, pair_outputs
from histomend.image import check_output, check_target, write_atomically
from histomend.image.stack_files import write_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from histomend.denoise import DenoiseResult


@dataclass(frozen=True)
class FieldFiles:
    """One file to be denoised.

    Attributes
    ----------
    source : the image or stack.
    output : where the restored one goes.
    t_map : where the map of its t goes.
    """

    source: Path
    output: Path
    t_map: Path

    @property
    def record(self) -> Path:
        """Where it is said what was done."""
        return self.output.with_name(f"{self.output.stem}.denoise.json")

    def check(self, force: bool) -> None:
        """Fail if something could not be written.

        Raises
        ------
        SettingError, OutputError
        """
        make_folder(self.output.parent)
        make_folder(self.t_map.parent)
        check_output(self.output, force=force, source=self.source)
        check_target(self.t_map, force=force)
        check_target(self.record, force=force)

    def write(self, result: DenoiseResult, force: bool) -> dict[str, str]:
        """Write all of them, the image last: where it is, the others are too.

        Returns
        -------
        dict
            Which file was written where, by what it is.

        Raises
        ------
        OutputError
        """
        written = {"source": self.source, "output": self.output, "record": self.record}
        result.record.write(self.record, force=force)
        if result.t_map is not None:
            written["t_map"] = self.t_map
            write_t_map(self.t_map, result.t_map, force=force)
        write_stack(self.output, result.stack, force=force)
        return {name: str(path) for name, path in written.items()}


def plan_fields(inputs: Sequence[Path], out: Path, t_map: Path | None) -> list[FieldFiles]:
    """Return what is to be denoised, with outputs.

    Parameters
    ----------
    inputs : files and folders.
    out : see `pair_outputs`.
    t_map : a .tif for one input file, otherwise a folder; by default the maps lie beside the
        outputs.

    Raises
    ------
    InputError, SettingError
        See `pair_outputs`.
    """
    pairs = pair_outputs(inputs, out)
    one_file = t_map is not None and t_map.suffix.lower() in (".tif", ".tiff")
    if one_file and len(pairs) > 1:
        raise SettingError(
            f"--t-map {t_map} is one file, and there are {len(pairs)} images. Name a folder."
        )
    if t_map is not None and t_map.suffix and not one_file and not t_map.is_dir():
        raise SettingError(f"--t-map {t_map}: the map holds numbers with fractions. Name a .tif.")

    def map_of(output: Path) -> Path:
        name = f"{output.stem}.t-map.tif"
        if t_map is None:
            return output.with_name(name)
        return t_map if one_file else t_map / name

    return [FieldFiles(source, output, map_of(output)) for source, output in pairs.items()]


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
