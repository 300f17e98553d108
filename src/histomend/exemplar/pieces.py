"""A piece: tissue taken from elsewhere in the same image, turned and mirrored as it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ORIENTATIONS = 8
_TURN = np.array([[0, -1], [1, 0]])
_MIRROR = np.array([[1, 0], [0, -1]])
_MATRICES = tuple(
    np.linalg.matrix_power(_MIRROR, mirrored) @ np.linalg.matrix_power(_TURN, turns)
    for mirrored in (0, 1)
    for turns in range(4)
)


@dataclass(frozen=True)
class Piece:
    """Which pixel of the image stands for which pixel of the hole.

    Row and column (y, x) are taken from ``M (y, x) + (down, right)``, where M turns by
    `orientation` % 4 quarters counter-clockwise and from 4 on mirrors left and right.

    Parameters
    ----------
    orientation : int from 0 to 7
    down, right : int
        In pixels.
    """

    orientation: int
    down: int
    right: int

    def source(
        self, y: npt.NDArray[Any], x: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return rows and columns of the image that stand for rows `y` and columns `x`."""
        (a, b), (c, d) = _MATRICES[self.orientation].tolist()
        return a * y + b * x + self.down, c * y + d * x + self.right

    def seen_from(self, top: int, left: int) -> Piece:
        """Return the same piece where the pixel (top, left) of these coordinates is (0, 0)."""
        row, column = self.source(np.array(top), np.array(left))
        return Piece(self.orientation, int(row) - top, int(column) - left)

    @property
    def back(self) -> tuple[int, int]:
        """1 for each axis of the source that is walked backwards, else 0, as (rows, columns).

        Blocks of an even side have no middle pixel. Walked backwards, the pixel after a block's
        middle is the one before it.
        """
        first, second = _MATRICES[self.orientation].sum(1)
        return int(first < 0), int(second < 0)


def oriented(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return an (H, W, ...) array as it looks at its source, before it is turned to fit."""
    turned = np.rot90(values, orientation % 4)
    return turned[:, ::-1] if orientation >= 4 else turned


def placed(
    orientation: int, size: tuple[int, int], at: tuple[int, int], found: tuple[int, int]
) -> Piece:
    """Return the piece by which a box at `at`, once oriented, lies at `found` in the image.

    Parameters
    ----------
    size : (height, width) of the box before it is oriented
    at, found : (row, column) of the upper left corner
    """
    rows = np.array([0, 0, size[0] - 1, size[0] - 1]) + at[0]
    columns = np.array([0, size[1] - 1, 0, size[1] - 1]) + at[1]
    y, x = Piece(orientation, 0, 0).source(rows, columns)
    return Piece(orientation, found[0] - int(y.min()), found[1] - int(x.min()))
