"""Models: weights and what they were made for, bundled, in a folder, or from the hub.

A model is a folder with `config.json` and `model.safetensors` (or several shards
`model-00001-of-0000N.safetensors`), as `histomend train` writes it and `huggingface_hub`
downloads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser, PredictionType
from histomend.diffusion.samplers import SAMPLERS
from histomend.diffusion.schedule import SCHEDULES, Schedule, named
from histomend.errors import ModelNotFoundError, UnsafeWeightsError, WeightsError
from histomend.networks.build import ARCHS, arch_named

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = "config.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """What the weights were made for.

    Parameters
    ----------
    method : str
        The system the model belongs to, for instance "artifusion".
    arch : str
        Name of the network's size.
    prediction : "epsilon", "x0" or "v"
    schedule, steps : name and length of the noise schedule
    mpp : float
        Pixel size of the training images in um.
    channels : int
        Image channels, scaled to [-1, 1] from the file's whole range (`Intensity.for_dtype`).
    context : bool
        Whether the network also sees the visible pixels and the mask (4 more input channels).
    learned_variance : bool
    window : int
        Side in px of the fields the model restores at once; larger ones are tiled.
    fast_steps : int
        Network calls of the preset `fast`, chosen by measurement.
    sampler : str
        Sampler of the preset `fast`.
    sha256 : str
        Of all weight shards in the order of their names; empty until saved.
    card : dict
        Data, licence, command, time and figures, as the model card states them.
    """

    method: str
    arch: str
    prediction: PredictionType = "x0"
    schedule: str = "cosine"
    steps: int = 1000
    mpp: float = 0.5
    channels: int = 3
    context: bool = True
    learned_variance: bool = False
    window: int = 256
    fast_steps: int = 12
    sampler: str = "ddim"
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def noise_schedule(self) -> Schedule:
        """Return the schedule the model was trained with."""
        return named(self.schedule, self.steps)

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return arch_named(self.arch).build(
            self.channels + (self.channels + 1 if self.context else 0),
            self.channels * (2 if self.learned_variance else 1),
        )


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Parameters
    ----------
    name : str
        As the user gave it.
    config : ModelConfig
    denoiser : Denoiser
        The network in evaluation mode on its device, wrapped.
    device : torch.device
    """

    name: str
    config: ModelConfig
    denoiser: Denoiser
    device: torch.device

    def record(self) -> dict[str, Any]:
        """Return what the ledger says of the model."""
        kept = ("method", "arch", "prediction", "schedule", "steps", "mpp", "sha256", "card")
        return {"name": self.name, **{key: getattr(self.config, key) for key in kept}}


def bundled() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(p.parent.name for p in WEIGHTS.glob(f"*/{CONFIG}"))


def locate(name_or_folder: str | Path) -> Path:
    """Return the folder of a bundled model or of the user's own.

    Raises
    ------
    ModelNotFoundError
        If it is neither.
    UnsafeWeightsError
        If a pickle (.pt, .pth, .ckpt, .bin) is named.
    """
    own = Path(name_or_folder)
    if own.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"}:
        raise UnsafeWeightsError(
            f"{own} is a pickle, which can run any code when it is opened. Histomend opens "
            "safetensors only. Convert it with safetensors.torch.save_file and name the folder."
        )
    if (WEIGHTS / str(name_or_folder) / CONFIG).is_file():
        return WEIGHTS / str(name_or_folder)
    if (own / CONFIG).is_file():
        return own
    if own.is_dir():
        raise ModelNotFoundError(
            f"The folder {own} holds no {CONFIG}, so it is not a model. Name the folder that "
            "`histomend train` wrote (RUN/model), or one downloaded from the hub."
        )
    raise ModelNotFoundError(
        f"No model is called {name_or_folder!r}: there is no such folder, and the bundled models "
        f"are {', '.join(bundled()) or 'none'}."
    )


def read_config(folder: Path) -> ModelConfig:
    """Return the config of the model in `folder`.

    Raises
    ------
    WeightsError
        If the file is damaged or of another schema.
    """
    path = folder / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise WeightsError(
                f"{path} has schema_version {version}; this Histomend reads {SCHEMA_VERSION}. "
                "Update Histomend, or train the model again."
            )
        config = ModelConfig(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a model config ({error}). Restore the file from where it came, or "
            "train the model again."
        ) from error
    _check_config(config, path)
    return config


def _check_config(config: ModelConfig, path: Path) -> None:
    """Raise a WeightsError if a field has a value that no model can have."""
    positive = ("steps", "channels", "window", "fast_steps", "mpp")
    wrong = [
        key
        for key, default in asdict(ModelConfig("", "")).items()
        if type(getattr(config, key)) is not type(default)
        and not (key == "mpp" and type(config.mpp) is int)
    ]
    if not wrong:
        wrong = [key for key in positive if not 0 < getattr(config, key) < float("inf")]
    if not wrong:
        known = {
            "arch": ARCHS,
            "prediction": get_args(PredictionType),
            "schedule": SCHEDULES,
            "sampler": SAMPLERS,
        }
        wrong = [key for key, choices in known.items() if getattr(config, key) not in choices]
    if wrong:
        raise WeightsError(
            f"{path} says {wrong[0]}={getattr(config, wrong[0])!r}, which this Histomend cannot "
            "use. The file is damaged or from a newer version: copy it again, or update."
        )


