"""Weight files: safetensors in one or several shards, read with suspicion."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from histomend.errors import OutputError, UnsafeWeightsError, WeightsError, utf8
from histomend.image.regular_files import check_regular_file

WEIGHTS_FILE = "model.safetensors"
"""Of a model in one file."""


def shards(folder: Path) -> list[Path]:
    """Return the weight files of a model in the order of their names.

    Raises
    ------
    UnsafeWeightsError
        If there are only pickles, whatever they are called.
    WeightsError
        If there are none.
    """
    return no_pickle(sorted(folder.glob("model*.safetensors")), folder, WEIGHTS_FILE)


def no_pickle(found: list[Path], folder: Path, name: str) -> list[Path]:
    """Return weight files as they are, if there are some and none is a pickle.

    Parameters
    ----------
    found : list of Path
    folder : Path
        Where they were looked for.
    name : str
        What they should be called, for messages.

    Raises
    ------
    UnsafeWeightsError, WeightsError
        See `shards`.
    """
    for path in found:
        if is_pickle(path):
            raise UnsafeWeightsError(
                f"{path} is a pickle with the name of a safetensors file. A pickle can run any "
                "code when it is opened. Do not trust the place it came from."
            )
    if found:
        return found
    pickles = [p.name for s in ("*.pt", "*.pth", "*.bin", "*.ckpt") for p in folder.glob(s)]
    if pickles:
        raise UnsafeWeightsError(
            f"{folder} holds {pickles[0]}, a pickle, in place of {name}. A pickle can run any code "
            "when it is opened. Ask for safetensors, or convert it yourself."
        )
    raise WeightsError(f"{folder} holds no {name}. Copy or download the model again.")


def is_pickle(path: Path) -> bool:
    """Return whether a file starts as torch.save or pickle.dump would start it.

    Raises
    ------
    WeightsError
        It is no regular file, or may not be read.
    """
    if path.exists():
        check_regular_file(path, WeightsError, "a weights")
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


def check_weights(folder: Path, expected: str, what: str, *, who: str = "its config says") -> None:
    """Check that the weights in `folder` are those that were written beside their config.

    Parameters
    ----------
    expected : str
        Their sha256.
    what, who : str
        What they are and who expects them, for the message: "The encoder", "its config says".

    Raises
    ------
    WeightsError
        If they are others, or there are none.
    UnsafeWeightsError
        If there are only pickles.
    """
    found = weights_sha256(shards(folder))
    if found != expected:
        raise WeightsError(
            f"{what} in {folder} has sha256 {found[:12]}…, but {who} "
            f"{expected[:12] or 'nothing'}…. It is damaged or was exchanged: copy or download the "
            "model again."
        )


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of a model's shards.

    Raises
    ------
    WeightsError
        If a shard is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in shards(folder):
        tensors |= read_tensors(path)
    return tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises
    ------
    WeightsError
        If it is damaged, or cannot be read.
    """
    try:
        if os.fsencode(path) == utf8(path):
            return load_file(path)
        return load(path.read_bytes())  # the library opens no other names
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is damaged or not a safetensors file ({error}). Copy or download it again."
        ) from error


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Put `tensors` (of any float type) into `network`.

    Raises
    ------
    WeightsError
        If tensors are missing, unknown, of another shape, or no numbers; the first is named.
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
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"In {source} the tensor {name} holds NaN or infinity: the training diverged, or "
                "the file is damaged. Take an earlier state, or copy it again."
            )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})


def save_shards(
    folder: Path, state: dict[str, Tensor], *, half: bool, shard_bytes: int | None = None
) -> str:
    """Write tensors to `folder`, in place of the shards that are there; return their sha256.

    Parameters
    ----------
    half : bool
        Store in fp16.
    shard_bytes : int, optional
        Largest size of one file; a single tensor is never split.
    """
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    groups = list(_sharded(state, half, shard_bytes))
    for number, group in enumerate(groups, 1):
        whole = len(groups) == 1
        name = WEIGHTS_FILE if whole else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        save_tensors(group, folder / name)
    return weights_sha256(shards(folder))


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises
    ------
    OutputError
    """
    try:
        save_file(tensors, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path}: cannot be written ({error}). Check the permissions and the space of the disk."
        ) from error


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
