"""Compare restorations of simulated artifacts whose truth is known.

Fills the tables of docs/results/artifusion.md. What was measured once, on one crop with one model
and one setting, is kept under runs/ and not computed again. Run from the repository root::

    python benchmarks/artifusion_table.py --ablation "small=runs/small/model" \
        --ablation "small Add=runs/small-add/model" --ablation "small U-Net=runs/small-unet/model"

With the rows of LatentArtiFusion, beside its other results::

    python benchmarks/artifusion_table.py --per-tile 1 --out docs/results/latent-artifusion.md \
        --rows damaged telea navier-stokes fast paper latent-fast latent-paper

CycleGAN, the paper's only competitor, trained in its two configurations::

    python benchmarks/artifusion_table.py --cyclegan "#1=runs/cyclegan-1/model" \
        --cyclegan "#2=runs/cyclegan-2/model"

Quick look (about a minute)::

    python benchmarks/artifusion_table.py --rows damaged telea navier-stokes fast --limit 8
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.harness.datasets import about_slides
from histomend.evaluate.restoration import Record, Row, evaluate_rows
from histomend.evaluate.rows import classical_rows, damaged_row, model_row, translation_rows
from histomend.evaluate.summary import paired_difference, summarise
from histomend.evaluate.tables import Interval, Table, write_section

ROWS = ("damaged", "telea", "navier-stokes", "generate", "paper", "author_code")
LATENT_ROWS = ("latent-fast", "latent-paper")
# Table 1 of the paper, its own 462 test images: PSNR, SSIM, SRE.
PRINTED = (
    ("paper: CycleGAN (#1)", "42.37", "0.9656", "51.42"),
    ("paper: CycleGAN (#2)", "42.12", "0.9622", "50.21"),
    ("paper: ArtiFusion (U-Net)", "47.61", "0.9850", "54.59"),
    ("paper: ArtiFusion (Add)", "47.79", "0.9850", "54.76"),
    ("paper: ArtiFusion (full)", "48.08", "0.9860", "55.43"),
)
FIDELITY = (
    ("L2 ×10⁴ ↓", "l2", 3, 1e-4),
    ("MSE ↓", "mse", 0, 1.0),
    ("SSIM ↑", "ssim", 4, 1.0),
    ("PSNR ↑", "psnr", 2, 1.0),
    ("FSIM ↑", "fsim", 4, 1.0),
    ("SRE ↑", "sre", 2, 1.0),
)
AS_PRINTED = (
    ("PSNR, 4095", "psnr_paper", 2, 1.0),
    ("SSIM, 4095", "ssim_paper", 4, 1.0),
    ("SRE, root", "sre_paper", 2, 1.0),
)
TEXTURE = (
    ("Laplacian", "laplacian_ratio", 2, 1.0),
    ("spectrum", "spectrum_ratio", 2, 1.0),
    ("1/32–1/16", "spectrum_1", 2, 1.0),
    ("1/16–1/8", "spectrum_2", 2, 1.0),
    ("1/8–1/4", "spectrum_3", 2, 1.0),
    ("1/4–1/2", "spectrum_4", 2, 1.0),
    ("border step", "border_step", 2, 1.0),
)
REALISM = (
    ("nuclei, number", "nuclei", 2, 1.0),
    ("nuclei, area", "nuclei_um2", 2, 1.0),
    ("colour, ΔE00 ↓", "ciede2000", 2, 1.0),
    ("told from truth, AUC ↓", "auc", 2, 1.0),
    ("AUC at 2×2 px ↓", "auc_2", 2, 1.0),
)
PAIRED = (
    ("PSNR", "psnr", 2, 1.0),
    ("FSIM", "fsim", 4, 1.0),
    ("SSIM", "ssim", 4, 1.0),
    ("L2 ×10⁴", "l2", 3, 1e-4),
    ("ΔE00", "ciede2000", 2, 1.0),
)
Columns = tuple[tuple[str, str, int, float], ...]


class Results:
    """Rows of the tables, each a way to restore on the first crops of the set."""

    def __init__(self, fields: list[Crop], records: Path) -> None:
        self.fields = fields
        self.records = records
        self.rows: dict[str, tuple[Row, list[Record], dict[str, Interval]]] = {}

    def add(self, row: Row, count: int) -> None:
        """Restore and measure the first ``count`` crops, under the row's name and their number."""
        fields = self.fields[:count]
        name = f"{row.name} ({len(fields)})"
        if name not in self.rows:
            records = evaluate_rows([row], fields, self.records, report=_tell)
            self.rows[name] = row, records, summarise(records)

    def cells(self, columns: Columns, *, cost: bool = False) -> tuple[tuple[str, ...], ...]:
        """Write one row of cells for each row of results."""
        written = []
        for name, (row, _, found) in self.rows.items():
            cells = [_text(found.get(key), digits, unit) for _, key, digits, unit in columns]
            if cost:
                cells += [str(row.calls or "–"), f"{found['seconds'].value:.2f}"]
            written.append((name, *cells))
        return tuple(written)

    def difference(self, one: str, other: str) -> tuple[str, ...]:
        """Write the mean differences of two rows on the same crops."""
        first, second = self.rows[one][1], self.rows[other][1]
        return (
            f"{one} − {other}",
            *(
                _text(paired_difference(first, second, key), digits, unit)
                for _, key, digits, unit in PAIRED
            ),
        )


