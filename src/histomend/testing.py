"""What every method of every task keeps to, as tests that anyone can run on a method of their own.

With pytest::

    from histomend.testing import MethodTests

    class TestMine(MethodTests):
        task, method = "denoise", "mine"

Each test runs a verb of the command line on small images and looks at what it wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

import histomend
from histomend.cli.app import app
from histomend.image import Image, read_image, write_image

ICC = b"a colour profile, of which nobody looks at the contents" * 4
SIDES = (72, 96)
RECORD_FIELDS = {
    "schema_version",
    "task",
    "histomend",
    "created",
    "source",
    "output",
    "method",
    "model",
    "options",
    "settings",
    "seed",
    "nfe",
    "notices",
    "note",
    "checksum",
}
"""What each record says, whatever the task."""


class MethodTests:
    """Tests of one method of one task; subclass it and name them.

    Attributes
    ----------
    task : "restore", "denoise" or "upscale"
    method : str
        As the verb's `--method` takes it.
    options : words
        Further options of the verb, for instance to make it fast.
    depths : types
        Of pixels that the method takes.
    random : bool
        Whether another seed gives another image.
    mpp : float
        A pixel size of the source that suits the model.
    """

    task: str
    method: str
    options: tuple[str, ...] = ()
    depths: tuple[type, ...] = (np.uint8, np.uint16)
    random: bool = True
    mpp: float = 0.5

    @pytest.fixture
    def model(self) -> Path | None:
        """Return the model to use, None for the method's own; override it."""
        return None

    @pytest.fixture(autouse=True)
    def _work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path | None) -> None:
        """Work in an empty folder that holds an image and a mask for it."""
        monkeypatch.chdir(tmp_path)
        self._model = model
        self.write("in.png")
        mask = np.zeros(SIDES, bool)
        mask[24:44, 30:60] = True
        mask[60:66, 4:10] = True
        PIL.Image.fromarray(mask).save("mask.png")

    # What the tests are made of.

    @property
    def larger(self) -> int:
        """How many times larger the result is than the source."""
        return 2 if self.task == "upscale" else 1

    def write(self, path: str, dtype: type = np.uint8, *, alpha: bool = False, **more: Any) -> None:
        """Write an image of noisy waves."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        pixels = self.pixels(dtype)
        see_through = pixels[..., 0] if alpha else None
        settings = {"mpp": self.mpp, "icc": ICC, "alpha": see_through, "force": True, **more}
        write_image(path, pixels, **settings)

    def pixels(self, dtype: type = np.uint8) -> Any:
        """Return (72, 96, 3) noisy waves."""
        y, x = np.mgrid[: SIDES[0], : SIDES[1]] / 20
        waves = np.stack([0.5 + 0.3 * np.sin(x + c) * np.cos(y) for c in range(3)], -1)
        noise = np.random.default_rng(0).normal(0, 0.03, waves.shape)
        return np.rint((waves + noise).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)

    def run(self, *words: object) -> Result:
        """Run the verb with the method's options and `words`; inputs and -o are among these."""
        always = ["--method", self.method, "--device", "cpu", *self.options]
        if self._model is not None:
            always += ["--model", str(self._model)]
        if self.task == "restore" and not {"--mask", "--detect"} & set(map(str, words)):
            always += ["--mask", "mask.png"]
        if self.task == "upscale":
            always += ["--scale", "2"]
        return CliRunner().invoke(app, [self.task, *map(str, words), *always])

    def succeed(self, *words: object) -> Result:
        """Run the verb, which has to succeed."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result

    def record(self, output: str = "out.png") -> dict[str, Any]:
        """Return the record beside an output."""
        path = Path(output)
        found: dict[str, Any] = json.loads(path.with_name(f"{path.stem}.ledger.json").read_text())
        return found

    def made(self, *words: object) -> Image:
        """Run the verb on `in.png` and return what it wrote."""
        self.succeed("in.png", "-o", "out.png", *words)
        return read_image("out.png")

    # What the output is.

    def test_it_says_that_it_is_not_for_diagnosis(self) -> None:
        self.succeed("in.png", "-o", "out.png")
        with PIL.Image.open("out.png") as picture:
            assert "not for diagnosis" in picture.info["Comment"]
        self.succeed("in.png", "-o", "other.tif")
        with PIL.Image.open("other.tif") as tiff:
            assert "not for diagnosis" in tiff.tag_v2[270]

    def test_the_colour_profile_is_kept(self) -> None:
        assert self.made().icc == ICC

    def test_pixel_size_and_shape_follow_from_the_source(self) -> None:
        image = self.made()
        assert image.mpp == pytest.approx(self.mpp / self.larger)
        assert image.pixels.shape == (*(self.larger * side for side in SIDES), 3)

    def test_the_type_of_the_pixels_is_kept(self) -> None:
        for dtype in self.depths:
            self.write("in.png", dtype)
            assert self.made("--force").pixels.dtype == dtype

    def test_transparency_is_kept_or_refused_but_never_lost(self) -> None:
        self.write("in.png", alpha=True)
        result = self.run("in.png", "-o", "out.png")
        if result.exit_code == 0:
            alpha, source = read_image("out.png").alpha, read_image("in.png").alpha
            assert alpha is not None
            assert source is not None
            assert (alpha == source).all()
        else:
            assert "transparency" in result.stderr

    def test_the_source_stays_as_it_was(self) -> None:
        before = {path: path.read_bytes() for path in (Path("in.png"), Path("mask.png"))}
        self.succeed("in.png", "-o", "out.png")
        assert before == {path: path.read_bytes() for path in before}

    def test_a_lossy_output_needs_consent(self) -> None:
        refused = self.run("in.png", "-o", "out.jpg")
        assert refused.exit_code == 2
        assert "--lossy" in refused.stderr
        self.succeed("in.png", "-o", "out.jpg", "--lossy")
        assert self.record("out.jpg")["output"]["lossy"] is True

    # What does not change it.

    def test_the_batch_does_not_change_a_byte(self) -> None:
        one, many = self.made("--batch", 1), self.made("--batch", 5, "--force")
        assert (one.pixels == many.pixels).all()

    def test_the_seed_decides(self) -> None:
        one, same, other = (self.made("--seed", seed, "--force").pixels for seed in (1, 1, 2))
        assert (one == same).all()
        assert (one != other).any() == self.random

    def test_a_region_is_worked_on_by_itself(self) -> None:
        self.succeed("in.png", "-o", "out.png", "--region", "8,4,64,66", *self.part_mask())
        with PIL.Image.open("in.png") as picture:
            picture.crop((8, 4, 72, 70)).save("part.png")
        self.succeed("part.png", "-o", "alone.png", "--mpp", self.mpp, *self.part_mask())
        assert (read_image("out.png").pixels == read_image("alone.png").pixels).all()
        assert self.record()["source"]["region"] == [8, 4, 64, 66]

    def part_mask(self) -> list[str]:
        """Return the words for the mask of the region."""
        if self.task != "restore":
            return []
        with PIL.Image.open("mask.png") as mask:
            mask.crop((8, 4, 72, 70)).save("part-mask.png")
        return ["--mask", "part-mask.png"]

    def test_the_record_run_again_gives_the_same_bytes(self) -> None:
        image, record = self.made("--seed", 5), self.record()
        run = getattr(histomend, self.task)
        where = {"mask": "mask.png"} if self.task == "restore" else {}
        same = {key: record[key] for key in ("method", "seed")} | record["options"] | where
        again = run("in.png", model=self._model, device="cpu", **same)
        assert (again.pixels == image.pixels).all()

    # What is written beside it, and said of it.

    def test_the_record_says_what_was_done(self) -> None:
        self.succeed("in.png", "-o", "out.png", "--seed", 7)
        record = self.record()
        assert set(record) >= RECORD_FIELDS
        assert (record["task"], record["method"], record["seed"]) == (self.task, self.method, 7)
        assert record["source"]["name"] == "in.png"
        assert len(record["source"]["sha256"]) == 64
        assert {"threads", "device", "torch", "preset"} <= set(record["settings"])
        assert "not for diagnosis" in record["note"]

    def test_the_record_is_verified_and_a_change_is_found(self) -> None:
        image = self.made()
        verified = CliRunner().invoke(app, ["verify", "out.png", "--source", "in.png"])
        assert verified.exit_code == 0, verified.output
        pixels = image.pixels.copy()
        pixels[0, 0] ^= 1
        write_image("out.png", pixels, mpp=image.mpp, force=True)
        assert CliRunner().invoke(app, ["verify", "out.png"]).exit_code == 1

    def test_it_is_undone_or_it_is_said_why_not(self) -> None:
        self.succeed("in.png", "-o", "out.png")
        undone = CliRunner().invoke(app, ["undo", "out.png", "-o", "back.png"])
        if self.task == "restore":
            assert (read_image("back.png").pixels == read_image("in.png").pixels).all()
        else:
            assert undone.exit_code == 2
            assert "keeps no original pixels" in undone.stderr

    def test_another_pixel_size_than_the_models_is_told(self) -> None:
        self.succeed("in.png", "-o", "out.png", "--mpp", 2.9)
        record = self.record()
        assert record["source"]["mpp"] == 2.9
        if record["model"] is not None and "mpp" in record["model"]:
            assert any("um per pixel" in notice for notice in record["notices"])

    def test_a_dry_run_says_what_would_be_done_and_does_nothing(self) -> None:
        result = self.succeed("in.png", "-o", "out/new.png", "--dry-run", "--json")
        (planned,) = json.loads(result.stdout)
        assert (planned["task"], planned["method"]) == (self.task, self.method)
        assert {"output", "model", "units", "width", "height", "mpp", "notices"} <= set(planned)
        assert not Path("out").exists()

    def test_json_is_all_that_is_printed(self) -> None:
        result = self.succeed("in.png", "-o", "out.png", "--json")
        (found,) = json.loads(result.stdout)
        assert found["source"] == "in.png"
        assert Path(found["output"]).exists()
        assert Path(found["record"]).exists()
        assert found["nfe"] == self.record()["nfe"]

    # What goes wrong.

    def test_a_bad_file_does_not_stop_the_others(self) -> None:
        for name in ("a", "c"):
            self.write(f"in/{name}.png")
        Path("in/b.png").write_bytes(b"not an image")
        Path("masks").mkdir()
        for name in "abc":
            Path(f"masks/{name}.png").write_bytes(Path("mask.png").read_bytes())
        mask = ["--mask", "masks"] if self.task == "restore" else []
        result = self.run("in", "-o", "out", *mask)
        assert result.exit_code == 2
        assert "1 of 3 files" in " ".join(result.stderr.split())
        assert sorted(path.name for path in Path("out").glob("?.png")) == ["a.png", "c.png"]
        assert not list(Path("out").glob("b*"))

    def test_no_output_takes_the_place_of_any_input(self) -> None:
        outputs = ["in.png", *(["mask.png"] if self.task == "restore" else [])]
        before = {output: Path(output).read_bytes() for output in outputs}
        for output in outputs:
            assert self.run("in.png", "-o", output, "--force").exit_code == 2
        assert before == {output: Path(output).read_bytes() for output in outputs}

    def test_what_exists_is_not_replaced_unless_asked(self) -> None:
        self.succeed("in.png", "-o", "out.png")
        before = Path("out.png").read_bytes()
        result = self.run("in.png", "-o", "out.png", "--seed", 3)
        assert result.exit_code == 2
        assert "--force" in result.stderr
        assert Path("out.png").read_bytes() == before
