"""Polygons along pixel edges: traced from labels, filled into masks, exact both ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from histomend.image.pixels import bands
from histomend.masks.geometry import Labels, Mask

Ring = npt.NDArray[np.int64]
# Most cuts of edges with rows that are held at a time; each takes about 100 bytes.
_MOST_CUTS = 1 << 20
# Cuts per pixel of its box from which on a polygon is drawn there as a whole.
_DENSE = 8
# Polygons that may overlap before 16 bits no longer count them.
_MOST_RUNS = 30_000
_STEPS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])  # (dy, dx): east, south, west, north


def trace_labels(labels: Labels) -> Iterator[tuple[list[Ring], tuple[int, int]]]:
    """Trace each label's area along the edges of its pixels.

    Where two pixels of one label touch only at a corner, the path goes on to the other one, so
    that it wraps the pixels outside. As a label is connected through edges, no ring then passes
    any corner twice, and each label has exactly one outer ring.

    Parameters
    ----------
    labels : (H, W) int, 0 is outside
        Areas connected through pixel edges, as `scipy.ndimage.label` gives by default.

    Yields
    ------
    rings : list of (N, 2) int
        Corners (x, y) of the outer ring, then of the holes; not closed.
    pixel : (y, x)
        One pixel of the label.
    """
    edges, label, following = _linked_edges(labels)
    corner_after = edges[following, 2] != edges[:, 2]
    outer: dict[int, tuple[Ring, tuple[int, int]]] = {}
    holes: dict[int, list[Ring]] = {}
    for path in _cycles(following.tolist(), corner_after.tolist()):
        turns = following[np.array(path)]
        ring = edges[turns][:, 1::-1]
        owner = int(label[path[0]])
        x, y = ring[:, 0], ring[:, 1]
        twice_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
        if twice_area > 0:
            outer[owner] = ring, _pixel_beside(edges[path[0]])
        else:
            holes.setdefault(owner, []).append(ring)
    for owner in sorted(outer):
        ring, pixel = outer[owner]
        yield [ring, *holes.get(owner, [])], pixel


def _linked_edges(labels: Labels) -> tuple[Ring, Labels, npt.NDArray[np.int64]]:
    """Find all pixel edges with a label on their right, and which edge follows which.

    Returns
    -------
    edges : (E, 3) int
        y and x of the first corner, and the direction 0..3.
    label : (E,) int
    following : (E,) int
    """
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    outside = [padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]]
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)]  # where the edge on that side begins
    edges, owners = [], []
    for direction, (neighbour, corner) in enumerate(zip(outside, corners, strict=True)):
        y, x = np.nonzero((inner != neighbour) & (inner > 0))
        owners.append(inner[y, x])
        edges.append(np.stack([y + corner[0], x + corner[1], np.full_like(y, direction)], axis=1))
    edge = np.concatenate(edges)
    label = np.concatenate(owners)
    width = labels.shape[1] + 1
    key = (edge[:, 0] * width + edge[:, 1]) * 4 + edge[:, 2]
    order = np.argsort(key)
    key, edge, label = key[order], edge[order], label[order]
    ends = edge[:, :2] + _STEPS[edge[:, 2]]
    at_end = (ends[:, 0] * width + ends[:, 1]) * 4
    following = np.full(len(key), -1)
    for turn in (3, 0, 1):  # left, straight on, right: left wraps the pixel outside
        wanted = at_end + (edge[:, 2] + turn) % 4
        found = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        fits = (following < 0) & (key[found] == wanted) & (label[found] == label)
        following[fits] = found[fits]
    return edge, label, following


def _cycles(following: list[int], corner_after: list[bool]) -> Iterator[list[int]]:
    """Give, for each closed path, the edges that end at a corner."""
    visited = bytearray(len(following))
    for start in range(len(following)):
        if visited[start]:
            continue
        path = []
        edge = start
        while not visited[edge]:
            visited[edge] = 1
            if corner_after[edge]:
                path.append(edge)
            edge = following[edge]
        yield path


def _pixel_beside(edge: Ring) -> tuple[int, int]:
    y, x, direction = (int(value) for value in edge)
    dy, dx = ((0, 0), (0, -1), (-1, -1), (-1, 0))[direction]
    return y + dy, x + dx


class PolygonFiller:
    """Marks the pixels whose centres lie inside polygons, in memory that only the mask decides.

    Within a polygon the even-odd rule holds, so that inner rings are holes; polygons are joined.
    What lies outside the mask is cut off. The work grows with the rows that edges cross, and not
    with the area.

    Parameters
    ----------
    mask : (H, W) bool
        Is marked in place; complete after `finish`.
    """

    def __init__(self, mask: Mask):
        self.mask = mask
        # Where runs of marked pixels begin (+1) and end (-1) in each row.
        self._changes: npt.NDArray[np.int16] | None = None
        self._runs = 0

    def add(self, rings: list[npt.NDArray[np.float64]]) -> None:
        """Mark a polygon.

        Parameters
        ----------
        rings : list of (N, 2) float
            Corners (x, y); the outer ring and the holes; closed or not.
        """
        starts = np.concatenate(rings)
        ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
        height, width = self.mask.shape
        # Rows and columns of pixel centres between the extremes, within the mask.
        first = np.ceil(starts.min(axis=0) - 0.5).astype(np.int64)
        last = np.ceil(starts.max(axis=0) - 0.5).astype(np.int64)
        left, top = max(0, int(first[0])), max(0, int(first[1]))
        right, bottom = min(width, int(last[0])), min(height, int(last[1]))
        if left >= right or top >= bottom:
            return
        begin, stop = (
            np.clip(np.ceil(extreme(starts[:, 1], ends[:, 1]) - 0.5), top, bottom).astype(np.int64)
            for extreme in (np.minimum, np.maximum)
        )
        cuts = int((stop - begin).sum())
        area = (bottom - top) * (right - left)
        if cuts > _MOST_CUTS or cuts * _DENSE >= area:
            self._toggle(starts, ends, begin, stop, (left, top, right, bottom))
        else:
            rows, columns = _crossings(starts, ends, begin, stop)
            self._run(rows, np.clip(columns, left, right))

    def finish(self) -> None:
        """Mark what was added so far."""
        if self._changes is None:
            return
        for start, stop in bands(self.mask.shape[0], self.mask.shape[1] + 1):
            part = self._changes[start:stop]
            np.add.accumulate(part, axis=1, out=part)
            self.mask[start:stop] |= part[:, :-1] > 0
            part[:] = 0
        self._runs = 0

    def _run(self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> None:
        height, width = self.mask.shape
        if self._changes is None:
            self._changes = np.zeros((height, width + 1), np.int16)
        # In order along each row, every second cut leaves the polygon.
        cuts = np.sort(rows * (width + 1) + columns)
        flat = self._changes.reshape(-1)
        np.add.at(flat, cuts[::2], np.int16(1))
        np.add.at(flat, cuts[1::2], np.int16(-1))
        self._runs += 1  # one polygon covers no place twice
        if self._runs > _MOST_RUNS:
            self.finish()

    def _toggle(
        self,
        starts: npt.NDArray[np.float64],
        ends: npt.NDArray[np.float64],
        begin: npt.NDArray[np.int64],
        stop: npt.NDArray[np.int64],
        box: tuple[int, int, int, int],
    ) -> None:
        left, top, right, bottom = box
        toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
        flat = toggles.reshape(-1)
        total = np.cumsum(stop - begin)
        edge = 0
        while edge < len(total):
            done = int(total[edge - 1]) if edge else 0
            # At least one edge, which crosses each row at most once.
            until = max(edge + 1, int(np.searchsorted(total, done + _MOST_CUTS, side="right")))
            part = slice(edge, until)
            rows, columns = _crossings(starts[part], ends[part], begin[part], stop[part])
            columns = np.clip(columns - left, 0, right - left)
            np.bitwise_xor.at(flat, (rows - top) * (right - left + 1) + columns, np.uint8(1))
            edge = until
        np.bitwise_xor.accumulate(toggles, axis=1, out=toggles)
        self.mask[top:bottom, left:right] |= toggles[:, :-1].astype(bool)


def _crossings(
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
    begin: npt.NDArray[np.int64],
    stop: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut edges with the centre lines of their rows: row, and first column right of the cut."""
    counts = stop - begin
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[edge]
    (x0, y0), (x1, y1) = starts[edge].T, ends[edge].T
    x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    return rows, np.ceil(x - 0.5).astype(np.int64)
