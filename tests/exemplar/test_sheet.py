"""Holes around which there is too little are filled from further away, with an account of it."""

import numpy as np
import pytest

from histomend.exemplar.fill import FAR, TOO_LITTLE, Filling, fill
from histomend.exemplar.provenance import Part, Provenance
from histomend.exemplar.sheet import Field, Sheet

# A strip of tissue of which most is masked, 1,000 px down a slide, and two fields above it.
TOP, FIELDS = 1000, ((40, 30), (400, 330))


@pytest.fixture
def whole(tissue: np.ndarray) -> np.ndarray:
    whole = np.full((1200, 800, 3), 243, np.uint8)
    for x, y in FIELDS:
        whole[y : y + 170, x : x + 200] = tissue[y // 2 :, x // 2 :][:170, :200]
    whole[TOP:, 300:460] = tissue[200:400, 200:360]
    return whole


def filled(whole: np.ndarray, fields: tuple[Field, ...]) -> tuple[Filling, np.ndarray, list[int]]:
    mask = np.zeros((200, 160), bool)
    mask[20:180, 20:150] = True
    asked: list[int] = []

    def elsewhere() -> tuple[Field, ...]:
        asked.append(1)
        return fields

    image = np.where(mask[..., None], 0, whole[TOP:, 300:460]).astype(np.uint8)
    return fill(image, mask, elsewhere=elsewhere), mask, asked


def fields_of(whole: np.ndarray) -> tuple[Field, ...]:
    return tuple(
        Field(
            whole[y : y + 170, x : x + 200],
            np.ones((170, 200), bool),
            (x - 300, y - TOP),
        )
        for x, y in FIELDS
    )


def on_the_slide(part: Part) -> Part:
    x, y, w, h = part.box
    pieces = tuple(piece.seen_from(-TOP, -300) for piece in part.pieces)
    return Part((x + 300, y + TOP, w, h), part.origin, pieces, part.shifts, part.step)


def test_copies_from_elsewhere_are_what_lies_there_on_the_slide(whole: np.ndarray) -> None:
    found, mask, asked = filled(whole, fields_of(whole))
    assert asked == [1]
    assert FAR in found.notices
    assert not found.missing.any()
    restored = whole.copy()
    restored[TOP:, 300:460] = found.pixels
    assert (found.pixels[~mask] == whole[TOP:, 300:460][~mask]).all()
    provenance = Provenance(tuple(on_the_slide(part) for part in found.provenance.parts))
    assert provenance.first_wrong(whole, restored) == (0, -1, -1)
    assert provenance.shares()["copied_exactly"] + provenance.shares()["copied_shifted"] > 10_000
    # An account of another place would be noticed.
    moved = np.roll(whole, 7, axis=1)
    assert provenance.first_wrong(moved, restored)[0] > 1000


def test_nothing_is_copied_from_what_is_not_clean_there(whole: np.ndarray) -> None:
    first, second = fields_of(whole)
    first.clean[:] = False
    found, _, _ = filled(whole, (first, second))
    x, y = FIELDS[1]
    for part in map(on_the_slide, found.provenance.parts):
        for number, piece in enumerate(part.pieces):
            rows, columns = np.nonzero(part.origin // 2 == 1 + number)
            down, right = piece.source(rows + part.box[1], columns + part.box[0])
            far = down < TOP
            assert ((down[far] >= y) & (down[far] < y + 170)).all()
            assert ((right[far] >= x) & (right[far] < x + 200)).all()


def test_without_further_tissue_it_is_said_and_left_to_the_model(whole: np.ndarray) -> None:
    found, mask, asked = filled(whole, ())
    assert asked == [1]
    assert TOO_LITTLE in found.notices
    assert (found.missing == mask).all()


def test_further_tissue_is_not_asked_for_where_there_is_enough(tissue: np.ndarray) -> None:
    image = tissue[:200, :200]
    mask = np.zeros((200, 200), bool)
    mask[80:110, 80:110] = True

    def never() -> tuple[Field, ...]:
        raise AssertionError("asked for")

    assert (fill(image, mask, elsewhere=never).pixels == fill(image, mask).pixels).all()


def test_a_sheet_keeps_fields_apart() -> None:
    image = np.arange(40 * 40).reshape(40, 40).astype(np.uint16)
    field = Field(np.full((24, 16, 3), 9, np.uint8), np.ones((24, 16), bool), (90, -50))
    sheet = Sheet.of((slice(4, 24), slice(8, 20)), 4, (field,))
    assert sheet.shape == (24, 16 + 6 * 8 + 16)
    laid = sheet.laid(image, [np.full((24, 16), 7, np.uint16)])
    assert (laid[:20, :12] == image[4:24, 8:20]).all()
    assert (laid[:, 16:64] == 0).all()
    assert (laid[:, 64:] == 7).all()
