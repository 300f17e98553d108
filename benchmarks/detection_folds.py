"""Prepare trainings on real artifacts that leave slides out.

    python benchmarks/detection_folds.py --data ../shared/data --out runs/folds --folds 4

writes OUT/N/artifacts, a folder of links with a manifest, for ``histomend train detector
--artifacts OUT/N/artifacts -o OUT/N/run``, and OUT/N/left_out.json, the slides that
``detection_table.py`` judges with the model of that run. OUT/all leaves out none. Streaks are
never learned from: the two that have masks are gaps as white as any lumen, and with them lumens
are marked.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

from detection_cases import rows_of


def folds_of(rows: list[dict[str, str]], count: int) -> list[set[str]]:
    """Deal slides out so that each fold leaves out about as many images of each kind."""
    by_slide: dict[str, Counter[str]] = {}
    for row in rows:
        by_slide.setdefault(row["slide"], Counter())[row["kind"]] += 1
    folds: list[set[str]] = [set() for _ in range(count)]
    load = [Counter[str]() for _ in range(count)]
    for slide, kinds in sorted(by_slide.items(), key=lambda item: (-item[1].total(), item[0])):
        # Where there is least of the same kinds.
        cost = [sum(taken[kind] * n for kind, n in kinds.items()) for taken in load]
        best = min(range(count), key=lambda k: (cost[k], load[k].total(), k))
        folds[best].add(slide)
        load[best] += kinds
    return folds


def link(source: Path, target: Path, left_out: set[str]) -> None:
    """Make a folder of links to what is not of some slides, with its manifest."""
    rows = [
        row for row in rows_of(source) if row["slide"] not in left_out and row["kind"] != "streak"
    ]
    target.mkdir(parents=True, exist_ok=True)
    for row in rows:
        for name in filter(None, (row["file"], row.get("mask"))):
            at = target / name
            at.parent.mkdir(exist_ok=True)
            at.unlink(missing_ok=True)
            at.symlink_to((source / name).resolve())
    with (target / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    rows = rows_of(options.data / "he_artifacts")
    for number, left_out in enumerate(folds_of(rows, options.folds)):
        folder = options.out / str(number)
        link(options.data / "he_artifacts", folder / "artifacts", left_out)
        (folder / "left_out.json").write_text(json.dumps(sorted(left_out)))
        print(folder, *sorted(left_out))
    link(options.data / "he_artifacts", options.out / "all" / "artifacts", set())


if __name__ == "__main__":
    main()
