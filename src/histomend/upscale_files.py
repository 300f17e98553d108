"""Files that are enlarged: what is written beside each, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histomend.errors import SettingError
from histomend.files import make_folder, pair_outputs
from histomend.image import check_output, check_target, write_image

if TYPE_CHECKING:
    from histomend.upscale import UpscaleResult


@dataclass(frozen=True)
class UpscaleFiles:
    """One file to be enlarged.

    Attributes
    ----------
    source : the image.
    output : where the enlarged one goes.
    control : where the decoded control goes, or None.
    """

    source: Path
    output: Path
    control: Path | None

    @property
    def record(self) -> Path:
        """Where it is said what was done."""
        return self.output.with_name(f"{self.output.stem}.upscale.json")

    def check(self, force: bool, lossy: bool) -> None:
        """Fail if something could not be written.

        Raises
        ------
        SettingError, OutputError
        """
        for path in (self.output, self.control):
            if path is not None:
                make_folder(path.parent)
                check_output(path, force=force, lossy=lossy, source=self.source)
        check_target(self.record, force=force)

    def write(self, result: UpscaleResult, force: bool, lossy: bool) -> dict[str, str]:
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
        image = result.image
        pictures = [(self.output, image.pixels, f"Histomend: {result.record.note}")]
        if self.control is not None and result.control is not None:
            written["control"] = self.control
            note = "Histomend: the decoded control of an image that was enlarged"
            pictures.insert(0, (self.control, result.control, note))
        for path, pixels, note in pictures:
            write_image(
                path, pixels, mpp=image.mpp, note=note, lossy=lossy, force=force, icc=image.icc
            )
        return {name: str(path) for name, path in written.items()}


def plan_upscales(
    inputs: Sequence[Path], out: Path, control: Path | None = None
) -> list[UpscaleFiles]:
    """Return what is to be enlarged, with outputs.

    Parameters
    ----------
    inputs : files and folders.
    out : see `pair_outputs`.
    control : a file for one input file, otherwise a folder.

    Raises
    ------
    InputError, SettingError
        See `pair_outputs`.
    """
    pairs = pair_outputs(inputs, out)
    one_file = control is not None and control.suffix != "" and not control.is_dir()
    if one_file and len(pairs) > 1:
        raise SettingError(
            f"--control-out {control} is one file, and there are {len(pairs)} images. Name a "
            "folder."
        )

    def control_of(output: Path) -> Path | None:
        if control is None or one_file:
            return control
        return control / f"{output.stem}.control{output.suffix}"

    files = [UpscaleFiles(source, output, control_of(output)) for source, output in pairs.items()]
    for each in files:
        if each.control is not None and each.control == each.output:
            raise SettingError(f"--control-out {control} is the output itself. Name another file.")
    return files
