"""Stable Diffusion in diffusers' own folder format, as the prior of an upscaler."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.schedule import Schedule, linear, scaled_linear
from histomend.diffusion.space import LatentSpace
from histomend.errors import MissingDependencyError, ModelMismatchError, WeightsError
from histomend.image.regular_files import MOST_SETTINGS, read_text
from histomend.models.hub import download, is_hub_name
from histomend.models.part import CONFIG
from histomend.models.vae import VAE, WEIGHT_FILE, load_vae, vae_facts
from histomend.models.weights import read_tensors, weights_sha256
from histomend.networks.stable_diffusion import (
    ControlledStableDiffusion,
    controlnet_for,
    load_controlnet,
)

UNET, SCHEDULER, TEXT_ENCODER, TOKENIZER = "unet", "scheduler", "text_encoder", "tokenizer"
INDEX = "model_index.json"
PROMPT = "prompt.safetensors"
"""The text embedding of the blank prompt, stored where there is no text encoder."""
_PREDICTIONS: dict[str, PredictionType] = {
    "epsilon": "epsilon",
    "v_prediction": "v",
    "sample": "x0",
}
_PATTERNS = (
    "*.json",
    f"{TOKENIZER}/*",
    f"{TEXT_ENCODER}/model.safetensors",
    f"{UNET}/{WEIGHT_FILE}",
    f"{VAE}/{WEIGHT_FILE}",
    PROMPT,
)
_SCHEDULES = {"linear": linear, "scaled_linear": scaled_linear}


@dataclass(frozen=True)
class StableDiffusion:
    """A frozen Stable Diffusion with the blank prompt; see `LatentPrior` for the rest."""

    network: Any
    prompt: Tensor
    space: LatentSpace
    schedule: Schedule
    prediction: PredictionType
    channels: int
    window: int
    sha256: str
    vae_sha256: str
    arch: str = "stable-diffusion"

    def branch(self) -> nn.Module:
        """Return the ControlNet with which a training starts."""
        return controlnet_for(self.network)

    def controlled(self, branch: nn.Module) -> nn.Module:
        """Return U-Net and ControlNet as one network, called as network(cat(z_t, control), t)."""
        return ControlledStableDiffusion(self.network, branch, self.prompt)

    def save_branch(self, folder: Path, branch: Any) -> None:
        """Write a ControlNet in diffusers' format, and the blank prompt beside it."""
        branch.save_pretrained(folder)
        save_file({"prompt": self.prompt.cpu().contiguous()}, folder / PROMPT)

    def load_branch(self, folder: Path) -> nn.Module:
        """Return the ControlNet in a folder.

        Raises
        ------
        WeightsError
            If it is damaged.
        ModelMismatchError
            If it does not fit the U-Net.
        """
        try:
            net, missing = load_controlnet(folder)
        except Exception as error:  # Whatever the other package makes of a damaged file.
            raise WeightsError(
                f"The ControlNet in {folder} cannot be loaded ({error}). Copy or download it again."
            ) from error
        if missing:
            raise WeightsError(
                f"The ControlNet in {folder} lacks the tensor {missing[0]}. Copy or download it "
                "again."
            )
        wanted = {"in_channels": 2 * self.channels}
        keys = ("block_out_channels", "cross_attention_dim", "layers_per_block")
        wanted |= {key: getattr(self.network.config, key) for key in keys}
        for key, ours in wanted.items():
            theirs = getattr(net.config, key)
            if _plain(theirs) != _plain(ours):
                raise ModelMismatchError(
                    f"The ControlNet in {folder} has {key}={_plain(theirs)}, and the U-Net of this "
                    f"Stable Diffusion needs {_plain(ours)}. It was trained for another one: name "
                    "that with --prior, or train a ControlNet for this one."
                )
        return net

    def branch_sha256(self, folder: Path) -> str:
        """Return the hash of the ControlNet in a folder."""
        return _sha256(folder)


def is_pipeline(name_or_folder: str | Path) -> bool:
    """Return whether this is Stable Diffusion in diffusers' format, in a folder or on the hub."""
    place = Path(name_or_folder)
    if is_hub_name(name_or_folder):
        # The small files are enough to tell.
        place = download(str(name_or_folder), "prior", ["*.json"])
    return (place / INDEX).is_file() or (place / UNET / CONFIG).is_file()


