"""Ways to restore a case, which are rows of tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from histomend.evaluate.harness.cases import Case, Pixels
from histomend.evaluate.harness.store import Restored, digest, pixels_digest
from histomend.jobs.job import Job
from histomend.jobs.run import execute
from histomend.methods.decide import decide

# What a record says of a model that does not change a pixel.
_NAMES = {"name", "card"}


@dataclass(frozen=True)
class MethodRow:
    """A method of Histomend with a model and options.

    Attributes
    ----------
    name : str
    kind : str
        What rows are compared by: "ours", "baseline", "ablation", ...
    task : "restore", "denoise" or "upscale"
    method : str
    model : optional
        Loaded; the bundled one unless given.
    options : dict
        Of the task's function, such as preset and steps.
    paste : bool
        Put what a method of whole images made into the mask alone.
    variant : str
        Names what was changed in the model by hand, which no record knows.
    """

    name: str
    kind: str
    task: str
    method: str
    model: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    paste: bool = False
    variant: str = ""

    def job(self, case: Case) -> Job:
        """Decide what would be done.

        Raises
        ------
        HistomendError
            The method cannot do this to the case.
        """
        options = {"device": "cpu", **self.options, "seed": case.seed, "model": self.model}
        if self.task == "restore":
            options |= {"mask": case.mask, "mpp": case.mpp}
        elif self.task == "denoise":
            options |= {"axes": "YXC"}
        else:
            options |= {"scale": case.scale}
        return decide(self.task, case.given, method=self.method, **options)

    def key(self, case: Case) -> str:
        """Return a hash of everything that the result depends on."""
        job = self.job(case)
        model = {k: v for k, v in (job.model or {}).items() if k not in _NAMES}
        images = [pixels_digest(case.given), *case.given.shape]
        if case.mask is not None:
            images.append(pixels_digest(case.mask))
        machine = [str(job.device), torch.get_num_threads()]
        return digest(
            self.task, self.method, self.variant, self.paste, model, job.settings, job.repeats,
            case.seed, images, machine,
        )  # fmt: skip

    def restore(self, case: Case) -> Restored:
        """Restore a case, and measure the processor's time."""
        began = time.process_time()
        result = execute(self.job(case))
        seconds = time.process_time() - began
        pixels = result.pixels.reshape(*result.pixels.shape[:2], -1)
        if self.paste and case.mask is not None:
            pixels = np.where(case.mask[..., None], pixels, case.given)
        told = result.record.figures
        nfe, t = told.get("nfe_mean", result.record.nfe), told.get("t")
        return Restored(pixels, seconds, float(nfe), None if t is None else float(t["mean"]))


@dataclass(frozen=True)
class FunctionRow:
    """Any function from a case to pixels, which is not kept.

    Attributes
    ----------
    name, kind : str
    of : function of Case -> (H, W, C) uint8
    timed : bool
        Whether its time means anything; otherwise tables have a dash.
    """

    name: str
    kind: str
    of: Callable[[Case], Pixels]
    timed: bool = True

    def key(self, case: Case) -> str:
        """Return nothing: it costs little, and a function has no hash."""
        return ""

    def restore(self, case: Case) -> Restored:
        """Call the function."""
        began = time.process_time()
        pixels = self.of(case)
        return Restored(pixels, time.process_time() - began if self.timed else 0.0, 0.0)


def left_alone(name: str = "degraded", kind: str = "degraded") -> FunctionRow:
    """Return the row that leaves the damage as it is."""
    return FunctionRow(name, kind, lambda case: case.given, timed=False)