def shards(folder: Path) -> list[Path]:
    """Return the weight files of a model in the order of their names.

    Raises
    ------
    UnsafeWeightsError
        If there are only pickles, whatever they are called.
    WeightsError
        If there are none.
    """
    found = sorted(folder.glob("model*.safetensors"))
    for path in found:
        if _is_pickle(path):
            raise UnsafeWeightsError(
                f"{path} is a pickle with the name of a safetensors file. A pickle can run any "
                "code when it is opened. Do not trust the place it came from."
            )
    if found:
        return found
    pickles = [p.name for s in ("*.pt", "*.pth", "*.bin", "*.ckpt") for p in folder.glob(s)]
    if pickles:
        raise UnsafeWeightsError(
            f"{folder} holds {pickles[0]}, a pickle, in place of model.safetensors. A pickle can "
            "run any code when it is opened. Ask for safetensors, or convert it yourself."
        )
    raise WeightsError(f"{folder} holds no model.safetensors. Copy or download it again.")


def _is_pickle(path: Path) -> bool:
    """Return whether a file starts as torch.save or pickle.dump would start it."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Copy or download the model again."
        ) from error
    # Safetensors begin with the length of their header (8 bytes) and its opening brace.
    return start[8:] != b"{" and start.startswith((b"PK\x03\x04", b"\x80"))


def weights_sha256(files: list[Path]) -> str:
    """Return the sha256 over the bytes of all files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a model's shards.

    Raises
    ------
    WeightsError
        If a shard is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in shards(folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path} is damaged or not a safetensors file ({error}). Copy or download it again."
            ) from error
    return tensors


def load_model(name_or_folder: str | Path, device: str = "auto") -> Model:
    """Load a model for inference.

    Parameters
    ----------
    name_or_folder : str or Path
        A bundled name (`bundled()`) or a folder of safetensors and config.
    device : "auto", "cpu", "cuda", "cuda:1", "mps"

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        If the hash is not the config's, or tensors are missing or of another shape.
    DeviceError
        If the device is not there.
    """
    from histomend.diffusion.device import torch_device

    where = torch_device(device)
    folder = locate(name_or_folder)
    config = read_config(folder)
    found = weights_sha256(shards(folder))
    if found != config.sha256:
        raise WeightsError(
            f"The weights in {folder} have sha256 {found[:12]}…, but their config says "
            f"{config.sha256[:12] or 'nothing'}…. They are damaged or were exchanged: copy or "
            "download the model again."
        )
    network = config.network()
    tensors = load_weights(folder)
    fill(network, tensors, str(folder))
    network.eval().requires_grad_(False).to(where)
    denoiser = Denoiser(network, config.noise_schedule(), config.prediction)
    return Model(str(name_or_folder), config, denoiser, where)


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put `tensors` (of any float type) into `network`.

    Raises
    ------
    WeightsError
        If tensors are missing, unknown, or of another shape; the first is named.
    """
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise WeightsError(f"{source} lacks the tensor {name}. It is of another arch.")
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"In {source} the tensor {name} has shape {tuple(tensors[name].shape)} and not "
                f"{tuple(tensor.shape)}. It is of another arch than its config says."
            )
    extra = sorted(set(tensors) - set(own))
    if extra:
        raise WeightsError(f"{source} has a tensor {extra[0]} that its arch does not know.")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})


def save_model(
    folder: Path,
    network_state: dict[str, Tensor],
    config: ModelConfig,
    *,
    half: bool = False,
    shard_bytes: int | None = None,
) -> ModelConfig:
    """Write weights and config to `folder`, and return the config with its hash.

    Parameters
    ----------
    half : bool
        Store in fp16.
    shard_bytes : int, optional
        Largest size of one file; a single tensor is never split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    groups = list(_sharded(network_state, half, shard_bytes))
    for number, group in enumerate(groups, 1):
        whole = len(groups) == 1
        name = (
            "model.safetensors" if whole else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        )
        save_file(group, folder / name)
    config = ModelConfig(**{**asdict(config), "sha256": weights_sha256(shards(folder))})
    text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(config)}, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    return config


def _sharded(
    state: dict[str, Tensor], half: bool, limit: int | None
) -> Iterator[dict[str, Tensor]]:
    group: dict[str, Tensor] = {}
    size = 0
    for name, tensor in state.items():
        kept = tensor.detach().cpu().contiguous().clone()
        if half and kept.is_floating_point():
            kept = kept.half()
        if limit is not None and group and size + kept.nbytes > limit:
            yield group
            group, size = {}, 0
        group[name] = kept
        size += kept.nbytes
    yield group
