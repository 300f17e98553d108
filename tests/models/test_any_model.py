"""One way to load them all: bundled, in a folder, or on a hub that is not there."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from typer.testing import CliRunner

import histomend
from histomend import Image, restore
from histomend.cli.app import app
from histomend.errors import HubError, ModelMismatchError, ModelNotFoundError, WeightsError
from histomend.evaluate.encoder import Encoder, EncoderConfig, save_encoder
from histomend.evaluate.iqa import Iqa, IqaConfig, save_iqa
from histomend.models import (
    Calibrator,
    CalibratorConfig,
    Model,
    bundled,
    load_model,
    read_config,
    save_calibrator,
)
from histomend.models.any_model import config_in
from histomend.models.detector import Detector, DetectorConfig, save_detector
from histomend.models.priors import LatentPrior, load_prior
from histomend.models.restoration import RestorationModule
from histomend.models.stable_diffusion import is_pipeline
from histomend.models.upscaler import Upscaler

Hub = dict[tuple[str, str | None], Path]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Return the models of a hub by name and revision; only what is asked for is downloaded."""
    kept: Hub = {}

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        if name not in {repo for repo, _ in kept}:
            raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        if (name, revision) not in kept:
            raise RevisionNotFoundError.__new__(RevisionNotFoundError)
        source, target = kept[name, revision], tmp_path / "cache" / name / str(revision)
        for path in source.rglob("*"):
            inside = path.relative_to(source).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(inside, p) for p in allow_patterns):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / inside)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return kept


@pytest.fixture
def folders(
    tmp_path: Path,
    untrained: Path,
    untrained_latent: Path,
    untrained_restoration: Path,
    untrained_upscaler: Path,
    tiny_vae: Path,
) -> dict[str, tuple[Path, type]]:
    """Return a folder of each kind, and what it is loaded as."""
    own = CalibratorConfig("small", channels=1)
    save_calibrator(tmp_path / "calibrator", own.network().state_dict(), own)
    detector = DetectorConfig()
    save_detector(tmp_path / "detector", detector.network().state_dict(), detector)
    encoder = EncoderConfig(4)
    save_encoder(tmp_path / "encoder", encoder.network().state_dict(), encoder)
    quality = IqaConfig("box")
    save_iqa(tmp_path / "iqa", quality.network().state_dict(), quality)
    return {
        "denoiser": (untrained, Model),
        "latent": (untrained_latent, Model),
        "restoration": (untrained_restoration, RestorationModule),
        "upscaler": (untrained_upscaler, Upscaler),
        "calibrator": (tmp_path / "calibrator", Calibrator),
        "detector": (tmp_path / "detector", Detector),
        "encoder": (tmp_path / "encoder", Encoder),
        "iqa": (tmp_path / "iqa", Iqa),
        "vae": (tiny_vae, object),
    }


KINDS = [
    "denoiser",
    "latent",
    "restoration",
    "upscaler",
    "calibrator",
    "detector",
    "encoder",
    "iqa",
    "vae",
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_is_loaded_from_its_folder_and_from_the_hub(
    kind: str, folders: dict[str, tuple[Path, type]], hub: Hub, tmp_path: Path
) -> None:
    shared, expected = folders[kind]
    folder = Path(shutil.copytree(shared, tmp_path / "model"))
    (folder / "README.md").write_text("---\nlibrary_name: histomend\n---\n")
    hub["lab/model", None] = folder
    here, there = load_model(folder, "cpu"), load_model("lab/model", "cpu")
    assert isinstance(here, expected)
    assert type(there) is type(here)
    if hasattr(here, "config") and hasattr(here.config, "sha256"):
        assert here.config == there.config


CALLED = {
    "latent": "denoiser",
    "restoration": "restoration module",
    "iqa": "quality model",
    "vae": "autoencoder",
}


def test_models_says_what_kind_a_folder_holds(folders: dict[str, tuple[Path, type]]) -> None:
    for kind, (folder, _) in folders.items():
        shown = CliRunner().invoke(app, ["models", str(folder), "--json"])
        assert json.loads(shown.stdout)["kind"] == CALLED.get(kind, kind)


def test_a_config_with_values_of_other_types_is_a_named_error(
    folders: dict[str, tuple[Path, type]], tmp_path: Path
) -> None:
    strange: tuple[Any, ...] = (
        [],
        {},
        [[]],
        {"fold": []},
        None,
        "x",
        10**400,
        1e400,
        float("nan"),
        True,
    )
    for kind in sorted(folders.keys() - {"vae"}):
        sound = json.loads((folders[kind][0] / "config.json").read_text())
        sound |= {"thresholds": {"fold": 0.5}} if kind == "detector" else {}
        for field in sound.keys() - {"card", "schema_version"}:
            for value in (v for v in strange if type(v) is not type(sound[field])):
                (tmp_path / "config.json").write_text(json.dumps(sound | {field: value}))
                with pytest.raises((WeightsError, ModelMismatchError), match=r"config\.json|holds"):
                    config_in(tmp_path)


@pytest.mark.parametrize("threshold", [1.5, -0.1, [], "0.5", float("nan")])
def test_thresholds_that_no_probability_reaches(
    folders: dict[str, tuple[Path, type]], threshold: object
) -> None:
    path = folders["detector"][0] / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"thresholds": {"fold": threshold}}))
    with pytest.raises(WeightsError, match="says thresholds="):
        load_model(path.parent, "cpu")


