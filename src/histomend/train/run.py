"""The state of a training and its folder: saved whole, and resumed to the bit."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

import histomend
from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.errors import OutputError, TrainingError, WeightsError
from histomend.image import make_folder
from histomend.image.regular_files import MOST_SETTINGS, read_text
from histomend.models import fill
from histomend.models.weights import read_tensors
from histomend.train.card import CARD, model_card
from histomend.train.lesson import Lesson
from histomend.train.optimisers import make_optimiser
from histomend.train.option import as_json
from histomend.train.shared_options import TrainingOptions


class Run:
    """One training run in a folder: network, averaged weights, optimiser, and its files.

    Files: `last/` (everything that resuming needs), `model/` (averaged weights, ready for
    `--model`), `run.json` (how it was started, each time), `log.jsonl` (loss, figures, images per
    second), `samples/`.

    Parameters
    ----------
    lesson : Lesson
    options : TrainingOptions
        Whose folder `out` is made if it is not there.
    """

    def __init__(self, lesson: Lesson[Any], options: TrainingOptions):
        from accelerate import Accelerator

        self.lesson, self.trainee, self.options = lesson, lesson.trainee, options
        self.out = options.out
        device = torch_device(options.device)
        # Its own mixed precision is the same for all runs of a process, and some need fp32.
        self.accelerator = Accelerator(mixed_precision="no", cpu=device.type == "cpu")
        self.bf16 = lesson.mixed_precision and has_fast_bf16(device)
        self.step = 0
        self.seconds = 0.0
        self.figures: dict[str, float] = {}
        make_folder(self.out)
        if self.is_main:
            for folder in (self.out / "last", self.out / "model"):
                _recover(folder)
        self.accelerator.wait_for_everyone()
        # Fresh weights depend on the seed too, and are the same in every process.
        torch.manual_seed(options.seed)
        network = self.trainee.network()
        init: str | Path | None = getattr(options, "init", None)
        if init is not None:
            fill(network, self.trainee.weights(init), str(init))
        self.average = {k: v.detach().clone().float() for k, v in network.state_dict().items()}
        optim = make_optimiser(options.optimiser, network, options.lr, lesson.optimiser)
        if (self.out / "last").exists():
            if not options.resume:
                raise TrainingError(
                    f"{self.out} holds a run already. Add --resume to go on with it, or name "
                    "another folder with -o."
                )
            self._restore(network, optim)
        self.network: nn.Module
        self.network, self.optim = self.accelerator.prepare(network, optim)
        self.average = {k: v.to(self.device) for k, v in self.average.items()}
        self._write_start()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one of several processes that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def plain(self) -> nn.Module:
        """The network itself, without what several processes wrap around it."""
        plain: nn.Module = self.accelerator.unwrap_model(self.network)
        return plain

    def _identity(self) -> dict[str, Any]:
        return {"optimiser": self.options.optimiser} | self.trainee.identity()

    def _restore(self, network: nn.Module, optim: torch.optim.Optimizer) -> None:
        last = self.out / "last"
        try:
            told = read_text(last / "state.json", MOST_SETTINGS, TrainingError, "a state")
            state = json.loads(told)
            # Runs of earlier versions could be nothing else, and did not say so.
            theirs = {"optimiser": "adamw", "stabilised": False} | state["identity"]
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.figures = dict(state.get("figures", {}))
            weights = read_tensors(last / "network.safetensors")
            self.average = read_tensors(last / "average.safetensors")
            moments = read_tensors(last / "optimiser.safetensors")
        except (
            OSError, ValueError, WeightsError, TypeError, KeyError, AttributeError,
            RecursionError, TrainingError,
        ) as error:  # fmt: skip
            raise TrainingError(
                f"The run in {self.out} cannot be resumed: {last} is damaged ({error}). Start "
                f"another run from its weights with --init {self.out / 'model'}."
            ) from error
        for key, own in self._identity().items():
            if theirs.get(key) != own:
                raise TrainingError(
                    f"{self.out} was trained with {key}={theirs.get(key)}, not {own}. "
                    "Resume with the same settings, or name another folder with -o."
                )
        fill(network, weights, str(last))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in moments.items():
            index, key = name.split(".")
            slots.setdefault(int(index), {})[key] = tensor
        optim.load_state_dict({"state": slots, "param_groups": optim.state_dict()["param_groups"]})
        self._forget_later_lines()

    def _forget_later_lines(self) -> None:
        """Cut from the log what was written after the state that the run goes on from."""
        path = self.out / "log.jsonl"
        if not self.is_main or not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            # A kill may have cut the last line short.
            if line.endswith("}\n") and json.loads(line)["step"] <= self.step:
                kept.append(line)
        _write(path, "".join(kept))

    def _write_start(self) -> None:
        """Add to `run.json` how the run was started, or goes on."""
        if not self.is_main:
            return
        path = self.out / "run.json"
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))["starts"] if self.step else []
        except (OSError, ValueError, KeyError, TypeError):
            earlier = []
        start = {
            "at_step": self.step,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "histomend": histomend.__version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "device": str(self.device),
            "processes": self.accelerator.num_processes,
            "bf16": self.bf16,
            "options": as_json(self.options),
        }
        record = {"training": self.options.verb.name, "starts": [*earlier, start]}
        _write(path, json.dumps(record, indent=2) + "\n")

    def save(self) -> None:
        """Write `last/` and `model/`; a kill in between leaves the older state whole.

        Raises
        ------
        TrainingError
            The weights are no numbers.
        OutputError
            The disk is full, or the folder cannot be written.
        """
        if not self.is_main:
            return
        try:
            self._save()
        except (OSError, SafetensorError) as error:
            for name in ("last", "model"):  # what was begun takes the room that is wanted
                shutil.rmtree(self.out / f"{name}.partial", ignore_errors=True)
            raise OutputError(
                f"{self.out}: the state after step {self.step} cannot be written ({error}). What "
                "was saved before is there still: free some space, and go on with --resume."
            ) from error

    def _save(self) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in self.average.values()):
            raise TrainingError(
                f"After step {self.step} the weights are no numbers: the training diverged. Give "
                "a smaller --lr; what was saved before is in the folder as it was."
            )
        fresh = _emptied(self.out / "last.partial")
        fresh.mkdir(parents=True)
        tensors = {"network": self.plain.state_dict(), "average": self.average}
        for name, state in tensors.items():
            kept = {k: v.cpu().contiguous() for k, v in state.items()}
            save_file(kept, fresh / f"{name}.safetensors")
        slots = self.optim.state_dict()["state"]
        moments = {
            f"{i}.{k}": torch.as_tensor(v).cpu().clone()
            for i, slot in slots.items()
            for k, v in slot.items()
        }
        save_file(moments, fresh / "optimiser.safetensors")
        state = {"step": self.step, "seconds": self.seconds, "identity": self._identity()}
        text = json.dumps(state | {"figures": self.figures})
        (fresh / "state.json").write_text(text, encoding="utf-8")
        _swap(fresh, self.out / "last")
        fresh = _emptied(self.out / "model.partial")
        self.trainee.write(fresh, self.average)
        card = model_card(self.options, self.step, self.seconds, self.figures)
        (fresh / CARD).write_text(card, encoding="utf-8")
        _swap(fresh, self.out / "model")

    def log(self, **record: float | int | str) -> None:
        """Add a line to `log.jsonl`."""
        if self.is_main:
            line = json.dumps({"step": self.step, "s": round(self.seconds), **record})
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def averaged(self) -> nn.Module:
        """Return a network with the averaged weights, in evaluation mode."""
        network = self.trainee.network()
        fill(network, {k: v.cpu() for k, v in self.average.items()}, "the running average")
        return network.eval().requires_grad_(False).to(self.device)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the running average towards the weights."""
        # It starts short and grows long, so that early weights are forgotten.
        keep = min(self.options.ema, (1 + self.step) / (10 + self.step))
        state = self.plain.state_dict()
        for name, tensor in self.average.items():
            tensor.lerp_(state[name].float(), 1 - keep)


def _write(path: Path, text: str) -> None:
    """Write a file that is whole, old or new, after a kill at any moment."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _swap(fresh: Path, place: Path) -> None:
    """Put the folder `fresh` at `place`; after a kill `_recover` finds a whole one there."""
    old = _emptied(place.with_name(place.name + ".old"))
    if place.exists():
        place.replace(old)
    fresh.replace(place)
    shutil.rmtree(old, ignore_errors=True)


def _recover(place: Path) -> None:
    """Undo a `_swap` that was killed between its two renames."""
    old = place.with_name(place.name + ".old")
    if old.exists() and not place.exists():
        old.replace(place)
