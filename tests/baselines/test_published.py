"""Files in the published formats, with tiny random networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histomend.baselines.published import load_published
from histomend.errors import (
    ModelNotFoundError,
    UnsafeWeightsError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.networks.rrdb import RRDBNet
from histomend.networks.swinir import SwinIR

RRDB = RRDBNet(channels=8, blocks=2, growth=4)
SWIN: dict[str, Any] = {"channels": 12, "depths": (2, 1), "heads": 2, "window": 4, "tail": 8}
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 18, 3)).astype(np.uint8)
# As BSRGAN's file has them.
OLD_NAMES = {
    "conv_body.": "trunk_conv.",
    "body.": "RRDB_trunk.",
    "rdb": "RDB",
    "conv_up": "upconv",
    "conv_hr.": "HRconv.",
}
# As SwinIR's and DiffBIR's files have them.
SWIN_NAMES = {
    r"^embed_norm\.": "patch_embed.norm.",
    r"\.blocks\.": ".residual_group.blocks.",
    r"\.attention\.": ".attn.",
    r"\.bias_table": ".relative_position_bias_table",
    r"\.mlp\.0\.": ".mlp.fc1.",
    r"\.mlp\.2\.": ".mlp.fc2.",
    r"^conv_before_up\.": "conv_before_upsample.0.",
    r"^conv_up\.0\.": "conv_up1.",
    r"^conv_up\.1\.": "conv_up2.",
    r"^conv_up\.2\.": "conv_up3.",
}


def swin_file(network: SwinIR) -> dict[str, torch.Tensor]:
    names = SWIN_NAMES | ({r"^conv_first\.": "conv_first.1."} if network.unshuffle > 1 else {})
    tensors = {}
    for name, value in network.state_dict().items():
        for ours, theirs in names.items():
            name = re.sub(ours, theirs, name)
        tensors[name] = value
    tensors["layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    return tensors


def upscaled(network: torch.nn.Module) -> np.ndarray:
    x = torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return (network.eval()(x)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def bsrgan() -> dict[str, Any]:
    tensors = {}
    for name, value in RRDB.state_dict().items():
        for ours, theirs in OLD_NAMES.items():
            name = name.replace(ours, theirs)
        tensors[name] = value
    return tensors


def real_esrgan() -> dict[str, Any]:
    fresh = {name: torch.zeros_like(value) for name, value in RRDB.state_dict().items()}
    return {"params": fresh, "params_ema": RRDB.state_dict()}


def on_several_devices() -> dict[str, Any]:
    return {"params": {f"module.{name}": value for name, value in RRDB.state_dict().items()}}


@pytest.mark.parametrize("content", [bsrgan, real_esrgan, on_several_devices])
def test_files_of_rrdbnet(content: Any, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "weights.pth")
    upscaler = load_published(tmp_path / "weights.pth")
    assert upscaler.scale == 4
    np.testing.assert_array_equal(upscaler(PIXELS), upscaled(RRDB))


@pytest.mark.parametrize(
    ("settings", "wrapper", "scale"),
    [
        ({"unshuffle": 1, "scale": 4, "bottleneck": True}, "params_ema", 4),
        ({"unshuffle": 1, "scale": 2}, None, 2),
        ({"unshuffle": 8}, "state_dict", 1),
    ],
)
def test_files_of_swinir(
    settings: dict[str, Any], wrapper: str | None, scale: int, tmp_path: Path
) -> None:
    network = SwinIR(**SWIN, **settings)
    tensors = swin_file(network)
    torch.save({wrapper: tensors} if wrapper else tensors, tmp_path / "weights.pth")
    upscaler = load_published(tmp_path / "weights.pth")
    assert upscaler.scale == scale
    np.testing.assert_array_equal(upscaler(PIXELS), upscaled(network))


def test_the_large_swinir_has_its_published_size() -> None:
    with torch.device("meta"):
        large = SwinIR(240, (6,) * 9, heads=8, unshuffle=1, scale=4, bottleneck=True)
    assert sum(p.numel() for p in large.parameters()) == 28_013_059


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not run",)


def test_a_file_that_could_run_code_is_not_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"params": RRDB.state_dict(), "more": Code()}, tmp_path / "weights.pth")
    with pytest.raises(UnsafeWeightsError, match="could run any code"):
        load_published(tmp_path / "weights.pth")
    assert capsys.readouterr().out == ""


def test_a_file_that_is_not_there_or_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelNotFoundError, match="no file"):
        load_published(path)
    for content in (b"", b"<html>404 not found</html>"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            load_published(path)
    torch.save(bsrgan(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="damaged"):
        load_published(path)


def without_a_tensor() -> dict[str, Any]:
    return {k: v for k, v in bsrgan().items() if k != "RRDB_trunk.1.RDB2.conv3.weight"}


def with_a_tensor_more() -> dict[str, Any]:
    return bsrgan() | {"discriminator.weight": torch.zeros(3)}


def of_impossible_size() -> dict[str, Any]:
    network = SwinIR(**SWIN, unshuffle=1, scale=4)
    tensors = swin_file(network)
    key = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"
    return tensors | {key: torch.zeros(49, 0)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without_a_tensor, "lacks the tensor body.1.rdb2.conv3.weight"),
        (with_a_tensor_more, "discriminator.weight"),
        (of_impossible_size, "do not go together|has shape"),
        (lambda: {"conv1.weight": torch.zeros(3)}, "no tensor conv_first.weight"),
        (lambda: {"params": {"epoch": 3}}, "'epoch', which is no tensor"),
        (lambda: torch.zeros(3), "no tensors by name"),
    ],
)
def test_files_of_other_networks_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        load_published(tmp_path / "weights.pth")


def test_other_images_are_refused(tmp_path: Path) -> None:
    torch.save(bsrgan(), tmp_path / "weights.pth")
    with pytest.raises(UnsupportedImageError, match="uint16"):
        load_published(tmp_path / "weights.pth")(PIXELS.astype(np.uint16))
