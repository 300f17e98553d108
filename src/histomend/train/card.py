"""The card of a model that was trained here: README.md, which the hub shows as its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import histomend
from histomend.train.shared_options import TrainingOptions

CARD = "README.md"
# Where things lay on one machine, and what changes no weight, says nothing to others.
_LEFT_OUT = {
    "data", "out", "validation", "extra", "cache", "resume", "device", "save_minutes",
    "validate_minutes", "compiled", "minutes", "steps",
}  # fmt: skip


def model_card(
    options: TrainingOptions, step: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """Return the card of a model in Markdown, with the header that the hub reads.

    Parameters
    ----------
    options : TrainingOptions
    step : int
        How many it was trained for.
    seconds : float
        How long that took.
    figures : figures by name, on held-out crops
    """
    verb = options.verb
    settings = {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if each.name not in _LEFT_OUT and getattr(options, each.name) not in (None, "")
    }
    # Where another model lay says nothing to others either; its name on the hub does.
    settings = {name: v for name, v in settings.items() if not Path(str(v)).exists()}
    return "\n".join(
        [
            "---",
            "library_name: histomend",
            "tags: [histology, microscopy, image-restoration, histomend]",
            "---",
            "",
            f"# {verb.name}, trained with Histomend",
            "",
            f"`histomend train {verb.name}` of Histomend {histomend.__version__}: {step:,} steps "
            f"of {options.batch} crops of {options.crop} px, {seconds / 60:.0f} minutes. What it "
            "restores is not for diagnosis.",
            "",
            "The data are not named here. Say what tissue, stain, scanner and pixel size they "
            "were, and under which licence they and these weights may be used.",
            "",
            "## Use",
            "",
            "```",
            verb.use.format(model="OWNER/NAME"),
            "```",
            "",
            *_table("Settings", settings),
            *_table("Figures on held-out crops", figures),
        ]
    )


def _table(title: str, values: Mapping[str, object]) -> list[str]:
    if not values:
        return []
    rows = [f"| {name} | {value} |" for name, value in values.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]