@pytest.mark.parametrize("name", bundled())
def test_bundled_models_load_by_name(name: str) -> None:
    assert histomend.load_model(name, "cpu").config.sha256


def test_a_revision_is_a_model_of_its_own(
    hub: Hub, untrained: Path, tmp_path: Path, tissue: np.ndarray
) -> None:
    newest = Path(shutil.copytree(untrained, tmp_path / "newest"))
    config = json.loads((newest / "config.json").read_text())
    (newest / "config.json").write_text(json.dumps(config | {"mpp": 0.25}))
    hub["lab/model", None], hub["lab/model", "v1.0"] = newest, untrained
    assert load_model("lab/model", "cpu").config.mpp == 0.25
    assert load_model("lab/model@v1.0", "cpu").config == read_config(untrained)
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    image = Image(tissue[:64, :64], mpp=0.5)
    result = restore(image, mask, model="lab/model@v1.0", steps=1)
    assert result.record.model["name"] == "lab/model@v1.0", "the record says which it was"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lab/none", r"no folder lab/none, and no model of that name on the Hugging Face hub"),
        ("lab/model@v9", r"lab/model on the Hugging Face hub has no revision v9"),
    ],
)
def test_a_wrong_name_or_revision_is_named(hub: Hub, name: str, says: str, untrained: Path) -> None:
    hub["lab/model", None] = untrained
    with pytest.raises(ModelNotFoundError, match=says) as caught:
        load_model(name, "cpu")
    assert not isinstance(caught.value, HubError)


def test_offline_is_said_to_be_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(HubError, match=r"could not be downloaded.*ConnectionError.*connection"):
        load_model("lab/model", "cpu")


def test_a_pickle_on_the_hub_is_not_fetched(hub: Hub, untrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untrained, tmp_path / "with-pickle"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub["lab/model", None] = folder
    with pytest.raises(histomend.WeightsError, match=r"holds no model\.safetensors"):
        load_model("lab/model", "cpu")
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_a_prior_of_the_hub_may_be_one_of_ours(hub: Hub, untrained_prior: Path) -> None:
    hub["lab/prior", None] = untrained_prior
    assert not is_pipeline("lab/prior")
    assert isinstance(load_prior("lab/prior"), LatentPrior)


def test_a_folder_is_never_looked_for_on_the_hub(
    hub: Hub, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(untrained, tmp_path / "lab" / "model")
    monkeypatch.chdir(tmp_path)
    assert load_model("lab/model", "cpu").config == read_config(untrained)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_list_of_models_never_cuts_a_name(columns: str) -> None:
    shown = CliRunner().invoke(app, ["models"], env={"COLUMNS": columns}).stdout
    assert {*bundled()} <= set(re.findall(r"^\S+", shown, re.MULTILINE))


def test_the_card_of_a_model_on_the_hub(
    hub: Hub, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub["lab/model", None] = untrained
    shown = CliRunner().invoke(app, ["models", "lab/model", "--json"])
    assert json.loads(shown.stdout)["sha256"] == read_config(untrained).sha256
