"""What came from where can be written down, read, and checked to the last bit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from histomend.errors import LedgerError
from histomend.exemplar.pieces import Piece
from histomend.exemplar.provenance import COPIED, DRAWN, Part, Provenance

SHAPE = (60, 70)
BOX = (20, 10, 16, 12)


@pytest.fixture
def source() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 200, (*SHAPE, 3), dtype=np.uint8)


@pytest.fixture
def provenance() -> Provenance:
    """Left half turned by a quarter, right half moved and three levels lighter, two rows drawn."""
    origin = np.full((12, 16), COPIED, np.uint16)
    origin[:, 8:] = COPIED + 2
    origin[0, 8:] = COPIED + 3  # mixed
    origin[10:] = DRAWN
    shifts = np.zeros((2, 3, 3, 3), np.int16)
    shifts[1] = 3 * 16
    return Provenance((Part(BOX, origin, (Piece(1, 60, 0), Piece(0, 30, 20)), shifts, 8),))


@pytest.fixture
def restored(source: np.ndarray) -> np.ndarray:
    out = source.copy()
    for y in range(10, 20):
        for x in range(20, 28):
            out[y, x] = source[60 - x, y]
        out[y, 28:36] = source[y + 30, 48:56] + 3
    return out


def test_copies_are_rebuilt_from_the_source(
    provenance: Provenance, source: np.ndarray, restored: np.ndarray
) -> None:
    assert provenance.first_wrong(source, restored) == (0, -1, -1)
    assert provenance.shares() == {
        "copied_exactly": 80,
        "copied_shifted": 72,
        "mixed": 8,
        "drawn": 32,
    }


def test_a_copy_that_is_none_is_found(
    provenance: Provenance, source: np.ndarray, restored: np.ndarray
) -> None:
    restored[14, 30, 1] += 1
    restored[13, 22, 0] += 1
    restored[10, 30] += 1  # mixed: nothing is claimed
    restored[21, 30] += 1  # drawn
    assert provenance.first_wrong(source, restored) == (2, 22, 13)


def test_it_is_written_as_json_and_read_back(provenance: Provenance) -> None:
    record = provenance.record()
    back = Provenance.read(json.loads(json.dumps(record)), SHAPE)
    (one,), (other,) = provenance.parts, back.parts
    assert (one.box, one.pieces, one.step) == (other.box, other.pieces, other.step)
    assert (one.origin == other.origin).all()
    assert (one.shifts == other.shifts).all()
    assert back.record() == record


def test_what_the_model_drew_anew_is_no_copy_any_more(provenance: Provenance) -> None:
    where = np.zeros(SHAPE, bool)
    where[:, :28] = True
    after = provenance.drawn(where)
    assert after.shares() == {
        "copied_exactly": 0,
        "copied_shifted": 72,
        "mixed": 8,
        "drawn": 112,
    }
    assert not after.copied(SHAPE)[:, :28].any()
    assert after.copied(SHAPE)[11:20, 28:36].all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box", [60, 10, 16, 12]),
        ("box", [20, 10, 15, 12]),
        ("box", None),
        ("origin", "AAAA"),
        ("origin", "no base64!"),
        ("pieces", [[9, 0, 0], [0, 30, 20]]),
        ("pieces", [[1, 60, 0]]),
        ("shift_nodes", [1, 1]),
        ("shift_step_px", 0),
        ("shifts", 3),
    ],
)
def test_a_damaged_record_is_refused(provenance: Provenance, key: str, value: object) -> None:
    record = provenance.record()
    record["parts"][0][key] = value
    with pytest.raises(LedgerError, match="provenance is damaged"):
        Provenance.read(record, SHAPE)


def test_a_copy_from_outside_the_image_is_refused(
    provenance: Provenance, source: np.ndarray
) -> None:
    part = replace(provenance.parts[0], pieces=(Piece(1, 60, 0), Piece(0, 300, 20)))
    with pytest.raises(LedgerError, match="outside the image"):
        Provenance((part,)).first_wrong(source, source)
