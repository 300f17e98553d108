"""Tiny networks in the formats of ncnn and TensorFlow.js, converted and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from histomend.baselines.published import load_published
from histomend.cli.app import app
from histomend.errors import WeightsError
from histomend.models.upscaler_conversion import convert_upscaler
from histomend.networks.rrdb import RRDBNet
from histomend.networks.rrdn import RRDN

PIXELS = np.random.default_rng(0).integers(0, 256, (17, 22, 3)).astype(np.uint8)
RRDB = RRDBNet(channels=8, blocks=2, growth=4)
PLAIN = RRDN(scale=3, channels=8, blocks=2, growth=4)


def convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]


def write_ncnn(folder: Path, *, half: bool = False) -> Path:
    """Write RRDB as ncnn does; what is not a convolution has no weights."""
    lines, data = ["Input input 0 1 data"], b""
    for number, (name, conv) in enumerate(convolutions(RRDB)):
        weight = conv.weight.detach().numpy()
        leaky = "conv_up" in name or "hr" in name or (".conv" in name and name[-1] != "5")
        slope = " 9=2 -23310=1,2.000000e-01" if leaky else ""
        lines.append(
            f"Convolution  Conv_{number} 1 1 in_{number} out_{number} 0={weight.shape[0]} 1=3 4=1 "
            f"5=1 6={weight.size}{slope}"
        )
        if half:
            stored = weight.astype("<f2").tobytes()
            data += b"\x47\x6b\x30\x01" + stored + bytes(-len(stored) % 4)
        else:
            data += bytes(4) + weight.astype("<f4").tobytes()
        data += conv.bias.detach().numpy().astype("<f4").tobytes()
    path = folder / "tiny.param"
    path.write_text("\n".join(["7767517", f"{len(lines)} 9", *lines]) + "\n")
    path.with_suffix(".bin").write_bytes(data)
    return path


def keras_name(name: str) -> str:
    outer = {"first": "Pre_blocks_conv", "body": "post_blocks_conv", "shuffle": "PreShuffle"}
    if not name.startswith("body."):
        return outer.get(name.removeprefix("conv_"), "SR")
    _, block, dense, conv = name.split(".")
    if conv == "conv5":
        return f"LFF_{int(block) + 1}_{dense[-1]}"
    return f"F_{int(block) + 1}_{dense[-1]}_{conv[-1]}"


def write_tfjs(folder: Path) -> Path:
    """Write PLAIN as TensorFlow.js does, in two files; its shuffle has the colour last."""
    told, data = [], b""
    for name, conv in convolutions(PLAIN):
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        if name == "conv_shuffle":
            weight = weight.reshape(3, 9, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)
            bias = bias.reshape(3, 9).T.flatten()
        for part, value in (("kernel", weight.transpose(2, 3, 1, 0)), ("bias", bias)):
            stored = f"{keras_name(name)}/{part}"
            told.append({"name": stored, "shape": value.shape, "dtype": "float32"})
            data += value.astype("<f4").tobytes()
    names = [keras_name(name) for name, _ in convolutions(PLAIN)]
    layers = [{"class_name": "Conv2D", "config": {"name": name}} for name in names]
    layers.append({"class_name": "PixelShuffle3x", "config": {"name": "pixel_shuffle"}})
    (folder / "a.bin").write_bytes(data[:1001])
    (folder / "b.bin").write_bytes(data[1001:])
    path = folder / "model.json"
    model = {
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": told}],
    }
    path.write_text(json.dumps(model))
    return path


def depth_to_space(x: Tensor, side: int) -> Tensor:
    """Shuffle as TensorFlow does (NHWC), by its definition."""
    _, channels, height, width = x.shape
    x = x.reshape(1, side, side, channels // side**2, height, width)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(1, -1, height * side, width * side)


def upscaled(network: nn.Module) -> np.ndarray:
    x = torch.from_numpy(PIXELS).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return (network.eval()(x)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("half", [False, True])
def test_a_network_of_ncnn_enlarges_an_image_after_conversion(half: bool, tmp_path: Path) -> None:
    source, out = write_ncnn(tmp_path, half=half), tmp_path / "tiny.safetensors"
    Image.fromarray(PIXELS).save(tmp_path / "small.png")
    run = CliRunner().invoke(app, ["convert", "upscaler", str(source), "-o", str(out), "--json"])
    assert run.exit_code == 0, run.stderr
    told = json.loads(run.stdout)
    assert (told["network"], told["scale"]) == ("RRDBNet", 4)
    assert told["sha256"] == load_published(out).sha256
    large = tmp_path / "large.png"
    run = CliRunner().invoke(app, [
        "upscale", str(tmp_path / "small.png"), "-o", str(large), "--method", "published",
        "--model", str(out), "--scale", "4", "--mpp", "1",
    ])  # fmt: skip
    assert run.exit_code == 0, run.stderr
    found = np.asarray(Image.open(large)).astype(int)
    assert np.abs(found - upscaled(RRDB)).max() <= (1 if half else 0)


def test_a_network_of_tensorflow_js_keeps_its_shuffle(tmp_path: Path) -> None:
    source, out = write_tfjs(tmp_path), tmp_path / "tiny.safetensors"
    assert isinstance(convert_upscaler(source, out), RRDN)
    upscaler = load_published(out)
    assert upscaler.scale == 3
    np.testing.assert_array_equal(upscaler(PIXELS), upscaled(PLAIN))


def test_the_shuffle_in_the_test_above_is_tensorflows() -> None:
    x = torch.arange(27.0)[None, :, None, None]
    swapped = x.reshape(1, 3, 9, 1, 1).swapaxes(1, 2).reshape(1, 27, 1, 1)
    assert torch.equal(depth_to_space(swapped, 3), torch.pixel_shuffle(x, 3))


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ("7767517", "7767518", "damaged or no text of ncnn"),
        ("Convolution  Conv_3 ", "PReLU Conv_3 ", "a layer PReLU"),
        ("Convolution  Conv_3 ", "Split Conv_3 ", "does not fit"),
        ("-23310=1,2.000000e-01", "-23310=1,1.000000e-01", "its slope is 0.1"),
        (" 9=2 -23310=1,2.000000e-01", " 9=1", "something else than a leaky ReLU"),
        (" 5=1", "", "has no bias"),
        ("6=216", "6=2160000", "does not fit"),
        ("0=8", "0=-8", "does not fit"),
        ("37 9", "x", "damaged or no text of ncnn"),
    ],
)
def test_a_damaged_or_other_text_of_ncnn_is_refused(
    theirs: str, ours: str, said: str, tmp_path: Path
) -> None:
    source = write_ncnn(tmp_path)
    text = source.read_text()
    assert theirs in text
    source.write_text(text.replace(theirs, ours))
    with pytest.raises(WeightsError, match=said):
        convert_upscaler(source, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_of_ncnn_that_are_cut_too_long_or_no_numbers_are_refused(tmp_path: Path) -> None:
    source = write_ncnn(tmp_path)
    weights = source.with_suffix(".bin")
    whole = weights.read_bytes()
    changed = {
        "does not fit": (whole[:-4], whole + bytes(8), b"", b"\x01\x02\x03\x04" + whole[4:]),
        "NaN or infinity": (whole[:4] + b"\x00\x00\xc0\x7f" + whole[8:],),
    }
    for said, contents in changed.items():
        for content in contents:
            weights.write_bytes(content)
            with pytest.raises(WeightsError, match=said):
                convert_upscaler(source, tmp_path / "out.safetensors")
    weights.unlink()
    with pytest.raises(WeightsError, match="no such file"):
        convert_upscaler(source, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ("a.bin", "../a.bin", "a file elsewhere"),
        ("a.bin", "c.bin", "no such file"),
        ('"float32"', '"uint8"', "not stored as floats"),
        ("F_1_1_1", "F_1_1_7", "it has no size that is known"),
        ("F_2_1_1", "F_2_1_7", "lacks the tensor"),
        ("F_1_1_1", "Dense_1", "a layer Dense_1"),
        ("Conv2D", "LSTM", "a layer LSTM"),
        ("modelTopology", "graph", "no model of TensorFlow.js"),
        ("[8]", "[-8]", "no model of TensorFlow.js"),
        ("{", "[", "no model of TensorFlow.js"),
    ],
)
def test_a_damaged_or_other_model_of_tensorflow_js_is_refused(
    theirs: str, ours: str, said: str, tmp_path: Path
) -> None:
    source = write_tfjs(tmp_path)
    text = source.read_text()
    assert theirs in text
    source.write_text(text.replace(theirs, ours))
    with pytest.raises(WeightsError, match=said):
        convert_upscaler(source, tmp_path / "out.safetensors")


def test_other_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="need no conversion: give them to --model"):
        convert_upscaler(tmp_path / "weights.pth", tmp_path / "out.safetensors")


def test_the_published_networks_have_their_published_size() -> None:
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in network.parameters()) for network in (RRDBNet(), RRDN(4))]
    assert sizes == [16_697_987, 7_260_740]
