"""What tiles cost in the autoencoder: against the undivided field, and at their borders.

    python benchmarks/latent_tiles.py --vae FOLDER --image FILE [--size 768] [--tile 256]

Encodes and decodes one square of tissue undivided, and in tiles. The gradient ratio is the mean
step across the tiles' borders over that of all other neighbours, divided by the same ratio of the
undivided result: 1 is no seam. Tiles with norm statistics of their own are blended over their halo;
the others are what `LatentSpace` does.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.space import HALO, LatentSpace
from histomend.evaluate.tables import Table, write_section
from histomend.image import read_image
from histomend.models import load_vae


def border_ratio(image: Tensor, tile: int) -> float:
    """Return the mean step across borders at multiples of `tile` px over that everywhere else."""
    steps = []
    for field in (image, image.transpose(-1, -2)):
        step = field.diff(dim=-1).abs().mean((0, 1, 2))
        border = torch.zeros(len(step), dtype=torch.bool)
        border[tile - 1 :: tile] = True
        steps.append((step[border].mean() / step[~border].mean()).item())
    return float(np.mean(steps))


def blended(space: LatentSpace, latent: Tensor, tile: int, halo: int) -> Tensor:
    """Decode with each tile's own statistics, blended linearly over the halo."""
    factor, side = space.factor, latent.shape[-1]
    total = torch.zeros(1, 3, side * factor, side * factor)
    weight = torch.zeros(1, 1, side * factor, side * factor)
    for y in range(0, side, tile):
        for x in range(0, side, tile):
            rows = slice(max(0, y - halo), y + tile + halo)
            columns = slice(max(0, x - halo), x + tile + halo)
            part = space.decode(latent[..., rows, columns])
            ramps = []
            for start, place, length in ((y, rows, part.shape[-2]), (x, columns, part.shape[-1])):
                at = torch.arange(length) + place.start * factor - start * factor + 0.5
                near = torch.minimum(at, tile * factor - at) / (halo * factor)
                ramps.append(((near + 1) / 2).clamp(1e-6, 1))
            w = ramps[0][:, None] * ramps[1]
            at = (
                slice(rows.start * factor, rows.start * factor + part.shape[-2]),
                slice(columns.start * factor, columns.start * factor + part.shape[-1]),
            )
            total[..., at[0], at[1]] += part * w
            weight[..., at[0], at[1]] += w
    return total / weight


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return what `call` returns, and its seconds."""
    began = time.perf_counter()
    with torch.inference_mode():
        return call(), time.perf_counter() - began


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--corner", type=int, nargs=2, default=(0, 0), help="x and y")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    args = parser.parse_args()
    region = (*args.corner, args.size, args.size)
    pixels = read_image(args.image, region=region).pixels[..., :3]
    image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    space = LatentSpace(load_vae(args.vae), tile=10**6)
    latent, before = timed(lambda: space.encode(image))
    whole, after = timed(lambda: space.decode(latent))
    seconds_whole = before + after
    own = border_ratio(whole, args.tile)
    rows: list[tuple[str, ...]] = []

    def row(way: str, halo: int, made: Tensor, encoded: Tensor | None, seconds: float) -> None:
        error = (made - whole).abs() * 127.5
        deviation = "–" if encoded is None else f"{(encoded - latent).square().mean().sqrt():.4f}"
        cells = (
            f"{border_ratio(made, args.tile) / own:.4f}",
            f"{error.square().mean().sqrt():.3f}",
            f"{error.max():.2f}",
            deviation,
            f"{seconds:.1f}",
        )
        rows.append((way, str(halo), *cells))
        print(*rows[-1], flush=True)

    for halo in (32, 64):
        cells = halo // space.factor
        made, seconds = timed(partial(blended, space, latent, args.tile // space.factor, cells))
        row("each tile's own statistics, blended", halo, made, None, seconds)
    for halo in (16, 32, 64):
        tiled = LatentSpace(space.vae, args.tile, halo)
        encoded, before = timed(partial(tiled.encode, image))
        made, seconds = timed(partial(tiled.decode, latent))
        row("statistics of the whole field", halo, made, encoded, before + seconds)
    table = Table(
        f"**Tiles of the autoencoder** ({args.tile} px) against the undivided field, {args.size}×"
        f"{args.size} px of tissue. Gradient ratio: steps across the tiles' borders over all other "
        "steps, divided by that of the undivided result; 1 is no seam, the goal is 0.97 to 1.03. "
        "Differences are of 255; latent: root mean square of the difference of the latents. "
        f"Restoring uses the statistics of the whole field and a halo of {HALO} px. Undivided: "
        f"{seconds_whole:.1f} s.",
        shlex.join(["python", "benchmarks/latent_tiles.py", *sys.argv[1:]]),
        ("way", "halo, px", "gradient ratio", "RMS", "largest", "latent", "s"),
        tuple(rows),
    )
    write_section(args.out, "tiles", table.markdown())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
