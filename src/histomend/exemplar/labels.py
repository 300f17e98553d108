"""Which piece fills which place: labels whose seams lie where neighbouring pieces agree.

Alpha-expansion (Boykov, Veksler and Zabih 2001) with the seam cost of graph-cut textures (Kwatra
et al. 2003): each move is a minimum cut, which SciPy's maximum flow finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Labels = npt.NDArray[np.int64]
Costs = npt.NDArray[np.float32]

# Pieces that differ by more than this are as bad as can be: squared, in the units of the looks.
WORST = 1.0
# SciPy's flow takes whole numbers: steps of a cost of 1.
_STEPS = 20_000


@dataclass(frozen=True)
class Choice:
    """A choice of one label for each place.

    Parameters
    ----------
    own : (N, L) float32
        What each label costs at each place; infinite where it is impossible.
    looks : (N, L, C) float32
        What each place would look like.
    pairs : (M, 2) int
        Neighbouring places.
    seam : float
        What a seam costs between two neighbours even where the pieces agree: the dearer, the
        fewer and larger the pieces.
    """

    own: Costs
    looks: npt.NDArray[np.float32]
    pairs: npt.NDArray[np.int64]
    seam: float

    def start(self) -> Labels:
        """Return the label that is cheapest at each place alone."""
        return np.asarray(self.own.argmin(1), np.int64)

    def energy(self, labels: Labels) -> float:
        """Return what a labelling costs."""
        a, b = self.pairs.T
        own = self.own[np.arange(len(labels)), labels].astype(np.float64).sum()
        return float(own + self._between(a, b, labels[a], labels[b]).sum(dtype=np.float64))

    def _between(self, a: Labels, b: Labels, first: Labels, second: Labels) -> Costs:
        """Return what it costs that neighbours `a` and `b` have these labels, (M,)."""
        cost = np.zeros(len(first), np.float32)
        differ = np.flatnonzero(first != second)
        for place in (a[differ], b[differ]):
            apart = self.looks[place, first[differ]] - self.looks[place, second[differ]]
            cost[differ] += np.minimum(np.square(apart).sum(-1), WORST)
        cost[differ] += self.seam
        return cost

    def expanded(self, labels: Labels, label: int) -> Labels:
        """Return the best labelling in which any place may have changed to `label`."""
        # Places that cannot have the label, or have it already, take no part.
        free = np.isfinite(self.own[:, label]) & (labels != label)
        if not free.any():
            return labels
        near = free[self.pairs]
        a, b = self.pairs[near.any(1)].T
        both = near[near.any(1)].all(1)
        wanted = np.full(len(a), label)
        keep = self._between(a, b, labels[a], labels[b])
        a_takes = self._between(a, b, wanted, labels[b])
        b_takes = self._between(a, b, labels[a], wanted)
        # Truncated differences are no metric everywhere; the move is an approximation there.
        keep = np.where(both, np.minimum(keep, a_takes + b_takes), keep)
        gain = self.own[:, label] - self.own[np.arange(len(labels)), labels]
        # In pairs of which only one is free, its change counts in full.
        gain += _summed(a, a_takes - keep, len(labels))
        gain += _summed(b, np.where(both, -a_takes, b_takes - keep), len(labels))
        index = np.full(len(labels), -1)
        index[free] = np.arange(np.count_nonzero(free))
        apart = (a_takes + b_takes - keep)[both]
        taken = _minimum_cut(gain[free], index[a[both]], index[b[both]], apart)
        moved = labels.copy()
        moved[np.flatnonzero(free)[taken]] = label
        return moved


def choose(
    choice: Choice, rng: np.random.Generator, *, start: Labels | None = None, sweeps: int = 2
) -> Labels:
    """Return a labelling that no single expansion improves much.

    Parameters
    ----------
    rng : Generator
        Draws the order in which labels expand.
    start : (N,) int, optional
        By default what is cheapest at each place alone.
    sweeps : int
        Times that each label is tried.
    """
    labels = choice.start() if start is None else start
    least = choice.energy(labels)
    useful = np.flatnonzero(np.isfinite(choice.own).any(0))
    for _ in range(sweeps):
        before = least
        for label in rng.permutation(useful):
            moved = choice.expanded(labels, int(label))
            cost = choice.energy(moved)
            if cost < least - 1e-6:
                labels, least = moved, cost
        if least == before:
            break
    return labels


def neighbours(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the pairs of places next to each other, (M, 2), given a map of their numbers.

    Parameters
    ----------
    numbers : (H, W) int
        -1 where there is no place.
    """
    sideways = np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], 1)
    down = np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], 1)
    both = np.concatenate([sideways, down])
    return both[(both >= 0).all(1)]


def _summed(places: Labels, costs: Costs, count: int) -> Costs:
    return np.bincount(places, costs, count).astype(np.float32)


def _minimum_cut(
    gain: npt.NDArray[Any], a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], apart: Costs
) -> npt.NDArray[np.bool_]:
    """Return which x minimise the sum of gain x + apart (1 - x_a) x_b, for x of 0 and 1."""
    count = len(gain)
    source, sink = count, count + 1
    costs = gain > 0
    index = np.arange(count)
    rows = np.concatenate([np.where(costs, source, index), a])
    columns = np.concatenate([np.where(costs, index, sink), b])
    capacity = np.concatenate([np.abs(gain), apart]) * _STEPS
    graph = csr_matrix(
        (capacity.astype(np.int32), (rows, columns)), shape=(count + 2, count + 2), dtype=np.int32
    )
    flow = maximum_flow(graph, source, sink, method="dinic").flow
    left = graph - flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    taken = np.ones(count, bool)
    taken[reached[reached < count]] = False
    return taken
