"""Running a network tile by tile with the GroupNorm statistics of the whole field.

A GroupNorm takes mean and variance over its whole input. Taken per tile they differ from tile to
tile, and with them the tiles' colours. Here they are pooled over all tiles first, and each tile
is then run with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.device import return_freed_memory

Moments = tuple[Tensor, Tensor]


class Statistics:
    """Means and variances that the GroupNorms of a network have met, and those to use.

    Parameters
    ----------
    used : dict of GroupNorm to (mean, variance), each (B, groups) float64 on the CPU
        With which inputs are normalised; a norm that is not in it takes its input's own, which
        are kept for `pooled`.
    """

    def __init__(self, used: dict[nn.Module, Moments]):
        self.used = used
        self._met: dict[nn.Module, list[tuple[int, Tensor, Tensor]]] = {}

    def normalise(self, norm: nn.GroupNorm, x: Tensor) -> Tensor | None:
        """Return x (B, C, ...) normalised with the statistics to use; None without any."""
        if norm not in self.used:
            groups = x.reshape(len(x), norm.num_groups, -1)
            variance, mean = torch.var_mean(groups, -1, correction=0)
            met = (groups.shape[-1], mean.cpu().double(), variance.cpu().double())
            self._met.setdefault(norm, []).append(met)
            return None
        # As channels of one image with known statistics: one pass, and no copy but the result.
        each = norm.num_channels // norm.num_groups
        mean, variance = (
            m.to(norm.weight).repeat_interleave(each, 1).flatten() for m in self.used[norm]
        )
        weight, bias = norm.weight.repeat(len(x)), norm.bias.repeat(len(x))
        merged = x.reshape(1, -1, *x.shape[2:])
        return F.batch_norm(merged, mean, variance, weight, bias, eps=norm.eps).reshape(x.shape)

    def pooled(self) -> dict[nn.Module, Moments]:
        """Return the statistics of all that was met, as if it were one input."""
        found = {}
        for norm, parts in self._met.items():
            size = sum(count for count, _, _ in parts)
            mean = sum((n * m for n, m, _ in parts), torch.zeros(())) / size
            square = sum((n * (v + m.square()) for n, m, v in parts), torch.zeros(())) / size
            found[norm] = (mean, (square - mean.square()).clamp(min=0))
        return found


# Of the thread: windows are worked on side by side, with the same network.
_statistics: ContextVar[Statistics | None] = ContextVar("statistics", default=None)


@contextmanager
def _with(statistics: Statistics) -> Iterator[Statistics]:
    token = _statistics.set(statistics)
    try:
        yield statistics
    finally:
        _statistics.reset(token)


def _normalised(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor | None:
    statistics = _statistics.get()
    if statistics is None or not isinstance(norm, nn.GroupNorm):
        return None
    return statistics.normalise(norm, inputs[0])


def pool_norms(network: nn.Module) -> None:
    """Let the GroupNorms of a network use pooled statistics inside `run_tiles`."""
    for module in network.modules():
        known = module._forward_hooks.values()
        if isinstance(module, nn.GroupNorm) and _normalised not in known:
            module.register_forward_hook(_normalised)


def run_tiles(
    network: Callable[[Tensor], Tensor], tiles: Sequence[Callable[[], Tensor]]
) -> Iterator[Tensor]:
    """Run a network over tiles with pooled statistics, and yield what it makes of each.

    The statistics of a norm behind others are those of inputs that were normalised tile by tile.
    Taking them again with the pooled ones would not help: what is wrong in one norm grows in the
    next, and such a repetition diverges.

    Parameters
    ----------
    network : function of a tile
    tiles : functions that return a tile (B, C, h, w)
    """
    with _with(Statistics({})) as statistics:
        for tile in tiles:
            network(tile())
            return_freed_memory()
    used = statistics.pooled()
    for tile in tiles:
        with _with(Statistics(used)):
            made = network(tile())
        yield made
        del made
        return_freed_memory()
