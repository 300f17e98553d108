"""How many channels should the latent have? What the autoencoder keeps, and what is restored.

One model per number of channels, all trained alike, is measured twice inside the same masks: the
truth through its autoencoder, and the damaged crop restored. What was measured once is kept under
runs/. Run from the repository root::

    python benchmarks/latent_channels.py --model runs/curve/lat4/model \
        --model runs/curve/lat8/model --model runs/curve/lat16/model
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from curves import draw
from experiment import INTERVAL, command, options, tell, text, with_psnr_inside
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.restoration import Row, evaluate_rows
from histomend.evaluate.rows import model_row
from histomend.evaluate.summary import summarise
from histomend.evaluate.tables import Interval, Table, write_section
from histomend.models import load_model
from latent_one_shot import CEILING, ceiling_row

PANELS = (
    ("psnr_inside", "PSNR inside the mask (dB)"),
    ("fsim", "FSIM of the whole image"),
    ("laplacian_ratio", "variance of the Laplacian, ratio to the truth"),
    ("nuclei", "number of nuclei, ratio to the truth"),
)
COLUMNS = {
    "PSNR inside ↑": ("psnr_inside", 2, 1.0),
    "SSIM ↑": ("ssim", 4, 1.0),
    "FSIM ↑": ("fsim", 4, 1.0),
    "L2 ×10⁴ ↓": ("l2", 3, 1e-4),
    "Laplacian": ("laplacian_ratio", 2, 1.0),
    "spectrum": ("spectrum_ratio", 2, 1.0),
    "nuclei, number": ("nuclei", 2, 1.0),
    "nuclei, area": ("nuclei_um2", 2, 1.0),
    "ΔE00 ↓": ("ciede2000", 2, 1.0),
}
RESTORED = "restored"


def main() -> None:
    """Measure, write table and picture."""
    parser = options(__doc__, records="runs/latent_channels.jsonl", limit=24)
    parser.add_argument("--model", action="append", required=True, metavar="FOLDER")
    parser.add_argument("--plot", type=Path, default=Path("docs/results/latent-channels.png"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    damaged = crops(chosen.data, per_tile=1, limit=chosen.limit)
    clean = [replace(field, damaged=field.truth) for field in damaged]

    def found(row: Row, fields: list[Crop]) -> dict[str, Interval]:
        records = evaluate_rows([row], fields, chosen.records, report=tell)
        return summarise(with_psnr_inside(records, fields))

    curves: dict[str, dict[float, dict[str, Interval]]] = {CEILING: {}, RESTORED: {}}
    for folder in chosen.model:
        model = load_model(folder, chosen.device)
        channels = model.config.latent_channels
        curves[CEILING][channels] = found(ceiling_row(model), clean)
        row = model_row(f"{channels} channels", folder, device=chosen.device)
        curves[RESTORED][channels] = found(row, damaged)
    ticks = [int(channels) for channels in curves[RESTORED]]
    draw(chosen.plot, PANELS, curves, "channels of the latent", ticks=ticks)
    table = Table(
        f"**Channels of the latent**, {len(damaged)} crops (![Channels]({chosen.plot.name})): the "
        "truth through the autoencoder alone, and the damaged crop restored by the denoiser of "
        "its latents (`fast`). The models of this table had equal and very short trainings from "
        "the same body, and are not the bundled one.",
        command(),
        ("channels", "", *COLUMNS),
        tuple(
            (str(channels), name, *(text(curve[channels][k], d, u) for k, d, u in COLUMNS.values()))
            for channels in sorted(ticks)
            for name, curve in curves.items()
        ),
        (INTERVAL,),
    )
    write_section(chosen.out, "channels", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


if __name__ == "__main__":
    main()
