"""A kind of weights in a folder, config.json and safetensors, read with suspicion."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args, get_origin
from typing import get_type_hints as hints_of

import torch
from torch import Tensor, nn

from histomend.errors import ModelNotFoundError, WeightsError
from histomend.image.regular_files import MOST_SETTINGS, read_text
from histomend.models.weights import check_weights, fill, load_weights, save_shards, shards

CONFIG = "config.json"
SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


class Settings(Protocol):
    """A frozen dataclass of values that JSON holds, as it lies beside weights."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def wrong(self) -> Iterable[str]:
        """Return the fields whose values cannot be, though their types are right."""


class Config(Settings, Protocol):
    """What the weights of a network were made for."""

    @property
    def sha256(self) -> str:
        """Of the weights; empty until saved."""

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""


S = TypeVar("S", bound=Settings)
C = TypeVar("C", bound=Config)


def read_settings(folder: Path, kind: type[S], name: str, made_by: str) -> S:
    """Return what the config.json in a folder says.

    Parameters
    ----------
    kind : type
        The dataclass that it holds.
    name, made_by : str
        What it describes and what writes it, for messages: "a calibrator".

    Raises
    ------
    ModelNotFoundError
        There is none.
    WeightsError
        It is damaged, of another schema, or has a value that cannot be.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelNotFoundError(
            f"{folder} holds no {name.partition(' ')[2]}: there is no {CONFIG} in it. Name a "
            f"folder (RUN/model) that {made_by} wrote."
        )
    try:
        values = json.loads(read_text(path, MOST_SETTINGS, WeightsError, "a config"))
        version = values.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise WeightsError(
                f"{path} has schema_version {version}; this Histomend reads {SCHEMA_VERSION}. "
                "Update Histomend, or train the model again."
            )
        settings = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not the config of {name} ({error}). Restore the file from where it came, "
            "or train the model again."
        ) from error
    wrong = [*_of_wrong_type(settings)] or [*settings.wrong()]
    if wrong:
        raise WeightsError(
            f"{path} says {wrong[0]}={getattr(settings, wrong[0])!r}, which this Histomend cannot "
            "use. The file is damaged or from a newer version: copy it again, or update."
        )
    return settings


@dataclass(frozen=True)
class Part(Generic[C]):
    """A kind of weights.

    Parameters
    ----------
    config : type
        Of its settings.
    name, made_by : str
        See `read_settings`.
    """

    config: type[C]
    name: str
    made_by: str

    def read(self, folder: Path) -> C:
        """Return the config in a folder; see `read_settings`."""
        return read_settings(folder, self.config, self.name, self.made_by)

    def check(self, folder: Path, expected: str, *, who: str = "its config says") -> None:
        """Check the hash of the weights in a folder; see `check_weights`."""
        what = f"The {self.name.partition(' ')[2]}"
        check_weights(folder, expected, what, who=who)

    def load(self, folder: Path, device: str | torch.device = "cpu") -> tuple[C, nn.Module]:
        """Return the config, and the network in evaluation mode on its device.

        Raises
        ------
        ModelNotFoundError, UnsafeWeightsError
        WeightsError
            Config or weights are damaged, or do not belong together.
        """
        config = self.read(folder)
        self.check(folder, config.sha256)
        network = config.network()
        fill(network, load_weights(folder), str(folder))
        _log.debug("loaded %s from %s onto %s", self.name.partition(" ")[2], folder, device)
        return config, network.eval().requires_grad_(False).to(device)

    def save(
        self,
        folder: Path,
        state: dict[str, Tensor],
        config: C,
        *,
        half: bool = False,
        shard_bytes: int | None = None,
    ) -> C:
        """Write weights and config to a folder, and return the config with its hash.

        Parameters
        ----------
        half : bool
            Store in fp16.
        shard_bytes : int, optional
            Largest size of one file; a single tensor is never split.
        """
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = save_shards(folder, state, half=half, shard_bytes=shard_bytes)
        config = replace(config, sha256=sha256)
        write_config(folder, config)
        return config

    def copy(self, source: Path, target: Path) -> None:
        """Copy config and weights, unless they are there already."""
        copy_files([source / CONFIG, *shards(source)], target)


def copy_files(files: Iterable[Path], target: Path) -> None:
    """Copy files into a folder, unless they are there already."""
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        copy = target / path.name
        if not copy.exists() or not copy.samefile(path):
            shutil.copyfile(path, copy)


def write_config(folder: Path, config: Any) -> None:
    """Write the settings of a model, a dataclass that a `Part` reads, to a folder."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(config)}, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def told_in(folder: Path) -> dict[str, Any]:
    """Return what the config in a folder says, unchecked; nothing where there is none."""
    try:
        told = json.loads(read_text(folder / CONFIG, MOST_SETTINGS, WeightsError, "a config"))
    except (WeightsError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _of_wrong_type(config: Any) -> Iterable[str]:
    hints = hints_of(type(config))
    for field in fields(config):
        if not _is_a(getattr(config, field.name), hints[field.name]):
            yield field.name


def _is_a(value: Any, hint: Any) -> bool:
    """Tell whether a value of JSON is of a type; what it holds, too."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind is Literal:
        return type(value) is str and value in inner
    if kind is float:  # JSON writes one that is whole as an integer; a bool or NaN is none
        return type(value) in (float, int) and abs(value) < 1e300
    if type(value) is not kind:
        return False
    held = value.values() if kind is dict else value if inner else ()
    return all(_is_a(each, inner[-1]) for each in held)
