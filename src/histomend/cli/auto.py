"""The verb that looks first and does only what is sure: auto."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from histomend.cli.options import (
    METHOD,
    AsJson,
    Device,
    DryRun,
    Force,
    Inputs,
    Mpp,
    Out,
    Region,
    Seed,
    option,
    parse_region,
)
from histomend.cli.per_file import Files, PerFile, carry_out, check_all_apart, is_alone
from histomend.cli.screen import say

if TYPE_CHECKING:
    from histomend.jobs.outputs import Output
    from histomend.methods.auto import AutoPlan

MAPS = ("mask",)
"""What is written beside each image."""


def auto(
    inputs: Inputs,
    out: Out,
    max_share: Annotated[
        float, option("The most of the tissue to restore.", METHOD, "--max-share", min=0, max=1)
    ] = 0.02,
    sure: Annotated[
        float,
        option("Probability of each region of what is restored.", METHOD, "--sure", min=0, max=1),
    ] = 0.8,
    mpp: Mpp = None,
    region: Region = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Look what is wrong with images, and restore what is surely an artifact; else leave them.

    Classes of artifacts are restored whose regions are all likely ones, if they take little of
    the tissue. What is out of focus, noisy or coarse is told, with what helps. Images that are
    left alone are not written. --dry-run says the plan, and why, and does nothing.

    Example: histomend auto scans/ -o restored/ --dry-run
    """
    from histomend.jobs.outputs import plan_outputs
    from histomend.methods.auto import describe, plan

    outputs = plan_outputs(inputs, out)
    check_all_apart(outputs, MAPS)
    part = parse_region(region)
    run = PerFile([output.source for output in outputs], alone=is_alone(inputs))
    plans: dict[Path, AutoPlan] = {}

    def look(output: Output) -> dict[str, Any]:
        output.check(MAPS, force=force, lossy=False)  # before an hour of looking is lost
        planned = plan(output.source, mpp=mpp, region=part, max_share=max_share, sure=sure)
        plans[output.source] = planned
        if not planned.classes and output.image.exists():
            said = f"{output.image} is of an earlier call, and stays: this image is left alone now."
            run.notice(output.source, said)
        return describe(output.source, planned)

    for output in outputs:
        if run.attempt(output.source, partial(look, output)) and not as_json:
            for step in plans[output.source].steps:
                verb = "does" if step.done else "leaves"
                say(f"{verb} {step.what}: {step.why}", title=output.source.name)
    todo = [o for o in outputs if o.source in plans and plans[o.source].classes]
    if dry_run or not todo:
        run.end(as_json=as_json, failure="Not looked at")
        return
    options: dict[str, Any] = {
        "method": "artifusion",
        "model": None,
        "preset": None,
        "seed": seed,
        "mpp": mpp,
    }
    options |= {"region": part, "device": device, "detect": True, "max_share": max_share}
    files = Files([o.source for o in todo], todo, MAPS, force=force, as_json=as_json)
    carry_out(
        "restore",
        files,
        failure="Not restored",
        options=options,
        of=lambda output: {"mask": None, "mask_classes": list(plans[output.source].classes)},
    )
    run.end(as_json=False, failure="Not looked at")
