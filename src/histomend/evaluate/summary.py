"""From records to figures with intervals, and rows against each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from histomend.errors import InputError
from histomend.evaluate import realism
from histomend.evaluate.restoration import Record
from histomend.evaluate.tables import Interval, bootstrap, geometric_mean, mean, ratio_of_sums

RATIO_LIMITS = (1e-3, 1e3)


def summarise(records: Sequence[Record], *, seed: int = 0) -> dict[str, Interval]:
    """Summarise one row's records.

    Parameters
    ----------
    records : sequence of Record
        Of one row.
    seed : int
        Seed of the intervals.

    Returns
    -------
    dict
        Ratios to the truth as geometric means, nuclei as ratio of sums, all else as means; each
        with a 95 % interval from drawing tiles. ``auc``, and ``auc_2`` on 2x2 blocks, are there if
        at least five tiles are.

    Raises
    ------
    InputError
        There are no records.
    """
    if not records:
        raise InputError("There are no records to summarise: evaluate at least one crop.")
    tiles = [record.tile for record in records]
    found = {"seconds": bootstrap([r.seconds for r in records], groups=tiles, seed=seed)}
    for name in records[0].measures:
        values = np.array([record.measures[name] for record in records])
        if name.startswith("true_"):
            continue
        statistic = mean
        if name in ("nuclei", "nuclei_um2"):
            truth = [record.measures[f"true_{name}"] for record in records]
            values, statistic = np.stack([values, truth], axis=1), ratio_of_sums
        elif name.endswith("_ratio") or name.startswith("spectrum_") or name == "border_step":
            # One blank crop must not make the whole mean 0 or infinite; NaN stays NaN.
            values, statistic = np.clip(values, *RATIO_LIMITS), geometric_mean
        found[name] = bootstrap(values, groups=tiles, statistic=statistic, seed=seed)
    for name, suffix in (("auc", ""), ("auc_2", "_2")):
        told = [record for record in records if record.features[f"true{suffix}"]]
        if len({record.tile for record in told}) >= realism.FOLDS:
            found[name] = realism.tell_apart(
                [np.array(record.features[f"true{suffix}"]) for record in told],
                [np.array(record.features[f"restored{suffix}"]) for record in told],
                [record.tile for record in told],
                seed=seed,
            )
    return found


def paired_difference(
    one: Sequence[Record], other: Sequence[Record], name: str, *, seed: int = 0
) -> Interval:
    """Compute the mean difference of a measure between two rows on the same crops.

    Raises
    ------
    InputError
        The two do not hold the same crops.
    """
    first = {record.crop: record for record in one}
    second = {record.crop: record for record in other}
    if first.keys() != second.keys():
        raise InputError(
            f"One row holds {len(first)} crops and the other {len(second)}, not the same ones: "
            f"compare rows on the same crops."
        )
    names = sorted(first)
    differences = [first[n].measures[name] - second[n].measures[name] for n in names]
    return bootstrap(differences, groups=[first[n].tile for n in names], seed=seed)
