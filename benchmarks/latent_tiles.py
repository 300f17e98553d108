"""What tiles cost in the autoencoder: against the undivided field, and at their borders.

    python benchmarks/latent_tiles.py --vae FOLDER --image FILE [--size 768] [--tile 256]

Encodes and decodes one square of tissue undivided, and in tiles. The gradient
ratio is the mean step across the tiles' borders over that of all other neighbours, divided by the
same ratio of the undivided result: 1 is no seam. `per tile` has each tile's own norm statistics
and blends the tiles over their halo; the others are what `LatentSpace` does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.space import LatentSpace
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--corner", type=int, nargs=2, default=(0, 0), help="x and y")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--tile", type=int, default=256)
    args = parser.parse_args()
    region = (*args.corner, args.size, args.size)
    pixels = read_image(args.image, region=region).pixels[..., :3]
    image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    space = LatentSpace(load_vae(args.vae), tile=10**6)
    latent, seconds = timed(lambda: space.encode(image))
    whole, more = timed(lambda: space.decode(latent))
    own = border_ratio(whole, args.tile)
    print(f"undivided: encode {seconds:.2f} s, decode {more:.2f} s, 1 = {own:.4f}")
    print("| way | halo px | max difference | RMS, of 255 | gradient ratio | latent RMS | s |")
    print("|---|---|---|---|---|---|---|")

    def row(way: str, halo: int, made: Tensor, encoded: Tensor | None, seconds: float) -> None:
        error = (made - whole).abs() * 127.5
        deviation = "" if encoded is None else f"{(encoded - latent).square().mean().sqrt():.4f}"
        ratio = border_ratio(made, args.tile) / own
        print(
            f"| {way} | {halo} | {error.max():.2f} | {error.square().mean().sqrt():.3f} | "
            f"{ratio:.4f} | {deviation} | {seconds:.1f} |",
            flush=True,
        )

    for halo in (32, 64):
        cells = halo // space.factor
        made, seconds = timed(partial(blended, space, latent, args.tile // space.factor, cells))
        row("per tile, blended", halo, made, None, seconds)
    for halo in (16, 32, 64):
        tiled = LatentSpace(space.vae, args.tile, halo)
        encoded, before = timed(partial(tiled.encode, image))
        made, seconds = timed(partial(tiled.decode, latent))
        row("pooled statistics", halo, made, encoded, before + seconds)


if __name__ == "__main__":
    main()
