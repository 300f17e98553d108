"""The page of all options, docs/guides/train-options.md, made from what is declared.

Run ``python -m histomend.train.tables > docs/guides/train-options.md`` after a change.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import MISSING

from histomend.train import TRAININGS, TrainingOptions
from histomend.train.option import Declared, declared

_HEAD = """# All options of all trainings

Made by `python -m histomend.train.tables` from what `histomend.train` declares; how to train is in
[train.md](train.md). An option is written `--best-share 0.5` on the command line, and
`best_share=0.5` in Python, for the class that is named.

## What every training takes

"""


def page() -> str:
    """Return the page in Markdown."""
    shared = {each.name: each for each in declared(TrainingOptions)}
    parts = [_HEAD, table(shared.values())]
    for options in TRAININGS:
        own = [
            each
            for each in declared(options)
            if each.name not in shared or each.default is not shared[each.name].default
        ]
        parts += [
            f"\n## {options.verb.name}\n\n`{options.__name__}`. {inspect.getdoc(options)}\n\n",
            f"```sh\nhistomend train {options.verb.name} {options.verb.example}\n```\n\n",
            table(own),
        ]
    return "".join(parts)


def table(options: Iterable[Declared]) -> str:
    """Return a table of options in Markdown."""
    lines = ["| option | default | |", "|---|---|---|"]
    for each in options:
        flag, default = f"`{each.flag}`", f"`{each.default}`"
        if each.default is True:
            flag, default = f"{flag}, `--no-{each.flag[2:]}`", "yes"
        elif each.default is MISSING or each.default in ("", None) or each.default is False:
            default = ""
        words = each.option.help
        if each.choices:
            words += f" One of {', '.join(f'`{choice}`' for choice in each.choices)}."
        lines.append(f"| {flag} | {default} | {words} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