def main() -> None:
    chosen = _options()
    torch.set_num_threads(chosen.threads)
    fields = crops(chosen.data, size=chosen.size, per_tile=chosen.per_tile, limit=chosen.limit)
    results = Results(fields, chosen.records)
    differences = _fill(results, chosen)
    slides = about_slides(chosen.data, [crop.tile for crop in fields])
    _write(chosen.out, results, differences, slides)
    print(f"wrote {chosen.out}")


def _fill(results: Results, chosen: argparse.Namespace) -> list[tuple[str, ...]]:
    """Run the rows, the cheap ones first, and lay those on the same crops against each other."""
    wanted = set(chosen.rows)
    everything = len(results.fields)
    few, fewer = min(chosen.subset, everything), min(chosen.author, everything)
    if "damaged" in wanted:
        results.add(damaged_row(), everything)
    for row in classical_rows():
        if row.name.lower() in wanted:
            results.add(row, everything)

    for text in chosen.cyclegan:
        name, _, folder = text.partition("=")
        for row in translation_rows(f"CycleGAN ({name})", Path(folder), device=chosen.device):
            results.add(row, everything)

    def ours(preset: str) -> Row:
        return model_row(preset, chosen.model, preset=preset, device=chosen.device)

    differences = []
    if "generate" in wanted:
        results.add(ours("generate"), everything)
    ablations = [text.partition("=") for text in chosen.ablation]
    for number, (name, _, folder) in enumerate(ablations):
        results.add(model_row(name, Path(folder), device=chosen.device), few)
        if number:
            differences.append((f"{name} ({few})", f"{ablations[0][0]} ({few})"))
    for preset, count in (("paper", few), ("author_code", fewer)):
        if preset in wanted:
            results.add(ours(preset), count)
            if "generate" in wanted:
                results.add(ours("generate"), count)
                differences.append((f"generate ({count})", f"{preset} ({count})"))
    differences += _fill_latent(results, chosen, few)
    return [results.difference(*pair) for pair in differences]


def _fill_latent(results: Results, chosen: argparse.Namespace, few: int) -> list[tuple[str, str]]:
    """Run the rows of LatentArtiFusion, and return which rows to lay against each other.

    Its `generate` is also compared with the pixels' `paper`, which it is meant to replace.
    """
    everything = len(results.fields)
    pairs = []
    for preset, rival, count in (
        ("generate", "generate", everything),
        ("generate", "paper", few),
        ("paper", "paper", few),
    ):
        if f"latent-{preset}" not in chosen.rows:
            continue
        name = f"LatentArtiFusion {preset}"
        row = model_row(name, chosen.latent, preset=preset, device=chosen.device)
        results.add(row, count)
        if rival in chosen.rows:
            pairs.append((f"{name} ({count})", f"{rival} ({count})"))
    return pairs


