"""SwinIR (Liang et al. 2021), as the restoration module and as a published upscaler."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn, tensor

from histomend.errors import SettingError
from histomend.networks.padding import padded
from histomend.networks.swin import SwinBlock

# Of the photographs that the published networks were trained on; their weights expect it.
RGB_MEAN = (0.4488, 0.4371, 0.4040)

# They start as the identity (`skip`), as the hours of a CPU are too few to learn it.
_SMALL: dict[str, Any] = {
    "channels": 64,
    "depths": (4, 4, 4, 4),
    "heads": 4,
    "tail": 24,
    "drop_path": 0.0,
    "skip": True,
}
SWINIR_ARCHS: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {**_SMALL, "unshuffle": 4},
    "small-coarse": {**_SMALL, "unshuffle": 8},
}

# Published name, ours; in the order in which they are exchanged.
_RENAMED = (
    ("conv_first.1.", "conv_first."),
    ("patch_embed.norm.", "embed_norm."),
    (".residual_group.blocks.", ".blocks."),
    (".attn.", ".attention."),
    (".relative_position_bias_table", ".bias_table"),
    (".mlp.fc1.", ".mlp.0."),
    (".mlp.fc2.", ".mlp.2."),
    ("conv_before_upsample.0.", "conv_before_up."),
    ("conv_up1.", "conv_up.0."),
    ("conv_up2.", "conv_up.1."),
    ("conv_up3.", "conv_up.2."),
)
# Published files also hold these, which follow from the sizes.
_IMPLIED = (".relative_position_index", ".attn_mask")


class ResidualGroup(nn.Module):
    """Swin blocks, every other one shifted, and convolutions, with a residual (section 3.2)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int,
        mlp_ratio: float,
        drop_path: list[float],
        bottleneck: bool,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                heads,
                window,
                shift=window // 2 if number % 2 else 0,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
            )
            for number, rate in enumerate(drop_path)
        )
        self.conv = closing(channels, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, H, W, C) for x of the same shape."""
        h = x
        for block in self.blocks:
            h = block(h)
        return x + self.conv(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinIR(nn.Module):
    """Swin transformer for image restoration, with nearest upsampling and convolutions at its end.

    The defaults are the restoration module of Histo-Diffusion (section 3.1), with 15,792,587
    parameters: 8×8 pixels are one token, and the image comes out in its own size.

    Parameters
    ----------
    channels : int
        Width of the tokens.
    depths : Swin blocks per residual group
    heads : int
    window : int
        Tokens per window along a side.
    unshuffle : 1, 2, 4 or 8
        Pixels per token along a side.
    scale : int
        How many times larger the output is, each way; a power of two.
    tail : int
        Channels of the convolutions that lead back to pixels.
    drop_path : float
        Stochastic depth of the last block; it grows linearly from 0.
    bottleneck : bool
        Three convolutions in place of one at the end of each group ("3conv"; the large network).
    skip : bool
        Whether the output is a change of the input, none at first; only at scale 1.

    Raises
    ------
    SettingError
        A change of the input was asked for at another scale than 1.
    """

    def __init__(
        self,
        channels: int = 180,
        depths: tuple[int, ...] = (6,) * 8,
        heads: int = 6,
        window: int = 8,
        mlp_ratio: float = 2.0,
        unshuffle: int = 8,
        scale: int = 1,
        tail: int = 64,
        drop_path: float = 0.1,
        bottleneck: bool = False,
        skip: bool = False,
    ):
        super().__init__()
        if skip and scale != 1:
            raise SettingError(f"An image {scale} times larger is not a change of the input.")
        self.unshuffle, self.scale, self.skip = unshuffle, scale, skip
        # The deep features must fill whole windows, so that no token is made up.
        self.unit = unshuffle * window
        self.register_buffer("mean", tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.embed_norm = nn.LayerNorm(channels)
        blocks = sum(depths)
        rates = [drop_path * k / max(1, blocks - 1) for k in range(blocks)]
        self.layers = nn.ModuleList()
        for depth in depths:
            own, rates = rates[:depth], rates[depth:]
            self.layers.append(ResidualGroup(channels, heads, window, mlp_ratio, own, bottleneck))
        self.norm = nn.LayerNorm(channels)
        self.conv_after_body = closing(channels, bottleneck)
        self.conv_before_up = nn.Conv2d(channels, tail, 3, padding=1)
        doublings = (unshuffle * scale).bit_length() - 1
        self.conv_up = nn.ModuleList(nn.Conv2d(tail, tail, 3, padding=1) for _ in range(doublings))
        self.conv_hr = nn.Conv2d(tail, tail, 3, padding=1)
        self.conv_last = nn.Conv2d(tail, 3, 3, padding=1)
        self.apply(_start)
        if skip:
            nn.init.zeros_(self.conv_last.weight)
            nn.init.zeros_(self.conv_last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the image (B, 3, scale H, scale W) for x (B, 3, H, W), both in [0, 1].

        The output is not clipped. H and W are free: x is padded by reflection to whole windows,
        and cropped after.
        """
        height, width = x.shape[-2:]
        mean: Tensor = self.mean  # type: ignore[assignment]
        x = padded(x, self.unit)
        shallow = self.conv_first(F.pixel_unshuffle(x - mean, self.unshuffle))
        deep = self.embed_norm(shallow.permute(0, 2, 3, 1))
        for group in self.layers:
            deep = group(deep)
        h = shallow + self.conv_after_body(self.norm(deep).permute(0, 3, 1, 2))
        h = F.leaky_relu(self.conv_before_up(h), 0.01)
        for conv in self.conv_up:
            h = F.leaky_relu(conv(F.interpolate(h, scale_factor=2.0, mode="nearest")), 0.2)
        h = self.conv_last(F.leaky_relu(self.conv_hr(h), 0.2))
        h = h + (x if self.skip else mean)
        return h[..., : self.scale * height, : self.scale * width]


