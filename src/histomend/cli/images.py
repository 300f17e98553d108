"""Verbs that turn images into images: restore, detect, simulate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.options import (
    AsJson,
    Device,
    Force,
    Inputs,
    Model,
    Mpp,
    Out,
    Preset,
    Region,
    Sampler,
    Seed,
    Steps,
    parse_region,
)
from histomend.cli.screen import answer, facts, progress, say
from histomend.cli.several import Several
from histomend.errors import SettingError

if TYPE_CHECKING:
    from histomend.files import Job


def restore(
    inputs: Inputs,
    out: Out,
    mask: Annotated[
        Path | None,
        typer.Option(help="White is restored: PNG, TIFF, GeoJSON; a folder for several inputs."),
    ] = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="Find the artifacts by thresholds instead.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="artifusion (on pixels) or latent-artifusion.")
    ] = "artifusion",
    model: Model = None,
    preset: Annotated[Preset, typer.Option(help="How the model is sampled.")] = Preset.fast,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    samples: Annotated[
        int, typer.Option(min=1, help="Draw so many restorations and map their deviation.")
    ] = 1,
    mpp: Mpp = None,
    region: Region = None,
    device: Device = "auto",
    batch: Annotated[
        int, typer.Option(min=1, help="Windows at a time; does not change the result.")
    ] = 8,
    trace: Annotated[
        Path | None, typer.Option(help="Folder for the states on the way, as PNG.")
    ] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Allow a .jpg output.")] = False,
    force: Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore the masked or detected artifacts of images.

    Beside each output NAME.png lie NAME.ledger.json, which proves and undoes the change, with
    --detect also NAME.mask.png, and with --samples NAME.uncertainty.png.
    """
    if (mask is not None) == detect:
        raise SettingError(
            f"{'Both --mask and --detect were given' if detect else 'No mask was given'}. "
            "Say where the artifacts are: either --mask FILE (white is restored), or --detect to "
            "have them found by thresholds."
        )
    from histomend.files import plan_jobs

    work = _Work(
        settings={
            "method": method,
            "preset": preset.value,
            "steps": steps,
            "sampler": sampler,
            "mpp": mpp,
            "region": parse_region(region),
        },
        drawing={"seed": seed, "samples": samples, "batch": batch},
        trace=trace,
        lossy=lossy,
        force=force,
    )
    jobs = plan_jobs(inputs, out, mask)
    alone = len(inputs) == 1 and not inputs[0].is_dir()
    files = Several([job.source for job in jobs], alone=alone)
    if not dry_run:
        # Before anything is computed or imported: the outputs may exist already.
        jobs = [job for job in jobs if files.attempt(job.source, partial(work.check, job))]
    if jobs:
        from histomend.models import load_denoiser
        from histomend.restore import default_model

        work.settings["model"] = load_denoiser(model or default_model(method), device)
    step = work.plan if dry_run else work.restore
    for job in jobs:
        if files.attempt(job.source, partial(step, job)) and not as_json:
            facts(files.records[job.source].items())
    files.end(as_json=as_json, failure="Not restored")


@dataclass(frozen=True)
class _Work:
    """What is done to each file: the settings of `restore`, and those of its outputs."""

    settings: dict[str, Any]
    drawing: dict[str, Any]
    trace: Path | None
    lossy: bool
    force: bool

    def check(self, job: Job) -> dict[str, Any]:
        from histomend.files import check_job

        check_job(job, samples=self.drawing["samples"], lossy=self.lossy, force=self.force)
        return {}

    def plan(self, job: Job) -> dict[str, Any]:
        from histomend.restore import describe, prepare

        prepared = prepare(job.source, job.mask, detect=job.mask is None, **self.settings)
        return {"output": str(job.output), **describe(prepared, self.drawing["samples"])}

    def restore(self, job: Job) -> dict[str, Any]:
        import histomend
        from histomend.files import trace_to, write_result

        states = None if self.trace is None else trace_to(self.trace / job.source.stem)
        with progress(job.source.name) as advance:
            result = histomend.restore(
                job.source,
                job.mask,
                detect=job.mask is None,
                progress=advance,
                trace=states,
                **self.settings,
                **self.drawing,
            )
        for notice in result.ledger.notices:
            say(notice, title=job.source.name)
        written = write_result(result, job, lossy=self.lossy, force=self.force)
        return {**written, "nfe": result.ledger.nfe, **result.ledger.totals}


def detect(
    inputs: Inputs,
    out: Out,
    mpp: Mpp = None,
    region: Region = None,
    geojson: Annotated[
        bool, typer.Option("--geojson", help="In a folder, write GeoJSON (for QuPath).")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find artifacts by thresholds and write them as masks (.png or .geojson).

    Look at the mask before you restore with it: thresholds miss what looks like tissue, above
    all out-of-focus regions.
    """
    from histomend.detect.threshold import detect as find
    from histomend.files import make_folder, pair_outputs
    from histomend.image import check_target, read_image
    from histomend.masks import regions, write_mask

    part = parse_region(region)
    records = []
    for source, output in pair_outputs(inputs, out, ".geojson" if geojson else ".png").items():
        make_folder(output.parent)
        check_target(output, force=force)
        image = read_image(source, mpp=mpp, region=part)
        mask = find(image.pixels, mpp=image.mpp)
        # GeoJSON is in the coordinates of the whole image, as QuPath shows it.
        write_mask(output, mask, origin=(0, 0) if part is None else part[:2], force=force)
        records.append(
            {
                "source": str(source),
                "mask": str(output),
                "area": round(float(mask.mean()), 4),
                "regions": len(regions(mask)),
            }
        )
        if not as_json:
            facts(records[-1].items())
    if as_json:
        answer(records)


def simulate(
    inputs: Inputs,
    out: Out,
    kind: Annotated[
        str,
        typer.Option(
            help="fold, bubble, ink, debris, dark_spot, out_of_focus, streak, illumination, stain."
        ),
    ],
    seed: Seed = 0,
    area: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the image to damage.")
    ] = 0.12,
    mpp: Mpp = None,
    region: Region = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Damage images with a simulated artifact; NAME.mask.png tells exactly where."""
    from histomend.damage.artifacts import simulate as damage
    from histomend.files import Job, make_folder, pair_outputs
    from histomend.image import check_output, check_target, read_image, write_image
    from histomend.masks import write_mask

    records = []
    for source, output in pair_outputs(inputs, out).items():
        mask_path = Job(source, output, None).beside("mask.png")
        make_folder(output.parent)
        check_output(output, force=force, source=source)
        check_target(mask_path, force=force)
        image = read_image(source, mpp=mpp, region=parse_region(region))
        damaged = damage(image.pixels, kind, seed=seed, area=area, mpp=image.mpp or 0.5)
        note = f"Damaged by Histomend with a simulated {kind}, seed {seed}."
        write_mask(mask_path, damaged.mask, force=force)
        write_image(
            output, damaged.pixels, alpha=image.alpha, mpp=image.mpp, note=note, force=force
        )
        records.append(
            {
                "source": str(source),
                "output": str(output),
                "mask": str(mask_path),
                "kind": kind,
                "area": round(float(damaged.mask.mean()), 4),
            }
        )
        if not as_json:
            facts(records[-1].items())
    if as_json:
        answer(records)
