"""The denoiser of LatentArtiFusion: diffusers' `UNet2DModel`, callable as our networks are."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from histomend.networks.padding import padded


def latent_unet(
    in_channels: int,
    out_channels: int,
    channels: tuple[int, ...],
    attention: tuple[bool, ...],
    head_channels: int = 8,
) -> nn.Module:
    """Return diffusers' `UNet2DModel` with fresh weights, two residual blocks per level.

    It is called as network(x, t) -> (B, out_channels, H, W), for x (B, in_channels, H, W) of any
    size, at times t (B,) of our schedule. Its tensors have the names that diffusers gives them.

    Parameters
    ----------
    in_channels, out_channels : int
    channels : width of each level, in multiples of 32, the groups of the norms
    attention : whether each level has self-attention, from the finest down
    head_channels : int
        Channels of one attention head.
    """
    return _network()(
        in_channels=in_channels,
        out_channels=out_channels,
        layers_per_block=2,
        block_out_channels=channels,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        attention_head_dim=head_channels,
    )


def encoded(network: Any, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run the first half of such a network, or of a branch that is like it.

    Parameters
    ----------
    network : module with time_proj, time_embedding, conv_in, down_blocks and mid_block
    x : (B, in_channels, H, W)
        H and W must be multiples of what the levels divide them by.
    t : (B,)

    Returns
    -------
    middle : (B, C, h, w)
    skips : what the second half takes up again, from the finest on
    embedding : (B, D)
        Of t.
    """
    # diffusers counts the times from 0, where ours is the clean image.
    embedding = network.time_embedding(network.time_proj(t - 1).to(x.dtype))
    h = network.conv_in(x)
    skips = [h]
    for block in network.down_blocks:
        h, more = block(hidden_states=h, temb=embedding)
        skips += more
    return network.mid_block(h, embedding), skips, embedding


def decoded(network: Any, middle: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
    """Run the second half of such a network on what `encoded` returned."""
    h = middle
    for block in network.up_blocks:
        count = len(block.resnets)
        h = block(h, tuple(skips[-count:]), embedding)
        skips = skips[:-count]
    return network.conv_out(network.conv_act(network.conv_norm_out(h)))


@lru_cache(maxsize=1)
def _network() -> Any:
    with warnings.catch_warnings():
        # Its dependencies warn of their own future while they are imported.
        warnings.simplefilter("ignore")
        from diffusers import UNet2DModel

    class LatentUNet(UNet2DModel):  # type: ignore[misc]
        """A subclass, not a wrapper, so that no tensor gets another name."""

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            height, width = x.shape[-2:]
            x = padded(x, 1 << (len(self.config.block_out_channels) - 1))
            # diffusers counts the times from 0, where ours is the clean image.
            return super().forward(x, t - 1).sample[..., :height, :width]

    return LatentUNet
