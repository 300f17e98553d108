"""Plot quality against the number of steps, to choose the preset ``generate`` by measurement.

Writes a picture and a table beside the other results. Run from the repository root::

    python benchmarks/steps_plot.py --limit 24 --samplers ddim dpmpp_2m
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from curves import draw
from histomend.evaluate.crops import crops
from histomend.evaluate.restoration import evaluate_rows
from histomend.evaluate.rows import classical_rows, model_row
from histomend.evaluate.summary import summarise
from histomend.evaluate.tables import Interval, Table, write_section

PANELS = (
    ("psnr", "PSNR (dB)"),
    ("fsim", "FSIM"),
    ("laplacian_ratio", "variance of the Laplacian, ratio to the truth"),
    ("spectrum_ratio", "power spectrum, ratio to the truth"),
)
DIGITS = {"psnr": 2, "fsim": 4, "laplacian_ratio": 2, "spectrum_ratio": 2}
Found = dict[str, Interval]


def main() -> None:
    chosen = _options()
    torch.set_num_threads(chosen.threads)
    fields = crops(chosen.data, limit=chosen.limit)
    curves: dict[str, dict[float, Found]] = {}
    for sampler in chosen.samplers:
        for steps in chosen.steps:
            row = model_row(
                f"{sampler} {steps}",
                chosen.model,
                steps=steps,
                sampler=sampler,
                device=chosen.device,
            )
            records = evaluate_rows([row], fields, chosen.records, report=_tell)
            curves.setdefault(sampler, {})[steps] = summarise(records)
    telea = summarise(evaluate_rows(classical_rows()[:1], fields, chosen.records))
    draw(
        chosen.plot,
        PANELS,
        curves,
        "network calls",
        lines={"Telea": telea},
        ticks=sorted(chosen.steps),
    )
    table = Table(
        f"**Quality against the number of steps**, {len(fields)} crops "
        f"(![Quality against steps]({chosen.plot.name})). AUC: how well a small classifier tells "
        "restored from true interiors.",
        shlex.join(["python", "benchmarks/steps_plot.py", *sys.argv[1:]]),
        ("sampler, steps", "PSNR", "FSIM", "Laplacian", "spectrum", "AUC", "s per crop"),
        tuple(
            (
                f"{sampler}, {steps}",
                *(found[key].text(DIGITS[key]) for key, _ in PANELS),
                found["auc"].text() if "auc" in found else "–",
                f"{found['seconds'].value:.2f}",
            )
            for sampler, curve in curves.items()
            for steps, found in curve.items()
        ),
    )
    write_section(chosen.out, "steps", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


def _tell(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data/he_clean_val"), help="clean tiles")
    add("--model", default="artifusion-he", help="bundled name or folder")
    add("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 12, 16, 25, 50, 100])
    add("--samplers", nargs="+", default=["ddim"])
    add("--limit", type=int, default=24, help="number of crops")
    add("--device", default="auto")
    add("--threads", type=int, default=1, help="PyTorch's threads")
    add("--records", type=Path, default=Path("runs/steps_plot.jsonl"))
    add("--plot", type=Path, default=Path("docs/results/artifusion-steps.png"))
    add("--out", type=Path, default=Path("docs/results/artifusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
