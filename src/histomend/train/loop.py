"""The training loop of denoisers: resumable at any moment, within a time budget."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.errors import TrainingError
from histomend.models import fill
from histomend.train.settings import RunSettings

# Largest error of a compiled network's gradient, over its norm (bf16 alone gives 0.1), and beside
# it what is negligible, over the norm of all gradients.
GRADIENT_TOLERANCE = 0.3
NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Optimiser:
    """What a training sets of AdamW beside the learning rate.

    Parameters
    ----------
    warmup : int
        Steps after which the learning rate is reached.
    clip : float
        Largest norm of the gradient.
    betas : two floats in [0, 1)
        How much of its averages of the gradient and of its square AdamW keeps.
    """

    weight_decay: float = 0.0
    warmup: int = 200
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


ADAMW = Optimiser()


class Subject(Protocol):
    """What is trained: a denoiser, an autoencoder."""

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""

    def identity(self) -> dict[str, Any]:
        """Return what must be the same when a run is resumed, in values that JSON holds."""

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights to start from, of the bundled name or folder `init`."""

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a model into the new folder."""


class Run:
    """One training run in a folder: network, averaged weights, optimiser, and its files.

    Files: `last/` (everything that resuming needs), `model/` (averaged weights, ready for
    `--model`), `log.jsonl` (loss, validation, images per second), `samples/`.

    Every random choice is drawn from generators keyed by the seed and the step, so a run that
    was killed goes on exactly as if it had not been.

    Parameters
    ----------
    out : Path
        Its folder; made if it is not there.
    subject : Subject
    settings : RunSettings
    optimiser : Optimiser
    init : str or Path, optional
        The weights to start from, as `subject` knows them.
    compiled : bool
        Compile the network first.
    mixed_precision : bool
        Whether bf16 may be used, where the device has it in hardware.
    """

    def __init__(
        self,
        out: Path,
        subject: Subject,
        settings: RunSettings,
        optimiser: Optimiser = ADAMW,
        *,
        init: str | Path | None = None,
        compiled: bool = False,
        mixed_precision: bool = True,
    ):
        from accelerate import Accelerator

        self.out, self.subject, self.settings, self.optimiser = out, subject, settings, optimiser
        device = torch_device(settings.device)
        # Its own mixed precision is the same for all runs of a process, and some need fp32.
        self.accelerator = Accelerator(mixed_precision="no", cpu=device.type == "cpu")
        self.mixed_precision = mixed_precision and has_fast_bf16(device)
        self.step = 0
        self.seconds = 0.0
        out.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            for folder in (out / "last", out / "model"):
                _recover(folder)
        self.accelerator.wait_for_everyone()
        # Fresh weights depend on the seed too, and are the same in every process.
        torch.manual_seed(settings.seed)
        network = subject.network()
        if init is not None:
            fill(network, subject.weights(init), str(init))
        self.average = {k: v.detach().clone().float() for k, v in network.state_dict().items()}
        optim = torch.optim.AdamW(
            network.parameters(),
            settings.lr,
            betas=optimiser.betas,
            weight_decay=optimiser.weight_decay,
        )
        if (out / "last").exists():
            if not settings.resume:
                raise TrainingError(
                    f"{out} holds a run already. Add --resume to go on with it, or name another "
                    "folder with -o."
                )
            self._restore(network, optim)
        self.compiled = compiled
        self.network: nn.Module
        self.network, self.optim = self.accelerator.prepare(network, optim)
        self.average = {k: v.to(self.accelerator.device) for k, v in self.average.items()}

    def _restore(self, network: nn.Module, optim: torch.optim.Optimizer) -> None:
        last = self.out / "last"
        try:
            state = json.loads((last / "state.json").read_text(encoding="utf-8"))
            weights = load_file(last / "network.safetensors")
            self.average = load_file(last / "average.safetensors")
            moments = load_file(last / "optimiser.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise TrainingError(
                f"The run in {self.out} cannot be resumed: {last} is damaged ({error}). Start "
                f"another run from its weights with --init {self.out / 'model'}."
            ) from error
        for key, own in self.subject.identity().items():
            if state["identity"].get(key) != own:
                raise TrainingError(
                    f"{self.out} was trained with {key}={state['identity'].get(key)}, not {own}. "
                    "Resume with the same settings, or name another folder with -o."
                )
        fill(network, weights, str(last))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in moments.items():
            index, key = name.split(".")
            slots.setdefault(int(index), {})[key] = tensor
        optim.load_state_dict({"state": slots, "param_groups": optim.state_dict()["param_groups"]})
        self.step, self.seconds = state["step"], state["seconds"]
        self._forget_later_lines()

    def _forget_later_lines(self) -> None:
        """Cut from the log what was written after the state that the run goes on from."""
        path = self.out / "log.jsonl"
        if not self.accelerator.is_main_process or not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            # A kill may have cut the last line short.
            if line.endswith("}\n") and json.loads(line)["step"] <= self.step:
                kept.append(line)
        partial = path.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(path)

    def save(self) -> None:
        """Write `last/` and `model/`; a kill in between leaves the older state whole."""
        if not self.accelerator.is_main_process:
            return
        fresh = self.out / "last.partial"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        plain = self.accelerator.unwrap_model(self.network)
        save_file(
            {k: v.cpu().contiguous() for k, v in plain.state_dict().items()},
            fresh / "network.safetensors",
        )
        save_file(
            {k: v.cpu().contiguous() for k, v in self.average.items()},
            fresh / "average.safetensors",
        )
        slots = self.optim.state_dict()["state"]
        flat = {
            f"{i}.{k}": torch.as_tensor(v).cpu().clone()
            for i, s in slots.items()
            for k, v in s.items()
        }
        save_file(flat, fresh / "optimiser.safetensors")
        state = {"step": self.step, "seconds": self.seconds, "identity": self.subject.identity()}
        (fresh / "state.json").write_text(json.dumps(state), encoding="utf-8")
        _swap(fresh, self.out / "last")
        fresh = self.out / "model.partial"
        shutil.rmtree(fresh, ignore_errors=True)
        self.subject.write(fresh, self.average)
        _swap(fresh, self.out / "model")

    def log(self, **record: float | int | str) -> None:
        """Add a line to `log.jsonl`."""
        if self.accelerator.is_main_process:
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(
                    json.dumps({"step": self.step, "s": round(self.seconds), **record}) + "\n"
                )

    def averaged(self) -> nn.Module:
        """Return a network with the averaged weights, in evaluation mode."""
        network = self.subject.network()
        fill(network, {k: v.cpu() for k, v in self.average.items()}, "the running average")
        return network.eval().requires_grad_(False).to(self.accelerator.device)

    def train(
        self,
        loss_at: Callable[[nn.Module, int, torch.device], tuple[Tensor, int]],
        validate: Callable[[Run], dict[str, float]],
    ) -> Path:
        """Train until the budget is spent, and return the folder of the model.

        Parameters
        ----------
        loss_at : function (network, step, device) -> (loss, images)
            Must draw everything random from the step.
        validate : function (run) -> figures for the log
            Called in the first process only.
        """
        settings, report = self.settings, self.settings.report
        began = now = time.monotonic()
        saved = validated = began
        smooth: float | None = None
        device = self.accelerator.device
        spent_before = self.seconds
        self.network.train()
        if self.compiled:
            self._compile(loss_at)
        while True:
            elapsed = self._common_clock(now - began) if settings.minutes is not None else 0.0
            if self._is_spent(elapsed):
                break
            for group in self.optim.param_groups:
                group["lr"] = self._rate(self._share(elapsed))
            with self._autocast():
                loss, images = loss_at(self.network, self.step, device)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"The loss is {value} at step {self.step}. The last good state is in "
                    f"{self.out / 'last'}: resume from it with a smaller --lr."
                )
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.optimiser.clip)
            self.optim.step()
            self.optim.zero_grad()
            self.step += 1
            self._update_average()
            smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
            last, now = now, time.monotonic()
            self.seconds = spent_before + now - began
            rate = images * self.accelerator.num_processes / max(now - last, 1e-9)
            if report is not None:
                report(self.step, smooth, rate, self._share(now - began))
            if self.step % 50 == 0:
                self.log(loss=smooth, images_per_s=round(rate, 2))
            if now - saved > 60 * settings.save_minutes:
                self.save()
                saved = time.monotonic()
            if now - validated > 60 * settings.validate_minutes:
                self._validate(validate)
                self.network.train()
                validated = now = time.monotonic()
        self._validate(validate)
        self.save()
        self.accelerator.wait_for_everyone()
        return self.out / "model"

    def _validate(self, validate: Callable[[Run], dict[str, float]]) -> None:
        if self.accelerator.is_main_process:
            self.log(**validate(self))

    def _compile(self, loss_at: Callable[..., tuple[Tensor, int]]) -> None:
        """Compile the network, and check that it still learns the same.

        Torch 2.13 compiled wrong gradients on a CPU, without a word: most of `small-unet`'s in
        bf16, zeros among them, and the autoencoder's even in fp32.
        """

        def gradients() -> dict[str, Tensor]:
            with self._autocast():
                loss, _ = loss_at(self.network, self.step, self.accelerator.device)
            self.accelerator.backward(loss)
            named = self.accelerator.unwrap_model(self.network).named_parameters()
            found = {n: p.grad.detach().clone() for n, p in named if p.grad is not None}
            self.optim.zero_grad()
            return found

        # Without stochastic depth, for which a compiled network draws other numbers.
        self.network.eval()
        right = gradients()
        self.accelerator.unwrap_model(self.network).compile()
        wrong = _differing(right, gradients())
        self.network.train()
        if wrong:
            raise TrainingError(
                f"Compiled by torch {torch.__version__} for this machine, the network has wrong "
                f"gradients, first of {wrong}. Train without --compiled."
            )

    def _autocast(self) -> torch.autocast:
        device = self.accelerator.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.mixed_precision)

    def _is_spent(self, elapsed: float) -> bool:
        minutes, steps = self.settings.minutes, self.settings.steps
        if steps is not None and self.step >= steps:
            return True
        return minutes is not None and elapsed >= 60 * minutes

    def _common_clock(self, elapsed: float) -> float:
        """Return the first process's time: the others stop with it and at its learning rate.

        A process that stops alone leaves the others waiting for its gradients.
        """
        if self.accelerator.num_processes == 1:
            return elapsed
        from accelerate.utils import broadcast

        return float(broadcast(torch.tensor([elapsed], device=self.accelerator.device)))

    def _rate(self, share: float) -> float:
        """Return the learning rate when `share` of the budget is spent."""
        rate = self.settings.lr * min(1.0, (self.step + 1) / self.optimiser.warmup)
        if self.settings.cooldown:
            rate *= min(1.0, (1 - share) / self.settings.cooldown)
        return rate

    def _share(self, elapsed: float) -> float:
        shares = [0.0]
        if self.settings.minutes:
            shares.append(elapsed / (60 * self.settings.minutes))
        if self.settings.steps:
            shares.append(self.step / self.settings.steps)
        return min(1.0, max(shares))

    @torch.no_grad()
    def _update_average(self) -> None:
        # The average starts short and grows long, so that early weights are forgotten.
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        state = self.accelerator.unwrap_model(self.network).state_dict()
        for name, tensor in self.average.items():
            tensor.lerp_(state[name].float(), 1 - keep)


def _differing(right: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """Return the first tensor whose gradients differ by more than rounding, if there is one."""
    whole = torch.stack([g.norm() for g in right.values()]).norm()
    for name, gradient in right.items():
        off = (other[name] - gradient).norm() if name in other else gradient.norm()
        # A gradient that is nothing beside the others is rounding itself.
        if not off <= GRADIENT_TOLERANCE * gradient.norm() + NEGLIGIBLE * whole:
            return name
    return None


def _swap(fresh: Path, place: Path) -> None:
    """Put the folder `fresh` at `place`; after a kill `_recover` finds a whole one there."""
    old = place.with_name(place.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.replace(old)
    fresh.replace(place)
    shutil.rmtree(old, ignore_errors=True)


def _recover(place: Path) -> None:
    """Undo a `_swap` that was killed between its two renames."""
    old = place.with_name(place.name + ".old")
    if old.exists() and not place.exists():
        old.replace(place)