def load_pipeline(
    name_or_folder: str | Path, device: str | torch.device = "cpu"
) -> StableDiffusion:
    """Load U-Net, autoencoder, noise schedule and blank prompt, in fp32.

    Parameters
    ----------
    name_or_folder : str or Path
        A folder, or OWNER/NAME on the Hugging Face hub. `text_encoder` and `tokenizer` may be
        absent if the embedding of the blank prompt lies there as `prompt.safetensors`.

    Raises
    ------
    ModelNotFoundError, WeightsError, UnsafeWeightsError
    ModelMismatchError
        Its noise schedule is none that is known here.
    MissingDependencyError
        The prompt must be embedded, and transformers is not installed.
    """
    place = Path(name_or_folder)
    if is_hub_name(name_or_folder):
        place = download(str(name_or_folder), "Stable Diffusion", _PATTERNS)
    schedule, prediction = _noise(place / SCHEDULER / "scheduler_config.json")
    facts = vae_facts(place / VAE)
    sha256 = _sha256(place / UNET)
    unet = _unet(place / UNET)
    if unet.config.in_channels != facts.channels:
        raise ModelMismatchError(
            f"In {place} the U-Net works on {unet.config.in_channels} channels and the autoencoder "
            f"gives {facts.channels}. They do not belong together: copy both from one place."
        )
    prompt = blank_prompt(place)
    if prompt.shape[-1] != unet.config.cross_attention_dim:
        raise ModelMismatchError(
            f"In {place} the text embedding is {prompt.shape[-1]} wide, and the U-Net needs "
            f"{unet.config.cross_attention_dim}. They do not belong together."
        )
    return StableDiffusion(
        network=unet.eval().requires_grad_(False).to(device),
        prompt=prompt.to(device),
        space=LatentSpace(load_vae(place / VAE, device)),
        schedule=schedule,
        prediction=prediction,
        channels=facts.channels,
        window=facts.factor * (unet.config.sample_size or 64),
        sha256=sha256,
        vae_sha256=facts.sha256,
    )


def blank_prompt(place: Path) -> Tensor:
    """Return the text embedding of the blank prompt, (1, tokens, D).

    Raises
    ------
    WeightsError
        There is neither an embedding nor a text encoder, or it is damaged.
    MissingDependencyError
        transformers is not installed.
    """
    stored = place / PROMPT
    if stored.is_file():
        try:
            return read_tensors(stored)["prompt"].float()
        except (WeightsError, KeyError) as error:
            raise WeightsError(
                f"{stored} holds no text embedding ({error}). Copy it again."
            ) from error
    if not (place / TEXT_ENCODER).is_dir() or not (place / TOKENIZER).is_dir():
        raise WeightsError(
            f"{place} has no folders {TEXT_ENCODER} and {TOKENIZER}, which give the embedding of "
            f"the blank prompt, and no {PROMPT} with it. Download the whole pipeline."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise MissingDependencyError(
            "To embed the blank prompt of Stable Diffusion transformers is needed: "
            "pip install transformers"
        ) from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(place / TOKENIZER, local_files_only=True)
        encoder = CLIPTextModel.from_pretrained(
            place / TEXT_ENCODER, local_files_only=True, use_safetensors=True
        )
        tokens = tokenizer(
            "", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            return encoder(tokens.input_ids).last_hidden_state.float().clone()
    except Exception as error:  # Whatever the other package makes of damaged files.
        raise WeightsError(
            f"The text encoder in {place} cannot be used ({error}). Copy or download it again."
        ) from error


def _noise(path: Path) -> tuple[Schedule, PredictionType]:
    try:
        told = json.loads(read_text(path, MOST_SETTINGS, WeightsError, "a config"))
        prediction = _PREDICTIONS[told.get("prediction_type", "epsilon")]
        make = _SCHEDULES[told["beta_schedule"]]
        steps = int(told["num_train_timesteps"])
        schedule = make(steps, float(told["beta_start"]), float(told["beta_end"]))
    except (
        ValueError, TypeError, AttributeError, RecursionError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{path} is not the config of a scheduler ({error!r}). Copy or download it again."
        ) from error
    except KeyError as error:
        raise ModelMismatchError(
            f"{path} lacks {error} or has it for a value. Schedules with linear or scaled_linear "
            "betas and networks that predict epsilon, v_prediction or sample can be used."
        ) from error
    if steps < 1 or not math.isfinite(float(schedule.sigma.sum())):
        raise WeightsError(f"{path} describes no noise schedule. Copy or download it again.")
    return schedule, prediction


def _sha256(folder: Path) -> str:
    path = folder / WEIGHT_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} holds no {WEIGHT_FILE}. Download the model again, as safetensors; pickles "
            "(.bin) are not opened."
        )
    return weights_sha256([path])


def _unet(folder: Path) -> Any:
    with warnings.catch_warnings():
        # Its dependencies warn of their own future while they are imported.
        warnings.simplefilter("ignore")
        from diffusers import UNet2DConditionModel

        try:
            unet, told = UNet2DConditionModel.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # Whatever the other package makes of a damaged file.
            raise WeightsError(
                f"The U-Net in {folder} cannot be loaded ({error}). Copy or download it again."
            ) from error
    if told["missing_keys"]:
        raise WeightsError(
            f"The U-Net in {folder} lacks the tensor {told['missing_keys'][0]}. Copy or download "
            "it again."
        )
    return unet


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
