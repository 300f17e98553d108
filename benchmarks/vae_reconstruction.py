"""Measure what an autoencoder keeps of clean tissue: the first experiment of LatentArtiFusion.

Every crop is encoded and decoded whole; nothing is restored. Run from the repository root, with
one folder in diffusers' format per row::

    python benchmarks/vae_reconstruction.py --vae "16 channels=runs/vae16/model"
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from histomend.diffusion.space import LatentSpace
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.restoration import measure
from histomend.evaluate.tables import Table, write_section
from histomend.methods.windows import to_uint8
from histomend.models import load_vae

COLUMNS = (
    "PSNR ↑",
    "SSIM ↑",
    "FSIM ↑",
    "Laplacian",
    "spectrum",
    "nuclei, number",
    "nuclei, area",
    "ΔE00 ↓",
    "ΔE00 of the worst 1 % ↓",
)


def main() -> None:
    """Measure all autoencoders and write the table, and pictures where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/he_clean_val"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    parser.add_argument("--pictures", type=Path, help="Folder for crops beside their truth.")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    fields = crops(chosen.data, per_tile=1, limit=chosen.limit)
    rows = []
    for entry in chosen.vae:
        name, _, folder = entry.partition("=")
        space = LatentSpace(load_vae(Path(folder), "cpu"))
        pairs = [(field, reconstructed(space, field.truth)) for field in fields]
        rows.append((name, *cells(pairs)))
        print(*rows[-1])
        if chosen.pictures is not None:
            chosen.pictures.mkdir(parents=True, exist_ok=True)
            sheet = [np.concatenate([field.truth, again]) for field, again in pairs[::12]]
            Image.fromarray(np.concatenate(sheet, 1)).save(chosen.pictures / f"{name}.png")
    table = Table(
        f"**What the autoencoder alone keeps** of {len(fields)} clean crops (256×256) of slides "
        "that no training used: the mean over crops of PSNR, SSIM and FSIM, the geometric mean of "
        "the texture's ratio to the truth, and all nuclei over all true nuclei; colour "
        "difference of means over 4×4 px, of which the worst 1 % are the rare colours: red cells, "
        "pigment. It bounds what a restoration in its latent can be.",
        shlex.join(["python", "benchmarks/vae_reconstruction.py", *sys.argv[1:]]),
        ("autoencoder", *COLUMNS),
        tuple(rows),
    )
    write_section(chosen.out, "vae", table.markdown())
    print(f"wrote {chosen.out}")


@torch.inference_mode()
def reconstructed(space: LatentSpace, truth: np.ndarray) -> np.ndarray:
    """Return pixels (H, W, 3) uint8 after one pass through the latent."""
    x = torch.from_numpy(truth.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
    return to_uint8(space.decode(space.encode(x)))


def cells(pairs: list[tuple[Crop, np.ndarray]]) -> tuple[str, ...]:
    """Return the row of an autoencoder."""
    everything = np.ones(pairs[0][0].truth.shape[:2], bool)
    everything[:1] = False  # a mask of all pixels is refused
    found = [measure(field.truth, again, everything, mpp=field.mpp) for field, again in pairs]

    def mean(key: str) -> float:
        return float(np.mean([f[key] for f in found]))

    def geometric(key: str) -> float:
        return float(np.exp(np.mean(np.log([f[key] for f in found]))))

    def share(key: str) -> float:
        return sum(f[key] for f in found) / sum(f[f"true_{key}"] for f in found)

    differences = np.stack([colour_differences(field.truth, again) for field, again in pairs])
    return (
        f"{mean('psnr'):.2f}",
        f"{mean('ssim'):.4f}",
        f"{mean('fsim'):.4f}",
        f"{geometric('laplacian_ratio'):.2f}",
        f"{geometric('spectrum_ratio'):.2f}",
        f"{share('nuclei'):.2f}",
        f"{share('nuclei_um2'):.2f}",
        f"{differences.mean():.2f}",
        f"{np.quantile(differences, 0.99):.1f}",
    )


def colour_differences(truth: np.ndarray, again: np.ndarray) -> np.ndarray:
    """Return the CIEDE2000 differences (h, w) of the mean colours of 4×4 pixels."""
    size = truth.shape[1] // 4, truth.shape[0] // 4
    before, after = (
        rgb2lab(cv2.resize(x, size, interpolation=cv2.INTER_AREA)) for x in (truth, again)
    )
    return np.asarray(deltaE_ciede2000(before, after))


if __name__ == "__main__":
    main()
