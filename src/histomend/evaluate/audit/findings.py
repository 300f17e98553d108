"""What an audit found, one thing after another, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["fine", "look", "unknown"]
"""fine: as in sound tissue; look: worth a look at the image; unknown: it cannot be said."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes
    ----------
    name : str
    verdict : "fine", "look" or "unknown"
    said : str
        What was found, in a sentence.
    values : dict
        The figures behind it.
    """

    name: str
    verdict: Verdict
    said: str
    values: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON holds: what is no number is null."""
        plain = {
            key: None if value is None or not math.isfinite(value) else round(value, 5)
            for key, value in self.values.items()
        }
        return {"name": self.name, "verdict": self.verdict, "said": self.said, "values": plain}


def percent(share: float) -> str:
    """Return a share as people write it."""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