def _write(path: Path, results: Results, differences: list[tuple[str, ...]], slides: str) -> None:
    command = shlex.join(["python", "benchmarks/artifusion_table.py", *sys.argv[1:]])
    size = results.fields[0].truth.shape[0]
    about = (
        f"{size}×{size} crops of clean tissue of {slides}, 12 to 15 % of each damaged on purpose, "
        "kinds evenly spread. In brackets behind a name: the number of crops, always the first "
        "ones of the same set."
    )
    interval = "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides."
    tables = {
        "fidelity": Table(
            f"**Fidelity**, data range 255. {about}",
            command,
            ("", *(c[0] for c in FIDELITY), "network calls", "s per crop"),
            results.cells(FIDELITY, cost=True),
            (interval,),
        ),
        "as-printed": Table(
            "**Beside the paper's Table 1**: the same crops in the definitions of the package "
            'behind that table (`compat="paper"`). Other tissue and other artifacts than the '
            "paper's, so only the scale is comparable; its L2, MSE and FSIM columns are not "
            "even that.",
            command,
            ("", *(c[0] for c in AS_PRINTED)),
            (*results.cells(AS_PRINTED), *PRINTED),
        ),
        "texture": Table(
            "**Texture inside the mask**, ratio to the truth, geometric mean over crops: variance "
            "of the Laplacian; power spectrum overall and by octave (cycles per pixel); colour "
            "step across the mask's border. 1 is tissue, below it a blur, above it noise; the "
            "goal is 0.80 to 1.25.",
            command,
            ("", *(c[0] for c in TEXTURE)),
            results.cells(TEXTURE),
            (interval,),
        ),
        "realism": Table(
            "**Tissue inside the mask**: number and area of nuclei over the truth's (goal 0.85 to "
            "1.15), difference of the mean colours (goal 4 or less), and how well a small "
            "classifier tells restored from true interiors (0.5: not at all; goal 0.8 or less): "
            "pixel by pixel, where two grey levels of noise are enough to give an image away, and "
            "after averaging 2×2 pixels.",
            command,
            ("", *(c[0] for c in REALISM)),
            results.cells(REALISM),
            (interval,),
        ),
    }
    if differences:
        tables["paired"] = Table(
            "**Row against row on the same crops**, mean difference.",
            command,
            ("", *(c[0] for c in PAIRED)),
            tuple(differences),
            ("The goal for fast against paper: within 0.3 dB PSNR and 0.01 FSIM.", interval),
        )
    for name, table in tables.items():
        write_section(path, name, table.markdown())


def _text(found: Interval | None, digits: int, unit: float) -> str:
    if found is None:
        return "–"
    scaled = Interval(found.value * unit, found.low * unit, found.high * unit, found.count)
    return scaled.text(digits)


def _tell(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data/he_clean_val"), help="clean tiles")
    add("--model", default="artifusion-he", help="bundled name or folder")
    add("--latent", default="latent-artifusion-he", help="model of the latent rows")
    add(
        "--rows",
        nargs="+",
        choices=(*ROWS, *LATENT_ROWS),
        default=list(ROWS),
        metavar="ROW",
        help=f"of {', '.join((*ROWS, *LATENT_ROWS))}; by default all but the latent ones",
    )
    add(
        "--ablation",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a further model; later ones are compared with the first (repeatable)",
    )
    add(
        "--cyclegan",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a CycleGAN, in two rows: all of its output, and pasted into the mask (repeatable)",
    )
    add("--size", type=int, default=256, help="side of a crop in px")
    add("--per-tile", type=int, default=2, help="crops of each tile")
    add("--limit", type=int, help="first crops only")
    add("--subset", type=int, default=24, help="crops for paper and the ablations")
    add("--author", type=int, default=4, help="crops for author_code")
    add("--device", default="auto")
    add("--threads", type=int, default=1, help="PyTorch's threads")
    add("--records", type=Path, default=Path("runs/artifusion_table.jsonl"))
    add("--out", type=Path, default=Path("docs/results/artifusion.md"))
    chosen = parser.parse_args()
    for option, given in (("--ablation", chosen.ablation), ("--cyclegan", chosen.cyclegan)):
        for text in given:
            if "=" not in text:
                parser.error(f"{option} {text!r}: give NAME=FOLDER")
    return chosen


if __name__ == "__main__":
    main()
