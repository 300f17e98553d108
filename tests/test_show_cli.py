"""`histomend show`: two channels in, a picture out."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.image.display import virtual_he


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["show", *(str(word) for word in words)])


@pytest.fixture(autouse=True)
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write a z-stack of three planes with two channels; return it as (Z, C, H, W)."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(500, 20000, (3, 2, 70, 80)).astype(np.uint16)
    tifffile.imwrite("stack.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    return values


def picture(name: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(name))


@pytest.mark.parametrize(("options", "plane"), [((), 1), (("--plane", 0), 0), (("--plane", 2), 2)])
def test_a_plane_of_a_stack_is_shown(stack: np.ndarray, options: tuple, plane: int) -> None:
    result = run("stack.tif", "-o", "out.png", *options)
    assert result.exit_code == 0, result.stderr
    assert f"Plane {plane} of 3" in result.stderr
    np.testing.assert_array_equal(picture("out.png"), virtual_he(np.moveaxis(stack[plane], 0, -1)))


def test_a_single_image_is_shown_without_more_words(stack: np.ndarray) -> None:
    tifffile.imwrite("one.tif", np.moveaxis(stack[0], 0, -1), metadata={"axes": "YXC"})
    result = run("one.tif", "-o", "out.tif", "--axes", "YXC")
    assert (result.exit_code, result.stderr) == (0, "")
    assert tifffile.imread("out.tif").shape == (70, 80, 3)


def test_the_order_of_the_axes_can_be_named(stack: np.ndarray) -> None:
    tifffile.imwrite("bare.tif", stack[:2])
    assert "--axes" in run("bare.tif", "-o", "out.png").stderr
    assert run("bare.tif", "-o", "out.png", "--axes", "ZCYX", "--plane", 0).exit_code == 0
    np.testing.assert_array_equal(picture("out.png"), virtual_he(np.moveaxis(stack[0], 0, -1)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stack.tif", "-o", "out.png", "--plane", 3), "stack.tif: there is no plane 3"),
        (("stack.tif", "-o", "out.png", "--plane", -1), "from 0 to 2"),
        (("rgb.png", "-o", "out.png"), "rgb.png: virtual H&E is made of one image of two channels"),
        (("stack.tif", "-o", "stack.tif", "--force"), "is the source image itself"),
        (("stack.tif", "-o", "rgb.png"), "exists already"),
        (("stack.tif", "-o", "out.jpg"), "out.jpg"),
        (("nothing.tif", "-o", "out.png"), "nothing.tif"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_shown_is_refused(words: tuple, says: str) -> None:
    PIL.Image.effect_noise((70, 70), 40).convert("RGB").save("rgb.png")
    result = run(*words)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert not Path("out.png").exists()


def test_where_copies_came_from_is_shown_beside_a_record_of_them(
    tissue: np.ndarray, untrained: Path
) -> None:
    hole = np.zeros((256, 256), np.uint8)
    hole[100:150, 90:140] = 255
    PIL.Image.fromarray(tissue[:256, :256]).save("tissue.png")
    PIL.Image.fromarray(hole).save("mask.png")

    def restore(*words: str) -> None:
        start = ["restore", "tissue.png", "--mask", "mask.png", "--model", str(untrained)]
        end = ["--mpp", "0.5", "-o", "restored.png"]
        assert CliRunner().invoke(app, [*start, *words, *end]).exit_code == 0

    restore("--preset", "exemplar")
    result = run("restored.png", "--provenance", "-o", "where.png")
    assert result.exit_code == 0, result.stderr
    assert "drawn: " in result.stderr
    shown = picture("where.png").astype(int)
    assert shown.shape == (256, 256, 3)
    assert np.ptp(shown[105:145, 95:135], 2).max() > 60
    restore("--preset", "generate", "--steps", "1", "--force")
    result = run("restored.png", "--provenance", "-o", "where.png", "--force")
    assert result.exit_code == 2
    assert "nothing in it was copied" in " ".join(result.stderr.split())
