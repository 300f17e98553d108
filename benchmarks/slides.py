"""Whole slides: what stays byte for byte, what restoring costs beside the network, and memory.

    python benchmarks/slides.py identity --slides ../shared/data/slides
    python benchmarks/slides.py speed --slides ../shared/data/slides [--side 20000]
    python benchmarks/slides.py untouched --slides ../shared/data/slides [--sides 10000 40000]
    python benchmarks/slides.py busy --slides ../shared/data/slides [--side 8192]
    python benchmarks/slides.py memory --slides ../shared/data/slides [--sides 10000 30000]

`identity` restores two artifacts of each real slide by the default preset and compares all levels
in each reader. The others make larger slides of the tiles of a real one (CMU-1), in a temporary
folder. `speed` does the work on the file by a stand-in of the network, which makes negatives, and
measures the network on a few artifacts. `untouched` restores a spot of 6 px: what is left is to
copy the file. `busy` tells which part of a job's time the network has. Seconds are of the
processor, and the clock's in brackets.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import tifffile
import tiffslide
import torch

from histomend.errors import HistomendError
from histomend.image.reading import file_sha256
from histomend.jobs import slide_run
from histomend.jobs.job import Geometry, Job, Mask, Outcome, RestoreOptions, Tick, Unit
from histomend.jobs.slide_run import execute_slide
from histomend.methods.slides import decide_slide
from histomend.slides.sink import Sink
from histomend.slides.slide_sink import APPENDED
from histomend.slides.source import ArraySource
from histomend.slides.undo import undo, verify

TILE, PATTERN = 256, 2048
LEVELS = (1, 4, 16)
APERIO = "Aperio Image Library v11.2.1 \r\n{0}x{0} (256x256) JPEG/RGB Q=75|AppMag = 20|MPP = 0.499"
CMU = "CMU-1-Small-Region.svs"


def make_slide(path: Path, side: int, real: Path) -> None:
    """Write a slide of an Aperio scanner's kind, of tissue of a real one again and again."""
    with tifffile.TiffFile(real) as file:
        tissue = file.pages[0].asarray()[200 : 200 + PATTERN, 100 : 100 + PATTERN]
    with tifffile.TiffWriter(path) as writer:
        for factor in LEVELS:
            small = tissue.reshape(PATTERN // factor, factor, -1, factor, 3).mean((1, 3))
            small = np.rint(small).astype(np.uint8)
            repeats = max(1, TILE // small.shape[0])
            small = np.tile(small, (repeats, repeats, 1))
            tiles = [
                [_encoded(small[y : y + TILE, x : x + TILE]) for x in range(0, len(small), TILE)]
                for y in range(0, len(small), TILE)
            ]
            count, per = -(-side // factor // TILE), len(tiles)
            writer.write(
                iter([tiles[y % per][x % per] for y in range(count) for x in range(count)]),
                shape=(side // factor, side // factor, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression=7,
                compressionargs={"outcolorspace": "RGB"},
                photometric="rgb",
                description=APERIO.format(side) if factor == 1 else None,
                metadata=None,
                software=False,
            )
            if factor == 1:  # readers of Aperio's files expect the thumbnail second
                writer.write(tissue[::8, ::8], photometric="rgb", metadata=None)


def _encoded(tile: np.ndarray) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(tile), level=75, colorspace="RGB", outcolorspace="RGB"
        )
    )


def write_discs(path: Path, centres: Iterable[tuple[float, float]], radius: float) -> None:
    """Write a mask of discs as GeoJSON."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    rings = [[(circle + centre).round(2).tolist()] for centre in centres]
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": rings}))


def scattered(side: int, count: int, radius: float) -> list[tuple[float, float]]:
    """Return places of discs on a jittered grid."""
    rng = np.random.default_rng(0)
    per_side = int(np.ceil(np.sqrt(count)))
    step = side / per_side
    places = [(x, y) for y in range(per_side) for x in range(per_side)]
    chosen = rng.permutation(len(places))[:count]
    free = max(0.0, step / 2 - radius - 2)
    return [tuple((np.array(places[k]) + 0.5) * step + rng.uniform(-free, free, 2)) for k in chosen]  # type: ignore[misc]


@dataclass(frozen=True)
class Negative:
    """A stage that makes the negative of what is masked."""

    source: ArraySource
    mask: Mask
    parallel: bool = False

    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]:
        whole = (0, 0, self.source.width, self.source.height)
        return [(Unit("all", 0, whole, whole),)]

    def run(
        self, units: tuple[Unit, ...], pixels: Sequence[Any], done: Mapping[str, Any], tick: Tick
    ) -> list[Any]:
        tick()
        return [np.where(self.mask[..., None], 255 - pixels[0], pixels[0])]

    def place(self, found: Iterable[tuple[Unit, Any]], sink: Sink) -> Outcome:
        for unit, pixels in found:
            sink.write(0, unit.writes, pixels)
        return Outcome()


def negative(source: ArraySource, mask: Mask, options: RestoreOptions) -> Job:
    """Decide to make a negative."""
    return Job(
        "restore", source, Geometry.of(source), options, (lambda _: Negative(source, mask),),
        parts=1, units=1, device=torch.device("cpu"), mask=mask,
    )  # fmt: skip


READERS = {
    "OpenSlide": lambda path: _slide_levels(openslide.OpenSlide(str(path)), {}),
    "TiffSlide": lambda path: _slide_levels(tiffslide.TiffSlide(str(path)), {"as_array": True}),
    "tifffile": lambda path: _tifffile_levels(path),
    "libtiff": lambda path: _libtiff_levels(path),
}


def _slide_levels(slide: Any, how: dict[str, Any]) -> list[np.ndarray]:
    with slide:
        return [
            np.asarray(slide.read_region((0, 0), level, size, **how))[..., :3]
            for level, size in enumerate(slide.level_dimensions)
        ]


def _tifffile_levels(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as file:
        return [level.asarray() for level in file.series[0].levels]


def _libtiff_levels(path: Path) -> list[np.ndarray]:
    with tifffile.TiffFile(path) as file:
        wanted = [n for n, page in enumerate(file.pages) if page.is_tiled]
    data = path.read_bytes()
    return [imagecodecs.tiff_decode(data, index=n) for n in wanted]


def identity(slides: Path) -> Iterator[str]:
    """Compare restored real slides with their sources, level by level."""
    yield (
        "| slide | tiles byte for byte | changed | growth | reader | levels "
        "| px that differ outside the mask, grown | inside | undo |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_discs(folder / "mask.geojson", [(950, 1040), (1540, 2240)], 60)
        for slide in sorted(slides.iterdir()):
            if slide.suffix not in (".svs", ".tif"):
                continue
            out = folder / slide.name
            try:
                job = decide_slide(slide, out, folder / "mask.geojson", device="cpu", force=True)
                execute_slide(job)
            except HistomendError as error:
                yield f"| {slide.name} | {type(error).__name__} | | | | | | | |"
                continue
            assert job.container == APPENDED
            proof = verify(out, slide)
            undo(out, folder / "back", force=True)
            back = (folder / "back").read_bytes() == slide.read_bytes()
            growth = out.stat().st_size / slide.stat().st_size - 1
            changed = len(proof.changes)
            for reader, read in READERS.items():
                try:
                    before, after = read(slide), read(out)
                except Exception as error:  # each reader has its own
                    yield f"| | | | | {reader} | {type(error).__name__} | | | |"
                    continue
                outside, inside = _differences(before, after, proof.changes)
                yield (
                    f"| {slide.name} | {proof.tiles - changed if proof.ok else 'FAILS'} "
                    f"| {changed} | {growth:.1%} | {reader} | {len(before)} | {outside} | {inside} "
                    f"| {'equal' if back else 'DIFFERS'} |"
                )


def _differences(
    before: list[np.ndarray], after: list[np.ndarray], changes: Sequence[Any]
) -> tuple[int, int]:
    outside = inside = 0
    for one, other in zip(before, after, strict=True):
        differs = (one != other).reshape(*one.shape[:2], -1).any(2)
        factor = round(before[0].shape[1] / one.shape[1])
        grown = np.zeros(differs.shape, np.bool_)
        for change in changes:
            if change.factor == factor:
                x, y, w, h = change.region
                grown[y : y + h, x : x + w] |= change.grown()
        outside += int((differs & ~grown).sum())
        inside += int((differs & grown).sum())
    return outside, inside


def _spent() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.perf_counter()


def speed(slides: Path, side: int, radius: float = 100.0) -> Iterator[str]:
    """Measure seconds per gigapixel at several masked shares, and those of the network."""
    giga = side * side / 1e9
    yield f"A slide of {side} x {side} px; seconds per gigapixel, processor (clock).\n"
    yield "| what | masked Mpx | seconds per gigapixel | growth of the file |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide, out = folder / "slide.svs", folder / "out.svs"
        make_slide(slide, side, slides / CMU)
        size = slide.stat().st_size
        cpu, clock = _spent()
        shutil.copyfile(slide, folder / "copy.svs")
        yield _row("copying the file", 0, cpu, clock, giga, 0)
        for share in (0.0, 0.01, 0.05):
            count = round(share * side * side / (np.pi * radius**2))
            discs = scattered(side, count, radius) if count else [(side / 2, side / 2)]
            write_discs(folder / "mask.geojson", discs, radius if count else 3)
            job = decide_slide(slide, out, folder / "mask.geojson", device="cpu", force=True)
            job = replace(job, decide=negative)
            cpu, clock = _spent()
            execute_slide(job)
            masked, growth = job.plan.masked_px / 1e6, out.stat().st_size / size - 1
            yield _row(f"{share:.0%} masked, a stand-in", masked, cpu, clock, giga, growth)
        write_discs(folder / "mask.geojson", scattered(side, 8, radius), radius)
        job = decide_slide(slide, out, folder / "mask.geojson", device="cpu", force=True)
        cpu, clock = _spent()
        record = execute_slide(job).record
        cpu, clock = (now - then for now, then in zip(_spent(), (cpu, clock), strict=True))
        masked = job.plan.masked_px / 1e6
        yield (
            f"\nThe default preset: {cpu / masked:.0f} ({clock / masked:.0f}) seconds per masked "
            f"megapixel, on 8 discs of {radius:g} px, {record.nfe} network calls."
        )


def _row(what: str, masked: float, cpu: float, clock: float, giga: float, growth: float) -> str:
    now_cpu, now_clock = _spent()
    spent, passed = (now_cpu - cpu) / giga, (now_clock - clock) / giga
    return f"| {what} | {masked:.2f} | {spent:.1f} ({passed:.1f}) | {growth:.1%} |"


def _hash_in_memory(size: int) -> None:
    digest, block = hashlib.sha256(), bytes(1 << 18)
    for _ in range(size >> 18):
        digest.update(block)


def _bytes_read() -> int:
    """Return how much this process has read, what the kernel copied for it included."""
    said = Path("/proc/self/io").read_text()
    return int(said.split("rchar:")[1].split()[0])


def untouched(slides: Path, sides: Sequence[int]) -> Iterator[str]:
    """Compare a job that changes next to nothing with copying the file, and with hashing it.

    The least that it could take is a copy, and SHA-256 of as many bytes that lie in memory.
    """
    yield (
        "| side, px | file, GB | copying | SHA-256 in memory | hashing the file | the job | job / "
        "copy | job / least | bytes read by the job / file |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side in sides:
            slide, out = folder / f"{side}.svs", folder / "out.svs"
            make_slide(slide, side, slides / CMU)
            write_discs(folder / "mask.geojson", [(side / 2, side / 2)], 3)

            def work(slide: Path = slide, out: Path = out) -> None:
                job = decide_slide(slide, out, folder / "mask.geojson", device="cpu", force=True)
                execute_slide(replace(job, decide=negative))

            if side == sides[0]:
                work()  # all is imported
            spent = []
            for what in (
                lambda slide=slide: shutil.copyfile(slide, folder / "copy.svs"),
                lambda slide=slide: _hash_in_memory(slide.stat().st_size),
                lambda slide=slide: file_sha256(slide),
                work,
            ):
                before = _bytes_read()
                cpu, clock = _spent()
                what()
                spent.append([now - then for now, then in zip(_spent(), (cpu, clock), strict=True)])
            said = " | ".join(f"{cpu:.2f} ({clock:.2f})" for cpu, clock in spent)
            read, size = _bytes_read() - before, slide.stat().st_size
            copying, hashing, _, job = (cpu for cpu, _ in spent)
            yield (
                f"| {side} | {size / 1e9:.2f} | {said} | {job / copying:.1f} | "
                f"{job / (copying + hashing):.2f} | {read / size:.2f} |"
            )
            slide.unlink()


def busy(slides: Path, side: int, radius: float = 60.0, discs: int = 12) -> Iterator[str]:
    """Tell which part of a job's time the network is at work, at the default preset."""
    seen: list[tuple[float, float]] = []
    real = slide_run.restore_part

    def timed(*more: Any) -> Any:
        begun = time.perf_counter()
        try:
            return real(*more)
        finally:
            seen.append((begun, time.perf_counter()))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slide(folder / "slide.svs", side, slides / CMU)
        write_discs(folder / "mask.geojson", scattered(side, discs, radius), radius)
        files = folder / "slide.svs", folder / "out.svs", folder / "mask.geojson"
        begun = time.perf_counter()
        job = decide_slide(*files, device="cpu")
        decided = time.perf_counter()
        slide_run.restore_part = timed  # type: ignore[assignment]
        try:
            execute_slide(job)
        finally:
            slide_run.restore_part = real
        ended = time.perf_counter()
    work = sum(stop - start for start, stop in seen)
    first, last = seen[0][0], seen[-1][1]
    yield "| of the clock | seconds |"
    yield "|---|---|"
    yield f"| deciding: hash, plan, model | {decided - begun:.1f} |"
    yield f"| until the first part begins | {first - decided:.1f} |"
    yield f"| in the method, {len(seen)} parts | {work:.1f} |"
    yield f"| between parts | {last - first - work:.1f} |"
    yield f"| putting the slide together, its record | {ended - last:.1f} |"
    yield (
        f"\nThe method is at work {work / (last - first):.1%} of the time from the first part to "
        f"the last, and {work / (ended - begun):.1%} of all."
    )


def memory(slides: Path, sides: Sequence[int]) -> Iterator[str]:
    """Measure the most memory that the verb takes, in a process of its own."""
    yield "| side, px | file, GB | most memory at a time, GB | clock, s |"
    yield "|---|---|---|---|"
    for side in sides:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_slide(folder / "slide.svs", side, slides / CMU)
            write_discs(folder / "m.geojson", scattered(side, 8, 60), 60)
            words = ["restore", "slide.svs", "--mask", "m.geojson", "-o", "out.svs"]
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "histomend", *words, "--device", "cpu"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            passed = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            size = (folder / "slide.svs").stat().st_size / 1e9
            yield f"| {side} | {size:.2f} | {peak:.2f} | {passed:.0f} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("identity", "speed", "untouched", "busy", "memory"))
    parser.add_argument("--slides", type=Path, required=True)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--sides", type=int, nargs="+", default=[10_000, 30_000, 60_000])
    chosen = parser.parse_args()
    if chosen.what == "identity":
        rows = identity(chosen.slides)
    elif chosen.what == "speed":
        rows = speed(chosen.slides, chosen.side)
    elif chosen.what == "untouched":
        rows = untouched(chosen.slides, sorted(chosen.sides))
    elif chosen.what == "busy":
        rows = busy(chosen.slides, chosen.side)
    else:
        rows = memory(chosen.slides, sorted(chosen.sides))
    for row in rows:
        print(row, flush=True)
    print(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