def closing(channels: int, bottleneck: bool) -> nn.Module:
    """Return what ends a group of blocks: one convolution, or three through a quarter of width."""
    if not bottleneck:
        return nn.Conv2d(channels, channels, 3, padding=1)
    narrow = channels // 4
    return nn.Sequential(
        nn.Conv2d(channels, narrow, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, narrow, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(narrow, channels, 3, padding=1),
    )


def build_swinir(arch: str) -> SwinIR:
    """Return a restoration module with fresh weights.

    Raises
    ------
    SettingError
        If there is no such arch.
    """
    if arch not in SWINIR_ARCHS:
        raise SettingError(f"No SwinIR is called {arch!r}. There are {', '.join(SWINIR_ARCHS)}.")
    return SwinIR(**SWINIR_ARCHS[arch])


def swinir_settings(published: dict[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the SwinIR that published tensors belong to.

    Parameters
    ----------
    published : dict
        Tensors by the names of the authors' or DiffBIR's files, nearest upsampling at the end.

    Raises
    ------
    KeyError
        A tensor is missing without which the size cannot be told.
    """
    # Only with pixel unshuffling does the first convolution follow another layer.
    first = published.get("conv_first.1.weight")
    if first is None:
        first = published["conv_first.weight"]
    unshuffle = round((first.shape[1] / 3) ** 0.5)
    table = published["layers.0.residual_group.blocks.0.attn.relative_position_bias_table"]
    depths: list[int] = []
    while any(name.startswith(f"layers.{len(depths)}.residual_group.") for name in published):
        start, depth = f"layers.{len(depths)}.residual_group.blocks.", 0
        while f"{start}{depth}.norm1.weight" in published:
            depth += 1
        depths.append(depth)
    channels = first.shape[0]
    doublings = sum(f"conv_up{k}.weight" in published for k in (1, 2, 3))
    hidden = published["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "channels": channels,
        "depths": tuple(depths),
        "heads": table.shape[1],
        "window": (round(table.shape[0] ** 0.5) + 1) // 2,
        "mlp_ratio": hidden / channels,
        "unshuffle": unshuffle,
        "scale": (1 << doublings) // unshuffle,
        "tail": published["conv_before_upsample.0.weight"].shape[0],
        "bottleneck": "conv_after_body.2.weight" in published,
    }


def swinir_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published tensors by our names, without those that follow from the sizes."""
    renamed = {}
    for name, value in published.items():
        if name.endswith(_IMPLIED):
            continue
        for theirs, ours in _RENAMED:
            name = name.replace(theirs, ours)
        renamed[name] = value
    return renamed


def _start(module: nn.Module) -> None:
    """Draw the weights of linear layers as Swin does; biases start at 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
