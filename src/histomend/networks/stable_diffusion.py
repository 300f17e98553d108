"""Histo-Diffusion's controllable diffusion as in the paper: Stable Diffusion with a ControlNet.

Both networks are those of diffusers. The ControlNet differs from its usual one in what it sees: no
picture through layers of its own, but the control latent beside z_t (section 3.2, after DiffBIR).
"""

from __future__ import annotations

import warnings
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histomend.networks.control import widened

# Of Stable Diffusion 2.1-base; everything else is what diffusers takes by default.
PAPER_UNET: dict[str, Any] = {
    "sample_size": 64,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}


class ControlledStableDiffusion(nn.Module):
    """A frozen U-Net and its ControlNet as one network, called as network(cat(z_t, control), t).

    Parameters
    ----------
    unet : UNet2DConditionModel
    controlnet : module that `controlnet_for` made
    prompt : (1, tokens, D)
        The text embedding of the blank prompt.
    """

    def __init__(self, unet: Any, controlnet: nn.Module, prompt: Tensor):
        super().__init__()
        self.unet, self.controlnet = unet, controlnet
        self.register_buffer("prompt", prompt, persistent=False)

    def forward(self, entry: Tensor, t: Tensor) -> Tensor:
        """Return the U-Net's prediction (B, C, H, W) for (B, 2 C, H, W).

        H and W must be multiples of what the levels divide them by: 8 for Stable Diffusion.
        """
        x = entry[:, : self.unet.config.in_channels]
        prompt = self.prompt.expand(len(x), -1, -1)  # type: ignore[operator]
        # diffusers counts the times from 0, where ours is the clean image.
        skips, middle = self.controlnet(
            entry, t - 1, prompt, controlnet_cond=entry, return_dict=False
        )
        return self.unet(
            x,
            t - 1,
            prompt,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample


def paper_unet() -> Any:
    """Return the U-Net of Stable Diffusion 2.1-base with fresh weights: 865,910,724 parameters."""
    with warnings.catch_warnings():
        # Its dependencies warn of their own future while they are imported.
        warnings.simplefilter("ignore")
        from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**PAPER_UNET)


def controlnet_for(unet: Any) -> Any:
    """Return the ControlNet with which the training of a U-Net starts.

    Encoder and middle block are copies of the U-Net's; its first convolution also takes the
    control, with weights that start at zero.
    """
    kind = control_net()
    net = kind.from_unet(unet, load_weights_from_unet=True)
    net.conv_in = widened(unet.conv_in, unet.config.in_channels)
    net.register_to_config(in_channels=net.conv_in.in_channels)
    return net.requires_grad_(True)


def load_controlnet(folder: Path) -> tuple[Any, list[str]]:
    """Return the ControlNet that was saved in diffusers' format, in fp32, and what it lacks.

    Raises
    ------
    Exception
        Whatever diffusers makes of a folder that is damaged.
    """
    net, told = control_net().from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        torch_dtype=torch.float32,
        output_loading_info=True,
    )
    return net, sorted(told["missing_keys"])


@lru_cache(maxsize=1)
def control_net() -> Any:
    """Return the class of such ControlNets, a child of diffusers' `ControlNetModel`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import ControlNetModel

    class _Nothing(nn.Module):
        """Stands where a picture would be seen; adds nothing, and has no weights."""

        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(())

    class LatentControlNet(ControlNetModel):  # type: ignore[misc]
        # diffusers reads the settings of a saved network off this signature.
        @wraps(ControlNetModel.__init__)  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any):
            super().__init__(*args, **settings)
            self.controlnet_cond_embedding = _Nothing()

    return LatentControlNet
