"""Verbs that list what there is: presets, models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from histomend.cli.options import AsJson
from histomend.cli.screen import answer, facts, table


def presets(
    method: Annotated[str | None, typer.Argument(help="Only those of this method.")] = None,
    as_json: AsJson = False,
) -> None:
    """List archs and sampling presets: parameters, MACs of one 256x256 call, steps."""
    from histomend.methods.catalogue import table as list_presets

    rows = list_presets(method)
    if as_json:
        answer(rows)
        return
    # Each arch goes with each preset of its method: two lists are shorter than all pairs.
    networks = {(row["method"], row["arch"]): row for row in rows}
    presets = {(row["method"], row["preset"]): row for row in rows}
    table(
        ("method", "arch", "parameters", "GMAC", "use"),
        (
            (*names, f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f}", row["use"])
            for names, row in networks.items()
        ),
    )
    typer.echo()
    table(
        ("method", "preset", "steps", "how"),
        ((*names, row["steps"], row["how"]) for names, row in presets.items()),
    )


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="[NAME|FOLDER]", help="Show the card of this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models that come with the package, or show what is known of one."""
    from dataclasses import asdict

    from histomend.models import bundled, locate
    from histomend.models.any_model import config_in, kind_of

    def told(name: str) -> dict[str, Any]:
        folder = locate(name)
        return {"kind": kind_of(folder), **asdict(config_in(folder))}

    if model is not None:
        config = told(model)
        if as_json:
            answer(config)
            return
        card = config.pop("card", {})
        facts([*config.items(), *card.items()])
        return
    known = {name: told(name) for name in bundled()}
    if as_json:
        answer([{"name": name, **config} for name, config in known.items()])
        return
    table(
        ("name", "method", "arch", "um/px", "fast steps", "sha256"),
        (
            (
                name,
                config.get("method", config["kind"]),
                config["arch"],
                config["mpp"],
                config.get("fast_steps", ""),
                config["sha256"][:12],
            )
            for name, config in known.items()
        ),
    )
