"""A hole around which there is only glass is filled with tissue from further away on the slide."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from histomend import restore_slide
from histomend.errors import MaskError
from histomend.exemplar.fill import FAR
from histomend.exemplar.provenance import Provenance
from histomend.ledger import Record
from histomend.models import Model

# At 1 um/px 512 px are read around an artifact: the tissue on the right is beyond that.
FAR_LEFT = 860


@pytest.fixture
def island(tissue: np.ndarray, tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Return a slide kept without loss, its pixels, and a mask over most of a crumb of tissue."""
    pixels = np.full((640, 1500, 3), 243, np.uint8)
    pixels[100:260, 60:220] = tissue[:160, :160]
    pixels[:, FAR_LEFT:] = np.tile(tissue, (2, 2, 1))[:640, : 1500 - FAR_LEFT]
    mask = np.zeros(pixels.shape[:2], bool)
    mask[126:234, 86:194] = True
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 2):
            writer.write(
                pixels[::factor, ::factor],
                tile=(64, 64),
                compression="deflate",
                photometric="rgb",
                subfiletype=int(factor > 1),
                resolution=(1e4 / factor, 1e4 / factor),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path, pixels, mask


def test_tissue_from_beyond_what_is_read_is_copied_and_accounted_for(
    island: tuple[Path, np.ndarray, np.ndarray], model: Model, tmp_path: Path
) -> None:
    path, pixels, mask = island
    out = tmp_path / "out.tif"
    restore_slide(path, out, mask, model=model, preset="exemplar", device="cpu")
    record = Record.read(out.with_name("out.ledger.json"))
    assert FAR in record.notices
    restored = tifffile.imread(out, series=0, level=0)
    assert (restored[~mask] == pixels[~mask]).all()
    assert record.provenance is not None
    provenance = Provenance.read(record.provenance, mask.shape)
    assert provenance.first_wrong(pixels, restored) == (0, -1, -1)
    copied_from = np.concatenate(
        [
            piece.source(rows + part.box[1], columns + part.box[0])[1]
            for part in provenance.parts
            for number, piece in enumerate(part.pieces)
            for rows, columns in [np.nonzero(part.origin // 2 == 1 + number)]
        ]
    )
    assert (copied_from >= FAR_LEFT).mean() > 0.9


def test_a_mask_in_memory_must_have_the_size_of_the_slide(
    island: tuple[Path, np.ndarray, np.ndarray], model: Model, tmp_path: Path
) -> None:
    path, _, mask = island
    with pytest.raises(MaskError, match="640"):
        restore_slide(path, tmp_path / "out.tif", mask[:-1], model=model, device="cpu")
