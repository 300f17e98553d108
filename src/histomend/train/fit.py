"""The training loop, one for all lessons: resumable at any moment, within a time budget."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from histomend.errors import TrainingError
from histomend.train.compiled import compile_checked
from histomend.train.lesson import Lesson, Step
from histomend.train.run import Run
from histomend.train.sample_grid import write_sample_grid
from histomend.train.shared_options import TrainingOptions

# (step, loss, images per second, share of the budget that is spent).
Report = Callable[[int, float, float, float], None]
_log = logging.getLogger(__name__)


def fit(lesson: Lesson[Any], options: TrainingOptions, report: Report | None = None) -> Path:
    """Train until the budget is spent, and return the folder of the model.

    Every random choice is drawn from generators keyed by the seed and the step, so a run that
    was killed goes on exactly as if it had not been. Ctrl-C ends the step, saves, and only then
    stops; a second one stops at once.

    Parameters
    ----------
    lesson : Lesson
    options : TrainingOptions
    report : function, optional
        Called after each step with the step, the loss, images per second, and the share of the
        budget that is spent.

    Raises
    ------
    TrainingError
        A run that does not match or is in the way, or a loss that is not finite.
    KeyboardInterrupt
        After Ctrl-C; its message says how to go on.
    """
    run = Run(lesson, options)
    facts = lesson.facts()
    if facts and run.step == 0:
        run.log(**facts)
    with _Interrupt() as interrupt:
        if not _train(run, report, interrupt):
            run.save()
            run.accelerator.wait_for_everyone()
            raise KeyboardInterrupt(
                f"The run was saved at step {run.step}. Repeat the command with --resume to go on."
            )
    _validate(run)
    run.save()
    run.accelerator.wait_for_everyone()
    return run.out / "model"


class _Interrupt:
    """Ctrl-C, kept in mind until a step is done; the second one is not."""

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> _Interrupt:
        # Python hands signals to the main thread alone; and of a run in the background, whose
        # shell had it ignore them, Ctrl-C is meant for something else.
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if threading.current_thread() is threading.main_thread() and not ignored:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.__exit__()
        _log.warning("stopping after this step; the run is saved first")


def _train(run: Run, report: Report | None, interrupt: _Interrupt) -> bool:
    """Train until the budget is spent, or interrupted: then return False."""
    options, lesson = run.options, run.lesson
    began = now = saved = validated = time.monotonic()
    spent_before = run.seconds
    smooth: float | None = None
    run.network.train()
    if options.compiled:
        compile_checked(run.plain, lambda: _gradients(run))
    while True:
        elapsed, stopped = _agreed(run, now - began, interrupt.came)
        if stopped:
            return False
        if _is_spent(run, elapsed):
            return True
        for group in run.optim.param_groups:
            group["lr"] = _rate(run, _share(run, elapsed))
        loss = _loss(run)
        value = float(loss.detach())
        if not math.isfinite(value):
            kept = run.out / "last"
            raise TrainingError(
                f"The loss is {value} at step {run.step}. "
                + (
                    f"The last good state is in {kept}: resume from it with a smaller --lr."
                    if kept.is_dir()
                    else "No state was kept before: begin again with a smaller --lr."
                )
            )
        run.accelerator.backward(loss)
        run.accelerator.clip_grad_norm_(run.network.parameters(), lesson.optimiser.clip)
        run.optim.step()
        run.optim.zero_grad()
        run.step += 1
        run.update_average()
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        last, now = now, time.monotonic()
        run.seconds = spent_before + now - began
        rate = options.batch * run.accelerator.num_processes / max(now - last, 1e-9)
        if report is not None:
            report(run.step, smooth, rate, _share(run, now - began))
        if run.step % 50 == 0:
            run.log(loss=smooth, images_per_s=round(rate, 2))
        if now - saved > 60 * options.save_minutes:
            run.save()
            saved = time.monotonic()
        if now - validated > 60 * options.validate_minutes:
            _validate(run)
            run.network.train()
            validated = now = time.monotonic()


def _loss(run: Run) -> Tensor:
    step = Step(run.options.seed, run.step, run.accelerator.process_index, run.device)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16):
        crops = run.lesson.crops(step)
        # Stochastic depth draws from the global generator.
        torch.manual_seed(step.noise_seed)
        return run.lesson.loss(run.network, crops, step)


def _gradients(run: Run) -> dict[str, Tensor]:
    run.accelerator.backward(_loss(run))
    named = run.plain.named_parameters()
    gradients = {n: p.grad.detach().clone() for n, p in named if p.grad is not None}
    run.optim.zero_grad()
    return gradients


@torch.no_grad()
def _validate(run: Run) -> None:
    if not run.is_main:
        return
    found = run.lesson.figures(run.averaged())
    run.figures = dict(found.values)
    if found.rows:
        write_sample_grid(run.out / "samples" / f"{run.step:07d}.png", found.rows)
    run.log(**found.values)


def _agreed(run: Run, elapsed: float, interrupted: bool) -> tuple[float, bool]:
    """Return the first process's time, and whether it was interrupted: all others follow it.

    A process that stops alone leaves the others waiting for its gradients.
    """
    if run.accelerator.num_processes == 1:
        return elapsed, interrupted
    from accelerate.utils import broadcast

    told = broadcast(torch.tensor([elapsed, float(interrupted)], device=run.device))
    return float(told[0]), bool(told[1])


def _is_spent(run: Run, elapsed: float) -> bool:
    minutes, steps = run.options.minutes, run.options.steps
    if steps is not None and run.step >= steps:
        return True
    return minutes is not None and elapsed >= 60 * minutes


def _share(run: Run, elapsed: float) -> float:
    """Return the share of the budget that is spent."""
    shares = [0.0]
    if run.options.minutes:
        shares.append(elapsed / (60 * run.options.minutes))
    if run.options.steps:
        shares.append(run.step / run.options.steps)
    return min(1.0, max(shares))


def _rate(run: Run, share: float) -> float:
    """Return the learning rate when `share` of the budget is spent."""
    rate = run.options.lr * min(1.0, (run.step + 1) / run.lesson.optimiser.warmup)
    if run.options.cooldown:
        rate *= min(1.0, (1 - share) / run.options.cooldown)
    return rate
